//! Who leads: a Lease. Its transitions are the leader's term, its holder says where the leader is.
//!
//! A lease alone fences nothing: whoever holds it stops writing well before it can pass to another ([`Lead::holds`]), every status
//! write names the version it was decided from, and agents refuse an older term.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use proto::Term;
use serde_json::{Value, json};

use crate::naming;
use crate::server::{ApiError, Kind, Ref, Server};
use crate::view::text;

/// How long a lease is good without renewal.
const LEASE: Duration = Duration::from_secs(15);
/// How soon its holder stops to write without renewal: well before another may take it.
const TRUSTED: Duration = Duration::from_secs(10);
/// How often it is renewed, and how often others look.
pub const RENEW: Duration = Duration::from_secs(3);
/// Where the leader is found, `host:port`.
const ADDRESS: &str = "gleamflow.io/address";

/// Whether this process leads, and who does.
pub struct Lead {
    state: Mutex<State>,
    clock: Box<dyn Fn() -> Instant + Send + Sync>,
}

impl Default for Lead {
    fn default() -> Lead {
        Lead { state: Mutex::default(), clock: Box::new(Instant::now) }
    }
}

impl std::fmt::Debug for Lead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lead").field("state", &self.state).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct State {
    /// Until when this process may write.
    until: Option<Instant>,
    term: Term,
    /// Of all leaders that this process knows of.
    newest: u64,
    leader: Option<String>,
    /// What another's lease looked like, and since when: clocks of others are not trusted.
    seen: Option<(String, Instant)>,
}

/// What an attempt to lead came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    Leads(Term),
    /// Another leads, at this address if it told one.
    Follows(Option<String>),
}

impl Lead {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this process may write now.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.state().until.is_some_and(|until| (self.clock)() < until)
    }

    /// The term of this process's leadership.
    #[must_use]
    pub fn term(&self) -> Option<Term> {
        let state = self.state();
        state.until.filter(|until| (self.clock)() < *until).map(|_| state.term)
    }

    /// Where the leader is, as far as is known.
    #[must_use]
    pub fn leader(&self) -> Option<String> {
        self.state().leader.clone()
    }

    /// Takes or renews the lease.
    ///
    /// # Errors
    /// If the API server does not answer; what was held stays so until its time is over.
    pub async fn attempt(&self, server: &dyn Server, me: &Candidate) -> Result<Standing, ApiError> {
        // Counted from before the request: the lease may be younger than that, never older.
        let asked = (self.clock)();
        let place = Ref::new(Kind::Lease, &me.namespace, naming::OPERATOR);
        let lease = match server.get(&place).await {
            Ok(lease) => lease,
            Err(ApiError::NotFound(_)) => return self.make(server, me, asked).await,
            Err(error) => return Err(error),
        };
        let holder = text(&lease, "/spec/holderIdentity").unwrap_or_default();
        let transitions = lease.pointer("/spec/leaseTransitions").and_then(Value::as_u64).unwrap_or(0);
        let mine = holder == me.identity;
        self.knows_of(transitions);
        if !mine && !holder.is_empty() && !self.expired(&lease) {
            let leader = lease.pointer("/metadata/annotations").and_then(|all| all.get(ADDRESS)).and_then(Value::as_str);
            return Ok(self.follows(leader.map(str::to_owned)));
        }
        // A process that was started anew in the same pod is another leader.
        let renews = mine && self.state().term == Term(transitions);
        let term = if renews { transitions } else { transitions + 1 };
        let next = self::lease(me, Some(&lease), term, me.now);
        match server.apply(&place, false, &next).await {
            Ok(_) => Ok(self.won(asked, term, &me.address)),
            Err(ApiError::Conflict(_)) => Ok(self.follows(None)),
            Err(error) => Err(error),
        }
    }

    /// Makes the lease, which is not there yet, or was deleted: terms count on from all that is known, and who held it may not have
    /// noticed that it is gone.
    async fn make(&self, server: &dyn Server, me: &Candidate, asked: Instant) -> Result<Standing, ApiError> {
        let (held, another) = (self.term(), self.state().seen.is_some());
        if held.is_none() && another && !self.expired(&Value::Null) {
            return Ok(self.follows(None));
        }
        let term = held.map_or_else(|| self.state().newest + 1, |Term(term)| term);
        match server.create(Kind::Lease, &me.namespace, &lease(me, None, term, me.now)).await {
            Ok(_) => Ok(self.won(asked, term, &me.address)),
            Err(ApiError::AlreadyExists(_)) => Ok(self.follows(None)),
            Err(error) => Err(error),
        }
    }

    fn knows_of(&self, term: u64) {
        let mut state = self.state();
        state.newest = state.newest.max(term);
    }

    /// Gives the lease up, so that the next leader need not wait.
    pub async fn release(&self, server: &dyn Server, me: &Candidate) {
        let held = self.holds();
        self.lost();
        let place = Ref::new(Kind::Lease, &me.namespace, naming::OPERATOR);
        if !held {
            return;
        }
        let Ok(found) = server.get(&place).await else { return };
        if text(&found, "/spec/holderIdentity") != Some(me.identity.as_str()) {
            return;
        }
        let transitions = found.pointer("/spec/leaseTransitions").and_then(Value::as_u64).unwrap_or(0);
        let free = Candidate { identity: String::new(), ..me.clone() };
        if let Err(error) = server.apply(&place, false, &self::lease(&free, Some(&found), transitions, me.now)).await {
            tracing::info!(%error, "the lease was not given up; it runs out by itself");
        }
    }

    /// Nothing may be written from now on.
    pub fn lost(&self) {
        self.state().until = None;
    }

    fn won(&self, asked: Instant, term: u64, address: &str) -> Standing {
        let mut state = self.state();
        state.until = Some(asked + TRUSTED);
        state.term = Term(term);
        state.newest = state.newest.max(term);
        state.leader = Some(address.to_owned());
        state.seen = None;
        Standing::Leads(Term(term))
    }

    fn follows(&self, leader: Option<String>) -> Standing {
        let mut state = self.state();
        state.until = None;
        state.leader.clone_from(&leader);
        Standing::Follows(leader)
    }

    /// Whether another's lease has not changed for as long as it is good, by this process's clock.
    fn expired(&self, lease: &Value) -> bool {
        let version = text(lease, "/metadata/resourceVersion").unwrap_or_default();
        let good = lease.pointer("/spec/leaseDurationSeconds").and_then(Value::as_u64).map_or(LEASE, Duration::from_secs);
        let now = (self.clock)();
        let mut state = self.state();
        match &state.seen {
            Some((seen, since)) if seen == version => now.duration_since(*since) > good,
            _ => {
                state.seen = Some((version.to_owned(), now));
                false
            }
        }
    }
}

