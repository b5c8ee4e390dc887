//! Who may do what at an agent: tokens, runs, terms.

use std::sync::{Mutex, MutexGuard, PoisonError};

use proto::peer::Peer;
use proto::token::{Claims, PublicKey, Refused, Role, check};
use proto::{RunId, Term};
use tonic::Status;
use tonic::metadata::MetadataMap;

/// What calls are checked against. Known as soon as a leader answered a beat; until then no call is served.
///
/// The newest term is kept in memory alone: a process that starts again asks the leader for it before it serves anything, and
/// what it held when it last heard of a term is gone with that process too.
#[derive(Debug)]
pub struct Access {
    known: Mutex<Known>,
    /// Seconds since 1970.
    clock: fn() -> u64,
}

#[derive(Debug, Default)]
struct Known {
    keys: Vec<PublicKey>,
    term: Term,
}

/// Why a call is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    #[error("the agent has not heard from a leader yet")]
    NotReady,
    #[error(transparent)]
    Token(#[from] Refused),
    #[error("the token is not good for this")]
    Role,
    #[error("the token is of another run")]
    OtherRun,
    #[error("term {} is over: term {} began", .given.0, .newest.0)]
    OldTerm { given: Term, newest: Term },
}

impl From<Denied> for Status {
    fn from(denied: Denied) -> Status {
        let text = denied.to_string();
        match denied {
            Denied::NotReady => Status::unavailable(text),
            Denied::Token(_) => Status::unauthenticated(text),
            Denied::Role | Denied::OtherRun => Status::permission_denied(text),
            Denied::OldTerm { .. } => Status::failed_precondition(text),
        }
    }
}

impl Access {
    /// Refuses all until [`Access::learn`].
    #[must_use]
    pub fn new(clock: fn() -> u64) -> Access {
        Access { known: Mutex::default(), clock }
    }

    /// What a leader of `term` says: the keys that tokens are signed with. `false`: a newer leader was heard before, and this
    /// one is not to be believed.
    pub fn learn(&self, term: Term, keys: &[PublicKey]) -> bool {
        let mut known = self.lock();
        if term < known.term {
            return false;
        }
        known.term = term;
        known.keys = keys.to_vec();
        true
    }

