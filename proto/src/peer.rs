//! Who is at the other end of a connection: members are named by their certificates, in a URI of ours.

use std::fmt;
use std::net::IpAddr;

use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::RunId;
use crate::token::Role;

/// What all names begin with.
const SCHEME: &str = "gleamflow:";

/// Somebody that the authority gives a certificate to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Member {
    Operator,
    /// The agent of a node.
    Agent {
        node: String,
    },
    /// The executors of a run.
    Executor {
        run: RunId,
    },
}

/// What a peer has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// The connection is not TLS: within one process, in tests.
    Plain,
    /// No certificate, or one that names no member.
    Nothing,
    Member(Member),
}

/// The other end of a connection; servers find it among a request's extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub address: IpAddr,
    pub shown: Shown,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Member::Operator => write!(f, "{SCHEME}operator"),
            Member::Agent { node } => write!(f, "{SCHEME}agent:{node}"),
            Member::Executor { run } => write!(f, "{SCHEME}executor:{run}"),
        }
    }
}

impl Member {
    /// From the name in a certificate; `None` for any other.
    #[must_use]
    pub fn parse(name: &str) -> Option<Member> {
        let name = name.strip_prefix(SCHEME)?;
        match name.split_once(':') {
            None => (name == "operator").then_some(Member::Operator),
            Some(("agent", node)) if !node.is_empty() => Some(Member::Agent { node: node.to_owned() }),
            Some(("executor", run)) => Some(Member::Executor { run: RunId::try_from(run.to_owned()).ok()? }),
            Some(_) => None,
        }
    }

    /// The member that a certificate (DER) names. Says nothing about whether it is good.
    #[must_use]
    pub fn of_certificate(certificate: &[u8]) -> Option<Member> {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        let names = certificate.subject_alternative_name().ok()??;
        let mut members = names.value.general_names.iter().filter_map(|name| match name {
            GeneralName::URI(name) => Member::parse(name),
            _ => None,
        });
        let member = members.next()?;
        // One that names two is none of ours.
        members.next().is_none().then_some(member)
    }
}

impl Peer {
    /// Whether the holder of a token with this role may come over this connection.
    #[must_use]
    pub fn may_be(&self, role: &Role) -> bool {
        match (&self.shown, role) {
            (Shown::Plain, _) | (Shown::Member(Member::Operator), Role::Operator { .. }) => true,
            (Shown::Member(Member::Agent { node }), Role::Agent { node: own }) => node == own,
            (Shown::Member(Member::Executor { run }), Role::Executor { run: own }) => run == own,
            (Shown::Nothing | Shown::Member(_), _) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Term;

    fn run(name: &str) -> RunId {
        RunId::try_from(name.to_owned()).unwrap()
    }

    #[test]
    fn members_are_read_as_they_are_written_and_nothing_else_is_one() {
        let members = [Member::Operator, Member::Agent { node: "n.a".to_owned() }, Member::Executor { run: run("abc-1") }];
        for member in members {
            assert_eq!(Member::parse(&member.to_string()), Some(member));
        }
        for name in ["", "operator", "gleamflow:", "gleamflow:agent:", "gleamflow:executor:../x", "gleamflow:operator:x"] {
            assert_eq!(Member::parse(name), None, "{name}");
        }
        assert_eq!(Member::of_certificate(b"no certificate"), None);
    }

    #[test]
    fn a_token_is_good_only_over_its_holders_connection() {
        let peer = |shown| Peer { address: [127, 0, 0, 1].into(), shown };
        let executor = peer(Shown::Member(Member::Executor { run: run("a") }));
        assert!(executor.may_be(&Role::Executor { run: run("a") }));
        assert!(!executor.may_be(&Role::Executor { run: run("b") }));
        assert!(!executor.may_be(&Role::Operator { term: Term(1) }));
        let agent = peer(Shown::Member(Member::Agent { node: "n".to_owned() }));
        assert!(agent.may_be(&Role::Agent { node: "n".to_owned() }));
        assert!(!agent.may_be(&Role::Agent { node: "m".to_owned() }));
        assert!(!peer(Shown::Nothing).may_be(&Role::Executor { run: run("a") }));
        assert!(peer(Shown::Member(Member::Operator)).may_be(&Role::Operator { term: Term(1) }));
    }
}
