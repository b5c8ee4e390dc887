//! Names, labels and annotations of everything that the operator makes. The same run always gets the same names.

use proto::RunId;
use sha2::{Digest, Sha256};

/// Field manager of all that we apply.
pub const MANAGER: &str = "gleamflow";
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
pub use crds::label::FLOW;
pub const RUN: &str = "gleamflow.io/run";
pub const ROLE: &str = "gleamflow.io/role";
/// Marks the objects of a run's record.
pub const RECORD: &str = "gleamflow.io/record";
/// Holds the id of a run that is to be cancelled.
pub const CANCEL: &str = "gleamflow.io/cancel";
/// When the certificate and the token in a run's Secret are to be renewed, in seconds since 1970.
pub const RENEW: &str = "gleamflow.io/renew-at";
pub use crds::label::AUTHORITY;
use crds::label::OWN_SECRET;
/// The ConfigMap with the authority's certificate.
pub const AUTHORITY_CERTIFICATE: &str = "gleamflow-ca";
/// Lease, Service and Deployment of the operator.
pub const OPERATOR: &str = "gleamflow-operator";
/// DaemonSet and service account of the agents.
pub const AGENT: &str = "gleamflow-agent";

/// The id of a flow's `number`-th run; `None` where the UID is none.
#[must_use]
pub fn run_id(uid: &str, number: u64) -> Option<RunId> {
    RunId::try_from(format!("{uid}-{number}")).ok()
}

/// Which run of its flow an id names.
#[must_use]
pub fn run_number(id: &str) -> Option<u64> {
    id.rsplit_once('-')?.1.parse().ok()
}

/// The UID of the flow that a run is of.
#[must_use]
pub fn run_uid(id: &str) -> &str {
    id.rsplit_once('-').map_or(id, |(uid, _)| uid)
}

pub use crds::label::value as flow_part;

/// What the names of a run's objects begin with; the name of its NetworkPolicy.
#[must_use]
pub fn run_base(flow: &str, number: u64) -> String {
    format!("{}-{number}", flow_part(flow))
}

/// The pod of an executor.
#[must_use]
pub fn pod(base: &str, index: u32) -> String {
    format!("{base}-{index}")
}

/// The index of an executor's pod; `None` where the name is not of this run.
#[must_use]
pub fn pod_index(base: &str, pod: &str) -> Option<u32> {
    pod.strip_prefix(base)?.strip_prefix('-')?.parse().ok()
}

/// The Secret of a run: what it is, its certificate and its token.
#[must_use]
pub fn secret(base: &str) -> String {
    format!("{base}{OWN_SECRET}")
}

/// The Secret with the rows of `write.stdout`.
#[must_use]
pub fn output(base: &str) -> String {
    format!("{base}-output{OWN_SECRET}")
}

/// The ConfigMap of the `at`-th entry of the run's record.
#[must_use]
pub fn record(base: &str, at: usize) -> String {
    format!("{base}-record-{at}")
}

/// Hexadecimal SHA-256.
#[must_use]
pub fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The seed of a run: the same for every attempt and leader.
#[must_use]
pub fn seed(run: &str) -> u64 {
    Sha256::digest(run.as_bytes()).iter().take(8).fold(0, |seed, byte| seed << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_whatever_the_flow_is_called() {
        let long = "a".repeat(253);
        for flow in ["wordcount", "a.b.c", &long] {
            let base = run_base(flow, 123_456);
            for name in [pod(&base, 9999), record(&base, 9999)] {
                assert!(name.len() <= 63 && !name.contains('.'), "{name}");
            }
            // Names of Secrets are good for 253 letters.
            for name in [secret(&base), output(&base)] {
                assert!(name.len() <= 80 && crds::label::is_own_secret(&name), "{name}");
            }
            assert_eq!(pod_index(&base, &pod(&base, 17)), Some(17));
        }
        assert_ne!(flow_part("a.b"), flow_part("a-b"));
        assert_eq!(pod_index("a-1", "a-1-x"), None);
        assert_eq!(pod_index("a-1", "a-10-3"), None);
    }

    #[test]
    fn a_run_id_says_which_run_of_which_flow() {
        let id = run_id("0c7bd5c8-51a1-4d53-9d3b-b6b7bb6fbd11", 12).unwrap();
        assert_eq!(run_number(id.as_str()), Some(12));
        assert_eq!(run_uid(id.as_str()), "0c7bd5c8-51a1-4d53-9d3b-b6b7bb6fbd11");
    }
}