    /// Whether calls can be served.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !self.lock().keys.is_empty()
    }

    /// What the token of a call says, whatever the call is: for [`Access::writer`] and the others.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn claims(&self, metadata: &MetadataMap, peer: &Peer) -> Result<Claims, Denied> {
        let known = self.lock();
        if known.keys.is_empty() {
            return Err(Denied::NotReady);
        }
        Ok(check(metadata, peer, &known.keys, (self.clock)())?)
    }

    /// An executor of the run.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn writer(&self, claims: &Claims, run: &RunId) -> Result<(), Denied> {
        match &claims.role {
            Role::Executor { run: own } if own == run => Ok(()),
            Role::Executor { .. } => Err(Denied::OtherRun),
            Role::Operator { .. } | Role::Agent { .. } => Err(Denied::Role),
        }
    }

    /// An executor of the run, or the operator.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn reader(&self, claims: &Claims, run: &RunId) -> Result<(), Denied> {
        match &claims.role {
            Role::Executor { run: own } if own == run => Ok(()),
            Role::Executor { .. } => Err(Denied::OtherRun),
            Role::Operator { term } => self.is_current(*term),
            Role::Agent { .. } => Err(Denied::Role),
        }
    }

    /// The operator of a term that is not over.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn operator(&self, claims: &Claims, asked: Term) -> Result<(), Denied> {
        match &claims.role {
            Role::Operator { term } if *term == asked => self.is_current(asked),
            Role::Operator { .. } | Role::Executor { .. } | Role::Agent { .. } => Err(Denied::Role),
        }
    }

    fn is_current(&self, given: Term) -> Result<(), Denied> {
        let mut known = self.lock();
        if given < known.term {
            return Err(Denied::OldTerm { given, newest: known.term });
        }
        // Its token is signed, so there is such a leader, even if no beat has reached it yet.
        known.term = given;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use proto::peer::{Member, Shown};
    use proto::token::{Signer, authorization};

    use super::*;

    fn run(name: &str) -> RunId {
        RunId::try_from(name.to_owned()).unwrap()
    }

    fn signer() -> Signer {
        Signer::new(&Signer::generate().unwrap()).unwrap()
    }

    fn peer(shown: Shown) -> Peer {
        Peer { address: [127, 0, 0, 1].into(), shown }
    }

    fn call(signer: &Signer, role: Role, expires: u64) -> MetadataMap {
        let mut metadata = MetadataMap::new();
        metadata.insert("authorization", authorization(&signer.sign(&Claims { role, expires })).unwrap());
        metadata
    }

    fn claims(role: Role) -> Claims {
        Claims { role, expires: 200 }
    }

    #[test]
    fn each_role_may_do_its_own_part_and_no_other() {
        let access = Access::new(|| 100);
        assert!(access.learn(Term(5), &[signer().public_key()]));
        let executor = claims(Role::Executor { run: run("a") });
        assert_eq!(access.writer(&executor, &run("a")), Ok(()));
        assert_eq!(access.reader(&executor, &run("a")), Ok(()));
        assert_eq!(access.writer(&executor, &run("b")), Err(Denied::OtherRun));
        assert_eq!(access.reader(&executor, &run("b")), Err(Denied::OtherRun));
        assert_eq!(access.operator(&executor, Term(5)), Err(Denied::Role));
        let operator = claims(Role::Operator { term: Term(5) });
        assert_eq!(access.writer(&operator, &run("a")), Err(Denied::Role));
        assert_eq!(access.reader(&operator, &run("a")), Ok(()));
        assert_eq!(access.operator(&operator, Term(5)), Ok(()));
        assert_eq!(access.operator(&operator, Term(6)), Err(Denied::Role), "the token's term counts");
        let agent = claims(Role::Agent { node: "n".to_owned() });
        assert_eq!(access.reader(&agent, &run("a")), Err(Denied::Role));
    }

    #[test]
    fn missing_expired_forged_and_stolen_tokens_are_refused() {
        let (signer, other, access) = (signer(), signer(), Access::new(|| 100));
        let plain = peer(Shown::Plain);
        let role = || Role::Executor { run: run("a") };
        let good = call(&signer, role(), 200);
        assert_eq!(access.claims(&good, &plain), Err(Denied::NotReady));
        access.learn(Term(1), &[signer.public_key()]);
        assert_eq!(access.claims(&good, &plain), Ok(claims(role())));
        assert_eq!(access.claims(&MetadataMap::new(), &plain), Err(Denied::Token(Refused::Missing)));
        assert_eq!(access.claims(&call(&signer, role(), 100), &plain), Err(Denied::Token(Refused::Expired)));
        assert_eq!(access.claims(&call(&other, role(), 200), &plain), Err(Denied::Token(Refused::Forged)));
        let other_run = peer(Shown::Member(Member::Executor { run: run("b") }));
        assert_eq!(access.claims(&good, &other_run), Err(Denied::Token(Refused::OtherHolder)));
        assert_eq!(access.claims(&good, &peer(Shown::Nothing)), Err(Denied::Token(Refused::OtherHolder)));
    }

    #[test]
    fn an_older_term_is_refused_once_a_newer_one_was_seen() {
        let (signer, access) = (signer(), Access::new(|| 100));
        access.learn(Term(5), &[signer.public_key()]);
        let of = |term| claims(Role::Operator { term: Term(term) });
        assert_eq!(access.operator(&of(6), Term(6)), Ok(()));
        assert_eq!(access.operator(&of(5), Term(5)), Err(Denied::OldTerm { given: Term(5), newest: Term(6) }));
        assert_eq!(access.reader(&of(5), &run("a")), Err(Denied::OldTerm { given: Term(5), newest: Term(6) }));
        assert!(!access.learn(Term(5), &[]));
        assert!(access.learn(Term(6), &[signer.public_key()]));
    }
}
