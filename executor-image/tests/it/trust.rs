//! Who may speak with the operator, and how certificates and the authority change under a flow that runs.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use operator::authority::Authority;
use operator::master::api::Runs;
use operator::server::{ApiError, Kind, Ref, Server};
use proto::MasterClient;
use proto::credentials::{Credentials, Door, Papers};
use proto::master::{Beat, Enroll, FromSlot, Orders, OutputRequest, ToSlot};
use proto::token::{authorization, now};
use proto::transport::{To, channel};
use proto::{RunId, Term};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};

use crate::loopback::{Cluster, LIVES, run};

fn papers(authority: &Authority, id: &RunId, made: u64) -> Papers {
    let papers = authority.executors(id, made).unwrap();
    Papers { authority: papers.authority, own: Some((papers.certificate, papers.key)) }
}

fn client(cluster: &Cluster, papers: Papers) -> MasterClient<Channel> {
    let credentials = Credentials::new(papers, Door::Members).unwrap();
    MasterClient::new(channel(To::operator(&cluster.operator.to_string(), Some(&credentials))).unwrap())
}

fn agent(authority: &Authority, node: &str) -> Papers {
    let key = rcgen::KeyPair::generate().unwrap();
    let request = rcgen::CertificateParams::new(Vec::new()).unwrap().serialize_request(&key).unwrap().pem().unwrap();
    let issued = authority.agent(&request, node, [127, 0, 0, 1].into(), now()).unwrap();
    Papers { authority: authority.bundle(), own: Some((issued.certificate, key.serialize_pem())) }
}

fn call<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", authorization(token).unwrap());
    request
}

fn hello(id: &RunId) -> FromSlot {
    FromSlot::Hello { run: id.clone(), pod: "p".to_owned(), node: "n".to_owned(), slot: 0, incarnation: 1, busy: None }
}

/// The first answer to a slot.
async fn work(cluster: &Cluster, papers: Papers, token: &str, id: &RunId) -> Result<ToSlot, Status> {
    let mut client = client(cluster, papers);
    let mut answers = client.work(call(tokio_stream::iter([hello(id)]), token)).await?.into_inner();
    Ok(answers.message().await?.expect("an answer"))
}

async fn beat(cluster: &Cluster, papers: Papers, token: &str, node: &str) -> Result<Orders, Status> {
    let beat = Beat {
        node: node.to_owned(),
        address: "127.0.0.1:1".to_owned(),
        incarnation: 1,
        memory_used: 0,
        memory_limit: 0,
        disk_used: 0,
        disk_limit: 0,
        runs: Vec::new(),
        waiting: Vec::new(),
    };
    client(cluster, papers).beat(call(beat, token)).await.map(tonic::Response::into_inner)
}

fn status<T: std::fmt::Debug>(result: Result<T, Status>) -> Code {
    result.unwrap_err().code()
}

