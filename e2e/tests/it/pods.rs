//! Every pod that there ever is in a namespace, as a watch sees it; and all that its flows say about their executors.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::process::{Child, Stdio};

use anyhow::{Context, Result};
use e2e::Cluster;

const COLUMNS: &str = "custom-columns=NAME:.metadata.name,UID:.metadata.uid,PHASE:.status.phase,\
    DELETED:.metadata.deletionTimestamp,NODE:.spec.nodeName,FLOW:.metadata.labels.gleamflow\\.io/flow";

const SAID: &str = "custom-columns=NAME:.metadata.name,REASON:.status.conditions[?(@.type==\"ExecutorsReady\")].reason,\
    MESSAGE:.status.conditions[?(@.type==\"ExecutorsReady\")].message,FAILURES:.status.failures[*].message";

/// A watch that goes on.
struct Watch {
    kubectl: Child,
    seen: tempfile::NamedTempFile,
}

/// A watch of pods.
pub(crate) struct PodWatch(Watch);

/// A watch of what flows say about their executors, which may last a moment only.
pub(crate) struct SaidWatch(Watch);

/// What a pod looked like after one of its changes.
#[derive(Debug)]
pub(crate) struct Sighting {
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) flow: String,
    node: String,
    /// Neither over nor being deleted.
    works: bool,
}

impl PodWatch {
    pub(crate) fn start(cluster: &Cluster, namespace: &str) -> Result<PodWatch> {
        Watch::start(cluster, namespace, "pods", COLUMNS).map(PodWatch)
    }

    /// All that was seen so far, in order.
    pub(crate) fn seen(&self) -> Result<Vec<Sighting>> {
        Ok(self.0.text()?.lines().filter_map(Sighting::read).collect())
    }
}

impl SaidWatch {
    pub(crate) fn start(cluster: &Cluster, namespace: &str) -> Result<SaidWatch> {
        Watch::start(cluster, namespace, "gleamflows", SAID).map(SaidWatch)
    }

    /// Whenever the flow changed: its name; reason and message of its condition `ExecutorsReady`, and what its attempts failed of.
    pub(crate) fn seen(&self) -> Result<Vec<(String, String)>> {
        let pair = |line: &str| line.split_once(' ').map(|(flow, said)| (flow.to_owned(), said.trim().to_owned()));
        Ok(self.0.text()?.lines().filter_map(pair).collect())
    }
}

impl Watch {
    fn start(cluster: &Cluster, namespace: &str, kind: &str, columns: &str) -> Result<Watch> {
        let seen = tempfile::NamedTempFile::new().context("failed to make a temporary file")?;
        let file = File::create(seen.path()).context("failed to open a temporary file")?;
        let mut kubectl = cluster.kubectl_command();
        kubectl.args(["get", kind, "-n", namespace, "--watch", "--no-headers", "-o", columns]);
        let kubectl = kubectl.stdin(Stdio::null()).stdout(file).spawn().context("failed to start kubectl")?;
        Ok(Watch { kubectl, seen })
    }

    fn text(&self) -> Result<String> {
        fs::read_to_string(self.seen.path()).context("failed to read what kubectl saw")
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // It has no end of its own.
        let _ = self.kubectl.kill().and_then(|()| self.kubectl.wait());
    }
}

impl Sighting {
    fn read(line: &str) -> Option<Sighting> {
        let [name, uid, phase, deleted, node, flow] = line.split_whitespace().collect::<Vec<_>>()[..] else { return None };
        let works = matches!(phase, "Pending" | "Running") && deleted == "<none>";
        let [name, uid, flow, node] = [name, uid, flow, node].map(str::to_owned);
        Some(Sighting { name, uid, flow, node, works })
    }
}

/// The pods' uids by their names, which say the run and the index.
pub(crate) fn uids(seen: &[Sighting]) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut pods: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for pod in seen {
        pods.entry(&pod.name).or_default().insert(&pod.uid);
    }
    pods
}

/// How many pods of a flow were at work at the same time, at most, those on some nodes aside.
pub(crate) fn most_at_once(seen: &[Sighting], flow: &str, not_on: &[String]) -> usize {
    let (mut working, mut most) = (BTreeSet::new(), 0);
    for pod in seen.iter().filter(|pod| pod.flow == flow) {
        // Where it goes is not known at first.
        if pod.works && !not_on.contains(&pod.node) {
            working.insert(&pod.uid);
        } else {
            working.remove(&pod.uid);
        }
        most = most.max(working.len());
    }
    most
}
