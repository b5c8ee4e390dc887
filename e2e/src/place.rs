//! Where a cluster can be brought up on this machine.

use std::path::Path;
use std::process::Command;

use crate::command;

/// Names a place, where the machine has several: `kind` or `private`.
const CHOICE: &str = "E2E_CLUSTER";

/// Where the cluster runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Docker containers, by kind.
    Kind,
    /// Private namespaces of this machine.
    Private,
    /// Nowhere, and why not.
    Nowhere(Vec<String>),
}

impl Place {
    /// The first place that this machine has, or the one that `E2E_CLUSTER` asks for.
    #[must_use]
    pub fn choose() -> Self {
        let choice = std::env::var(CHOICE).ok();
        let mut reasons = Vec::new();
        for (name, place, obstacle) in [("kind", Self::Kind, no_kind as fn() -> _), ("private", Self::Private, no_private)] {
            if choice.as_ref().is_some_and(|choice| choice != name) {
                reasons.push(format!("{name}: {CHOICE} does not ask for it"));
                continue;
            }
            match obstacle() {
                None => return place,
                Some(reason) => reasons.push(format!("{name}: {reason}")),
            }
        }
        Self::Nowhere(reasons)
    }
}

/// What stands in the way of kind.
fn no_kind() -> Option<String> {
    if !command::succeeds("docker", &["info"]) {
        return Some("docker does not run (`docker info` fails)".to_owned());
    }
    if !command::succeeds("kubectl", &["version", "--client"]) {
        return Some("kubectl is missing".to_owned());
    }
    let can = command::succeeds("kind", &["version"]) || command::succeeds("go", &["version"]);
    (!can).then(|| "neither kind nor Go to build it with is there".to_owned())
}

/// What stands in the way of private namespaces.
fn no_private() -> Option<String> {
    if !cfg!(target_os = "linux") {
        return Some("this is not Linux".to_owned());
    }
    let user = command::run(Command::new("id").arg("-u")).unwrap_or_default();
    if user.trim() != "0" {
        return Some("only root may make them".to_owned());
    }
    if !Path::new("/etc/debian_version").exists() {
        return Some("its programs come from Debian packages, and this is not Debian".to_owned());
    }
    if !command::succeeds("unshare", &["--net", "--mount", "--pid", "--fork", "true"]) {
        return Some("this container may not make namespaces (`unshare` fails)".to_owned());
    }
    let has_go = command::succeeds("go", &["version"]);
    (!has_go).then(|| "Go is missing, which builds Kubernetes' programs".to_owned())
}
