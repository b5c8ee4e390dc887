//! The arithmetic of leases, with virtual times: requests take as long as a test says, and nobody's clock but one's own is believed.

use proptest::prelude::*;

use super::*;

/// An API server that knows leases only, and takes its time.
#[derive(Clone, Debug)]
struct Leases {
    began: Instant,
    inner: std::sync::Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Milliseconds since it began.
    now: u64,
    version: u64,
    lease: Option<Value>,
    /// How long the next writes take: on their way there, and their answers on the way back.
    slow: (u64, u64),
    silent: bool,
}

impl Leases {
    fn new() -> Leases {
        Leases { began: Instant::now(), inner: std::sync::Arc::default() }
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    fn advance(&self, millis: u64) {
        self.inner().now += millis;
    }

    /// An operator, with the wall clock that it believes in.
    fn operator(&self) -> Lead {
        let clock = self.clone();
        Lead { clock: Box::new(move || clock.began + Duration::from_millis(clock.inner().now)), ..Lead::default() }
    }

    fn write(&self, mut lease: Value, before: Option<&str>) -> Result<Value, ApiError> {
        let slow = self.inner().slow;
        self.advance(slow.0);
        let mut inner = self.inner();
        let known = inner.lease.as_ref().and_then(|lease| text(lease, "/metadata/resourceVersion")).map(str::to_owned);
        if known.as_deref() != before {
            return Err(if before.is_none() {
                ApiError::AlreadyExists("lease".into())
            } else {
                ApiError::Conflict("lease".into())
            });
        }
        inner.version += 1;
        lease["metadata"]["resourceVersion"] = inner.version.to_string().into();
        inner.lease = Some(lease.clone());
        inner.now += slow.1;
        Ok(lease)
    }
}

#[tonic::async_trait]
impl Server for Leases {
    async fn get(&self, object: &Ref) -> Result<Value, ApiError> {
        let inner = self.inner();
        if inner.silent {
            return Err(ApiError::Unavailable("silence".into()));
        }
        inner.lease.clone().ok_or_else(|| ApiError::NotFound(object.to_string()))
    }

    async fn list(&self, _: Kind, _: &str, _: &str) -> Result<Vec<Value>, ApiError> {
        Err(ApiError::NotFound("only leases".into()))
    }

    async fn create(&self, _: Kind, _: &str, object: &Value) -> Result<Value, ApiError> {
        self.write(object.clone(), None)
    }

    async fn apply(&self, _: &Ref, _: bool, value: &Value) -> Result<Value, ApiError> {
        self.write(value.clone(), text(value, "/metadata/resourceVersion"))
    }

    async fn replace_status(&self, _: &Ref, _: &str, _: &Value) -> Result<Value, ApiError> {
        Err(ApiError::NotFound("only leases".into()))
    }

    async fn delete(&self, _: &Ref, _: Option<&str>) -> Result<(), ApiError> {
        Err(ApiError::NotFound("only leases".into()))
    }

    async fn delete_all(&self, _: Kind, _: &str, _: &str) -> Result<(), ApiError> {
        Err(ApiError::NotFound("only leases".into()))
    }

    async fn events(&self, _: &str, _: &str) -> Result<Vec<Value>, ApiError> {
        Err(ApiError::NotFound("only leases".into()))
    }

    async fn published_keys(&self) -> Result<Value, ApiError> {
        Err(ApiError::NotFound("only leases".into()))
    }