/// Who wants to lead.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub namespace: String,
    /// The pod, and what tells its processes apart.
    pub identity: String,
    /// `host:port`.
    pub address: String,
    /// Microseconds since 1970.
    pub now: i64,
}

fn lease(me: &Candidate, old: Option<&Value>, term: u64, now: i64) -> Value {
    let time = jiff::Timestamp::from_microsecond(now).unwrap_or_default();
    let micro = jiff::fmt::temporal::DateTimePrinter::new().precision(Some(6)).timestamp_to_string(&time);
    let mut metadata = json!({
        "name": naming::OPERATOR, "namespace": me.namespace, "annotations": {ADDRESS: me.address},
        "labels": {naming::MANAGED_BY: naming::MANAGER},
    });
    if let Some(owners) = old.and_then(|old| old.pointer("/metadata/ownerReferences")) {
        metadata["ownerReferences"] = owners.clone();
    }
    if let Some(version) = old.and_then(|old| text(old, "/metadata/resourceVersion")) {
        metadata["resourceVersion"] = version.into();
    }
    let acquired = old.filter(|old| text(old, "/spec/holderIdentity") == Some(me.identity.as_str()));
    let acquired = acquired.and_then(|old| text(old, "/spec/acquireTime")).map_or_else(|| micro.clone(), str::to_owned);
    json!({
        "apiVersion": Kind::Lease.api_version(), "kind": "Lease", "metadata": metadata,
        "spec": {
            "holderIdentity": me.identity, "leaseDurationSeconds": LEASE.as_secs(), "leaseTransitions": term,
            "acquireTime": acquired, "renewTime": micro,
        },
    })
}

#[cfg(test)]
mod tests;
