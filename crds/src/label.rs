//! The label by which a flow's pods are found, a flow's name as part of other names, and which Secrets are the operator's.

use sha2::{Digest, Sha256};

/// Label of all that is made for a flow; its value is [`value`].
pub const FLOW: &str = "gleamflow.io/flow";

/// What the names of Secrets end with that the operator makes for runs: a run's certificate and token, what it wrote.
pub const OWN_SECRET: &str = ".gleamflow";

/// The Secret of the operator's authority.
pub const AUTHORITY: &str = "gleamflow-authority";

/// Whether a Secret is the operator's by its name, so that no flow may be given what is in it: told by the name alone, since a flow
/// can name a Secret before it is there.
#[must_use]
pub fn is_own_secret(name: &str) -> bool {
    name.ends_with(OWN_SECRET) || name == AUTHORITY
}

/// Longest part of a name that comes from the flow's: leaves room for numbers and suffixes within 63.
const LONGEST: usize = 40;

/// A flow's name as a label value and a part of names, which take fewer and other letters: long names and names with dots are cut
/// and told apart by their hash.
#[must_use]
pub fn value(flow: &str) -> String {
    if flow.len() <= LONGEST && !flow.contains('.') {
        return flow.to_owned();
    }
    let kept: String = flow.chars().take(LONGEST - 9).map(|letter| if letter == '.' { '-' } else { letter }).collect();
    let hash: String = Sha256::digest(flow.as_bytes()).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{hash}", kept.trim_end_matches('-'))
}

/// Selects what is made for a flow.
#[must_use]
pub fn selector(flow: &str) -> String {
    format!("{FLOW}={}", value(flow))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_stay_and_others_fit() {
        assert_eq!(selector("wordcount"), "gleamflow.io/flow=wordcount");
        assert_eq!(value("dotted.name"), "dotted-name-10c733ab");
        let long = value(&"a".repeat(253));
        assert!(long.len() == LONGEST && !long.contains('.'), "{long}");
    }
}