    async fn access(&self, _: &str, _: &Value) -> Result<Value, ApiError> {
        Err(ApiError::NotFound("only leases".into()))
    }
}

fn run<T>(story: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(story)
}

/// `now` is what its wall says, in seconds since 1970.
fn candidate(name: &str, now: i64) -> Candidate {
    Candidate { namespace: "n".into(), identity: name.into(), address: format!("{name}:7400"), now: now * 1_000_000 }
}

fn ask(server: &Leases, lead: &Lead, name: &str) -> Standing {
    run(lead.attempt(server, &candidate(name, 1_800_000_000))).unwrap()
}

fn follows(name: &str) -> Standing {
    Standing::Follows(Some(format!("{name}:7400")))
}

#[test]
fn a_lease_is_trusted_for_a_time_that_begins_before_it_is_asked_for() {
    let server = Leases::new();
    let a = server.operator();
    assert!(!a.holds() && a.term().is_none());
    server.inner().slow = (1500, 2500);
    assert_eq!(ask(&server, &a, "a"), Standing::Leads(Term(1)));
    assert_eq!((a.holds(), a.term(), a.leader().as_deref()), (true, Some(Term(1)), Some("a:7400")));
    server.advance(5999);
    assert!(a.holds(), "ten seconds from when it asked are not over");
    server.advance(1);
    assert!(!a.holds() && a.term().is_none());
}

#[test]
fn a_lease_that_was_deleted_is_made_again_in_its_term() {
    let server = Leases::new();
    let (a, b) = (server.operator(), server.operator());
    assert_eq!(ask(&server, &a, "a"), Standing::Leads(Term(1)));
    a.lost();
    server.advance(1);
    assert_eq!(ask(&server, &a, "a"), Standing::Leads(Term(1)));
    assert_eq!(ask(&server, &b, "b"), follows("a"));
    server.advance(16_000);
    assert_eq!(ask(&server, &b, "b"), Standing::Leads(Term(2)));
    assert_eq!(ask(&server, &a, "a"), follows("b"));
    // Its holder finds that first.
    server.inner().lease = None;
    assert_eq!(ask(&server, &b, "b"), Standing::Leads(Term(2)));
    // Another does: whoever held it may not know.
    server.inner().lease = None;
    for _ in 0..5 {
        assert_eq!(ask(&server, &a, "a"), Standing::Follows(None));
        assert!(b.holds() || server.inner().now > 16_001 + 10_000);
        server.advance(3000);
    }
    assert!(!b.holds());
    server.advance(1001);
    assert_eq!(ask(&server, &a, "a"), Standing::Leads(Term(3)));
    assert_eq!(ask(&server, &b, "b"), follows("a"));
}

#[test]
fn a_lease_that_is_renewed_goes_on_in_the_same_term() {
    let server = Leases::new();
    let (a, b) = (server.operator(), server.operator());
    for round in 0..20 {
        assert_eq!(ask(&server, &a, "a"), Standing::Leads(Term(1)));
        assert_eq!(ask(&server, &b, "b"), follows("a"), "round {round}");
        assert!(a.holds() && !b.holds());
        server.advance(3000);
    }
    let lease = server.inner().lease.clone().unwrap();
    assert_eq!(lease["spec"]["leaseTransitions"], 1);
}

#[test]
fn a_lease_passes_when_it_has_not_changed_for_all_of_its_time_as_seen_by_who_takes_it() {
    let server = Leases::new();
    let (a, b) = (server.operator(), server.operator());
    ask(&server, &a, "a");
    // Seen for the first time ten seconds later: only from then on is it counted.
    server.advance(10_000);
    assert_eq!(ask(&server, &b, "b"), follows("a"));
    server.advance(15_000);
    assert_eq!(ask(&server, &b, "b"), follows("a"), "not longer than its time");
    server.advance(1);
    assert_eq!(ask(&server, &b, "b"), Standing::Leads(Term(2)));
    assert!(!a.holds() && b.holds());
    assert_eq!(ask(&server, &a, "a"), follows("b"));
    assert_eq!(a.leader().as_deref(), Some("b:7400"));
}

#[test]
fn what_the_leaders_clock_says_does_not_matter() {
    for wall in [0, 1_800_000_000, 4_000_000_000] {
        let server = Leases::new();
        let (a, b) = (server.operator(), server.operator());
        run(a.attempt(&server, &candidate("a", wall))).unwrap();
        assert_eq!(ask(&server, &b, "b"), follows("a"), "an old lease is not taken at sight");
        server.advance(15_001);
        assert_eq!(ask(&server, &b, "b"), Standing::Leads(Term(2)), "one from the future is not waited for");
    }
}

#[test]
fn how_long_a_lease_is_good_is_up_to_who_made_it() {
    let server = Leases::new();
    let (a, b) = (server.operator(), server.operator());
    ask(&server, &a, "a");
    server.inner().lease.as_mut().unwrap()["spec"]["leaseDurationSeconds"] = 60.into();
    assert_eq!(ask(&server, &b, "b"), follows("a"));
    server.advance(60_000);
    assert_eq!(ask(&server, &b, "b"), follows("a"));
    server.advance(1);
    assert_eq!(ask(&server, &b, "b"), Standing::Leads(Term(2)));
}

#[test]
fn a_renewal_that_is_late_counts_if_nobody_took_the_lease() {
    let server = Leases::new();
    let (a, b) = (server.operator(), server.operator());
    ask(&server, &a, "a");
    assert_eq!(ask(&server, &b, "b"), follows("a"));
    server.advance(12_000);
    assert!(!a.holds(), "it wrote nothing since");
    assert_eq!(ask(&server, &a, "a"), Standing::Leads(Term(1)));
    assert!(a.holds());
    server.advance(4000);
    assert_eq!(ask(&server, &b, "b"), follows("a"), "the renewal counts for those who wait, too");
}

#[test]
fn a_renewal_that_comes_after_another_has_taken_the_lease_is_refused() {
    let server = Leases::new();
    let (a, b) = (server.operator(), server.operator());
    ask(&server, &a, "a");
    ask(&server, &b, "b");
    let renewed = lease(&candidate("a", 1), server.inner().lease.as_ref(), 1, 0);
    server.advance(15_001);
    assert_eq!(ask(&server, &b, "b"), Standing::Leads(Term(2)));
    // What `a` had sent before arrives now.
    let late = run(server.apply(&Ref::new(Kind::Lease, "n", naming::OPERATOR), false, &renewed));
    assert!(matches!(late, Err(ApiError::Conflict(_))));
    assert!(b.holds() && !a.holds());
}

#[test]
fn an_api_server_that_does_not_answer_takes_nothing_away_before_the_time_is_over() {
    let server = Leases::new();
    let a = server.operator();
    ask(&server, &a, "a");
    server.inner().silent = true;
    server.advance(3000);
    assert!(run(a.attempt(&server, &candidate("a", 0))).is_err());
    assert!(a.holds());
    server.advance(7000);
    assert!(!a.holds());
}

#[test]
fn a_process_that_was_started_anew_in_the_same_pod_is_another_leader() {
    let server = Leases::new();
    assert_eq!(ask(&server, &server.operator(), "a"), Standing::Leads(Term(1)));
    assert_eq!(ask(&server, &server.operator(), "a"), Standing::Leads(Term(2)));
}

#[test]
fn a_lease_that_is_given_up_is_free_at_once_and_only_its_holder_gives_it_up() {
    let server = Leases::new();
    let (a, b, c) = (server.operator(), server.operator(), server.operator());
    ask(&server, &a, "a");
    assert_eq!(ask(&server, &b, "b"), follows("a"));
    run(b.release(&server, &candidate("b", 0)));
    assert_eq!(ask(&server, &c, "c"), follows("a"));
    run(a.release(&server, &candidate("a", 0)));
    assert!(!a.holds());
    assert_eq!(ask(&server, &b, "b"), Standing::Leads(Term(2)));
    // Whoever has lost it meanwhile gives up nothing.
    run(a.release(&server, &candidate("a", 0)));
    assert_eq!(ask(&server, &c, "c"), follows("b"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Whatever operators and their requests are late with: no two may write at a time, and no two have led in the same term.
    #[test]
    fn no_two_operators_may_write_at_a_time(
        doings in proptest::collection::vec((0_usize..3, 0_u64..9000, 0_u64..4000, 0_u64..4000, 0_u8..20), 1..80)
    ) {
        let server = Leases::new();
        let names = ["a", "b", "c"];
        let mut operators = names.map(|_| server.operator());
        let mut lives = [0; 3];
        let mut terms = std::collections::BTreeMap::new();
        for (who, wait, there, back, fate) in doings {
            server.advance(wait);
            server.inner().slow = (there, back);
            server.inner().silent = fate == 0;
            match fate {
                1 => {
                    operators[who] = server.operator();
                    lives[who] += 1;
                }
                2 => run(operators[who].release(&server, &candidate(names[who], 0))),
                _ => {}
            }
            if let Ok(Standing::Leads(term)) = run(operators[who].attempt(&server, &candidate(names[who], 0))) {
                let process = (who, lives[who]);
                prop_assert_eq!(*terms.entry(term).or_insert(process), process);
            }
            let holding = operators.iter().filter(|operator| operator.holds()).count();
            prop_assert!(holding <= 1, "{holding} operators may write");
        }
    }
}
