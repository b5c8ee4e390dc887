//! Why no agent is connected, in the cluster's own words. Read only while a run waits for one, and then for all flows at once.

use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use super::Controller;
use super::hanging::newest_warning;
use super::track::Tracked;
use crate::naming;
use crate::server::{ApiError, Kind, Ref};
use crate::view::{FlowView, PodPhase, PodView, text};

/// How long what was read is believed, in seconds.
const BELIEVED: i64 = 4;

/// What was read last, and when.
#[derive(Debug, Default)]
pub struct Fleet(Mutex<Option<(i64, String)>>);

/// What the cluster says of the agents.
struct Found {
    /// The DaemonSet.
    set: Value,
    set_events: Vec<Value>,
    pods: Vec<PodView>,
    /// About the first pod that has a node and does not start.
    pod_events: Vec<Value>,
}

impl Controller {
    /// `None`: there are agents, or no run goes on, or nobody says why.
    pub(super) async fn no_agents(&self, view: &FlowView, tracked: &mut Tracked, now: i64) -> Option<String> {
        view.status.current_run.as_ref().filter(|run| run.completion_time.is_none())?;
        if !self.runs.agents().is_empty() {
            return None;
        }
        let known = self.fleet.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((_, why)) = known.filter(|(at, _)| (*at..*at + BELIEVED).contains(&now)) {
            return Some(why);
        }
        let why = match self.find_agents(tracked).await {
            Ok(found) => words(&found),
            Err(ApiError::NotFound(_)) => format!("there is no DaemonSet {}, which the operator makes anew", naming::AGENT),
            Err(error) => {
                tracing::debug!(%error, "why there are no agents cannot be read");
                return None;
            }
        };
        *self.fleet.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, why.clone()));
        Some(why)
    }

    async fn find_agents(&self, tracked: &mut Tracked) -> Result<Found, ApiError> {
        let (server, namespace) = (&self.server, &self.namespace);
        let labels = format!("{}={},{}=agent", naming::MANAGED_BY, naming::MANAGER, naming::ROLE);
        tracked.requests += 3;
        let set = server.get(&Ref::new(Kind::DaemonSet, namespace, naming::AGENT)).await?;
        let pods = server.list(Kind::Pod, namespace, &labels).await?;
        let pods: Vec<PodView> = pods.iter().filter_map(PodView::read).collect();
        let set_events = server.events(namespace, naming::AGENT).await?;
        let pod_events = match pods.iter().find(|pod| hangs(pod)) {
            Some(pod) => {
                tracked.requests += 1;
                server.events(namespace, &pod.name).await?
            }
            None => Vec::new(),
        };
        Ok(Found { set, set_events, pods, pod_events })
    }
}

/// Only its events say why.
fn hangs(pod: &PodView) -> bool {
    pod.phase == PodPhase::Pending && pod.node.is_some() && !pod.deleting && pod.trouble.is_none()
}

fn words(found: &Found) -> String {
    let live: Vec<&PodView> = found.pods.iter().filter(|pod| !pod.deleting).collect();
    if let Some((pod, trouble)) = live.iter().find_map(|pod| Some((pod, pod.trouble.as_ref()?))) {
        return format!("pod {}: {}", pod.name, trouble.message);
    }
    let hanging = live.iter().find(|pod| hangs(pod));
    if let Some((pod, trouble)) = hanging.and_then(|pod| Some((pod, newest_warning(&found.pod_events, &pod.uid)?))) {
        return format!("pod {}: {}", pod.name, trouble.message);
    }
    let place = format!("DaemonSet {}", naming::AGENT);
    if let Some(pod) = live.first() {
        return format!("{place} has {} pods; pod {} is {:?} and has not connected yet", live.len(), pod.name, pod.phase);
    }
    let count = |pointer: &str| found.set.pointer(pointer).and_then(Value::as_i64);
    let is_seen = count("/status/observedGeneration") >= count("/metadata/generation");
    if is_seen && count("/status/desiredNumberScheduled") == Some(0) {
        return format!("{place} fits no node: look at its nodeSelector and tolerations (agent.nodeSelector, agent.tolerations)");
    }
    let refused = newest_warning(&found.set_events, text(&found.set, "/metadata/uid").unwrap_or_default());
    refused.map_or_else(|| format!("{place} has no pods yet"), |trouble| format!("{place}: {}", trouble.message))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set(desired: i64) -> Value {
        json!({"metadata": {"uid": "s", "generation": 2}, "status": {"observedGeneration": 2, "desiredNumberScheduled": desired}})
    }

    fn warning(uid: &str, reason: &str) -> Value {
        json!({"involvedObject": {"uid": uid}, "type": "Warning", "reason": reason, "message": "so it is",
            "lastTimestamp": "2026-01-01T00:00:00Z"})
    }

    fn pod(status: Value) -> PodView {
        PodView::read(&json!({"metadata": {"name": "a", "uid": "u"}, "spec": {"nodeName": "n"}, "status": status})).unwrap()
    }

    #[test]
    fn what_keeps_agents_away_is_said_in_the_clusters_words() {
        let check = |desired: i64, pods: Vec<PodView>, pod_events: Vec<Value>, expected: &str| {
            let found = Found { set: set(desired), set_events: vec![warning("s", "FailedCreate")], pods, pod_events };
            let said = words(&found);
            assert!(said.contains(expected), "{said:?} does not say {expected:?}");
        };
        check(3, Vec::new(), Vec::new(), "DaemonSet gleamflow-agent: FailedCreate: so it is");
        check(0, Vec::new(), Vec::new(), "fits no node");
        let waiting = json!({"phase": "Pending", "containerStatuses": [{"state": {"waiting": {"reason": "ErrImagePull", "message": "no"}}}]});
        check(3, vec![pod(waiting)], Vec::new(), "pod a: ErrImagePull: no");
        check(3, vec![pod(json!({"phase": "Pending"}))], vec![warning("u", "FailedMount")], "pod a: FailedMount: so it is");
        check(3, vec![pod(json!({"phase": "Running"}))], Vec::new(), "pod a is Running and has not connected yet");
    }
}