/// Refused in the handshake: no call came through.
fn unconnected<T: std::fmt::Debug>(result: Result<T, Status>) {
    let code = status(result);
    assert!(matches!(code, Code::Unavailable | Code::Unknown | Code::Cancelled), "{code:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_turns_away_who_is_not_what_the_call_is_for() {
    let cluster = Cluster::start(0).await;
    cluster.master.all_runs_started();
    let authority = cluster.trust.authority();
    let (a, b) = (run("a-1"), run("b-1"));
    let mine = || papers(&authority, &a, now());
    let token = |id: &RunId, expires: u64| authority.executor_token(id, expires, now());
    let good = token(&a, now() + 60);
    // What all the others are one step away from; the run is over, which a replayed token is told too.
    assert!(matches!(work(&cluster, mine(), &good, &a).await, Ok(ToSlot::Leave { .. })), "replayed after the end");
    let nameless = Papers { own: None, ..mine() };
    assert_eq!(status(work(&cluster, nameless.clone(), &good, &a).await), Code::Unauthenticated, "no certificate");
    let (foreign, theirs) = (Authority::new(LIVES, now()).unwrap(), papers(&authority, &a, now()));
    let foreign_papers = Papers { authority: theirs.authority, own: papers(&foreign, &a, now()).own };
    unconnected(work(&cluster, foreign_papers, &good, &a).await);
    unconnected(work(&cluster, papers(&authority, &a, now() - LIVES.certificate - 1), &good, &a).await);
    assert_eq!(status(work(&cluster, papers(&authority, &b, now()), &good, &a).await), Code::Unauthenticated, "stolen token");
    assert_eq!(status(work(&cluster, mine(), &token(&b, now() + 60), &a).await), Code::Unauthenticated, "another run's token");
    assert_eq!(status(work(&cluster, papers(&authority, &b, now()), &token(&b, now() + 60), &a).await), Code::PermissionDenied);
    assert_eq!(status(work(&cluster, mine(), &token(&a, now()), &a).await), Code::Unauthenticated, "expired");
    let forged = foreign.executor_token(&a, now() + 60, now());
    assert_eq!(status(work(&cluster, mine(), &forged, &a).await), Code::Unauthenticated, "forged");
    for role in [authority.agent_token("n", now() + 60, now()), authority.operator_token(Term(9), now())] {
        assert_eq!(status(work(&cluster, mine(), &role, &a).await), Code::Unauthenticated, "another role");
    }
    let of_agent = authority.agent_token("n", now() + 60, now());
    assert_eq!(status(work(&cluster, agent(&authority, "n"), &of_agent, &a).await), Code::PermissionDenied, "an agent works");
    assert!(matches!(beat(&cluster, agent(&authority, "n"), &of_agent, "n").await, Ok(Orders::Leader { .. })));
    assert_eq!(status(beat(&cluster, agent(&authority, "n"), &of_agent, "m").await), Code::PermissionDenied, "of another node");
    assert_eq!(status(beat(&cluster, agent(&authority, "m"), &of_agent, "n").await), Code::Unauthenticated, "stolen of an agent");
    assert_eq!(status(beat(&cluster, mine(), &good, "n").await), Code::PermissionDenied, "an executor beats");
    assert_eq!(status(beat(&cluster, nameless.clone(), &of_agent, "n").await), Code::Unauthenticated);
    // Those who have no certificate yet show a token of Kubernetes; ours is none.
    let enroll = |node: &str| Enroll { csr: String::new(), node: node.to_owned(), address: "127.0.0.1:1".to_owned() };
    let mut stranger = client(&cluster, nameless);
    assert_eq!(status(stranger.enroll(Request::new(enroll("n"))).await), Code::Unauthenticated, "no token");
    assert_eq!(status(stranger.enroll(call(enroll("n"), &good)).await), Code::Unauthenticated);
    assert_eq!(status(stranger.enroll(call(enroll("n"), "projected of m")).await), Code::Unauthenticated, "of another node");
    assert_eq!(status(stranger.enroll(call(enroll("n"), "projected of n")).await), Code::Unauthenticated, "no request");
    let asks = OutputRequest { namespace: "n".to_owned(), flow: "f".to_owned(), step: None, run: None };
    assert_eq!(status(stranger.output(Request::new(asks.clone())).await), Code::Unauthenticated);
    assert_eq!(status(stranger.output(call(asks, "somebody")).await), Code::PermissionDenied);
    assert!(cluster.master.agents().keys().eq(["n"]), "nothing else came of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_cannot_take_the_places_of_members() {
    let cluster = Cluster::start(0).await;
    let authority = cluster.trust.authority();
    let nameless = Papers { authority: authority.bundle(), own: None };
    let enroll = || call(Enroll { csr: String::new(), node: "n".to_owned(), address: String::new() }, "nobody");
    let (mut held, mut refused) = (Vec::new(), 0);
    for _ in 0..40 {
        let mut stranger = client(&cluster, nameless.clone());
        match status(stranger.enroll(enroll()).await) {
            Code::Unauthenticated => held.push(stranger),
            _ => refused += 1,
        }
    }
    assert_eq!((held.len(), refused), (16, 24), "so many from one address, and no more");
    let token = authority.agent_token("n", now() + 60, now());
    for _ in 0..20 {
        assert!(beat(&cluster, agent(&authority, "n"), &token, "n").await.is_ok());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_says_hello_to_an_operator_that_stands_by_is_sent_to_the_leader_alone() {
    let cluster = Cluster::start(0).await;
    cluster.master.stand_by(Some("10.0.0.1:7400".to_owned()));
    let (authority, a) = (cluster.trust.authority(), run("a-1"));
    let token = authority.executor_token(&a, now() + 60, now());
    let answer = work(&cluster, papers(&authority, &a, now()), &token, &a).await.unwrap();
    assert_eq!(answer, ToSlot::NotLeader { leader: Some("10.0.0.1:7400".to_owned()) });
}

/// What a slot hears that says no more than hello and keeps its stream open.
async fn open(cluster: &Cluster, id: &RunId, lives: u64) -> (mpsc::Sender<FromSlot>, Streaming<ToSlot>) {
    let authority = cluster.trust.authority();
    loop {
        let (said, words) = mpsc::channel(1);
        said.send(hello(id)).await.unwrap();
        let token = authority.executor_token(id, now() + lives, now());
        let opened = client(cluster, papers(&authority, id, now())).work(call(ReceiverStream::new(words), &token)).await;
        match opened {
            Ok(answers) => return (said, answers.into_inner()),
            // The machine was slow: the token had run out when it was shown.
            Err(status) => assert_eq!(status.code(), Code::Unauthenticated),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_is_heard_as_long_as_its_token_is_good_and_its_run_goes_on() {
    let cluster = Cluster::start(0).await;
    let id = run("abc-1");
    cluster.apply(&id, GATED);
    let counters = cluster.master.counters();
    let heard = || counters.slots_connected.load(Ordering::Relaxed);
    let (_said, mut answers) = loop {
        let (said, mut answers) = open(&cluster, &id, 3).await;
        // Its token may have run out meanwhile, as above.
        if let Ok(Some(first)) = answers.message().await {
            assert!(matches!(first, ToSlot::Welcome { .. }), "{first:?}");
            break (said, answers);
        }
    };
    while let Ok(Some(_)) = answers.message().await {}
    cluster.until("nobody is heard whose token has run out", || heard() == 0 && cluster.progress(&id).slots == 0).await;
    let (_said, mut answers) = open(&cluster, &id, 600).await;
    assert!(matches!(answers.message().await, Ok(Some(ToSlot::Welcome { .. }))));
    assert_eq!(heard(), 1);
    cluster.master.forget(&id, false);
    while let Ok(Some(_)) = answers.message().await {}
    cluster.until("nobody is heard whose run is over", || heard() == 0).await;
}

/// An API server that takes whatever the authority keeps there.
#[derive(Debug)]
struct Keeps;

#[tonic::async_trait]
impl Server for Keeps {
    async fn get(&self, object: &Ref) -> Result<Value, ApiError> {
        Err(ApiError::NotFound(object.to_string()))
    }
    async fn list(&self, _: Kind, _: &str, _: &str) -> Result<Vec<Value>, ApiError> {
        Ok(Vec::new())
    }
    async fn create(&self, _: Kind, _: &str, object: &Value) -> Result<Value, ApiError> {
        Ok(object.clone())
    }
    async fn apply(&self, _: &Ref, _: bool, value: &Value) -> Result<Value, ApiError> {
        Ok(value.clone())
    }
    async fn replace_status(&self, _: &Ref, _: &str, status: &Value) -> Result<Value, ApiError> {
        Ok(status.clone())
    }
    async fn delete(&self, _: &Ref, _: Option<&str>) -> Result<(), ApiError> {
        Ok(())
    }
    async fn delete_all(&self, _: Kind, _: &str, _: &str) -> Result<(), ApiError> {
        Ok(())
    }
    async fn events(&self, _: &str, _: &str) -> Result<Vec<Value>, ApiError> {
        Ok(Vec::new())
    }
    async fn published_keys(&self) -> Result<Value, ApiError> {
        Ok(Value::Null)
    }
    async fn access(&self, _: &str, _: &Value) -> Result<Value, ApiError> {
        Ok(Value::Null)
    }
}

const GATED: &str = "    - {name: numbers, read: {range: {to: 400}}}
    - {name: dealt, roundRobin: {}, partitions: 2}
    - {name: first, pipe: {command: 'while [ ! -e first ]; do sleep 0.05; done; cat'}, deterministic: true}
    - {name: keyed, map: {lua: 'function(n) return tonumber(n) % 7, tonumber(n) end'}}
    - {name: sums, reduceBy: {key: [1], lua: 'function(x, y) return x + y end'}, partitions: 2}
    - {name: second, pipe: {command: 'while [ ! -e second ]; do sleep 0.05; done; cat'}, deterministic: true}
    - {name: again, map: {lua: 'function(k, n) return tonumber(k) % 2, tonumber(n) end'}}
    - {name: total, reduceBy: {key: [1], lua: 'function(x, y) return x + y end'}, partitions: 2}
    - {name: out, write: {csv: {path: out}}}
";

#[tokio::test(flavor = "multi_thread")]
async fn certificates_tokens_and_the_authority_change_while_a_flow_runs() {
    // Old enough to be replaced.
    let mut cluster = Cluster::start(LIVES.authority / 3 * 2).await;
    for _ in 0..2 {
        cluster.agent().await;
    }
    let id = run("abc-1");
    let old = papers(&cluster.trust.authority(), &id, now());
    cluster.apply(&id, GATED);
    let mut first = cluster.executor(&id, "flow-1-0").await;
    cluster.until("a slot works", || cluster.progress(&id).slots == 1).await;

    // The next authority is told of, then signs, then is the only one; everybody follows.
    let generations = |cluster: &Cluster| cluster.trust.authority().keys().len();
    for (later, expected) in [(0, 2), (LIVES.certificate, 2), (2 * LIVES.certificate, 1)] {
        cluster.trust.later.store(later, Ordering::Relaxed);
        let lives = LIVES;
        let now = cluster.trust.now();
        let kept = Authority::from_secret(&cluster.trust.authority().secret("ns"), lives).unwrap();
        if let Some(next) = kept.tend(&Keeps, "ns", now).await.unwrap() {
            *cluster.trust.authority.lock().unwrap() = Arc::new(next);
        }
        assert_eq!(generations(&cluster), expected, "after {later} s");
        cluster.renew(&id, &first);
        let enrolled = cluster.trust.enrolled.load(Ordering::Relaxed);
        // Each of the two, with a certificate made since.
        cluster.until("agents renew", || cluster.trust.enrolled.load(Ordering::Relaxed) >= enrolled + 4).await;
        match expected {
            2 if later > 0 => cluster.open("first"),
            _ => {}
        }
    }

    // What the old one signed is nothing any more.
    let token = cluster.trust.authority().executor_token(&id, cluster.trust.now() + 60, cluster.trust.now());
    unconnected(work(&cluster, Papers { authority: cluster.trust.authority().bundle(), ..old }, &token, &id).await);
    // Whoever comes now and whoever was there finish together.
    let mut second = cluster.executor(&id, "flow-1-1").await;
    cluster.until("two slots work", || cluster.progress(&id).slots == 2).await;
    cluster.open("second");
    cluster.succeeds(&id).await;
    let totals = (0..400_u32).fold([0; 2], |mut totals, n| {
        totals[(n % 7 % 2) as usize] += n;
        totals
    });
    assert_eq!(cluster.lines("out"), [format!("0,{}", totals[0]), format!("1,{}", totals[1])]);
    let counters = cluster.master.counters();
    assert_eq!(counters.attempts_failed.load(Ordering::Relaxed), 0, "nothing had to be done twice");
    assert_eq!((first.exit().await, second.exit().await), (0, 0));
}
