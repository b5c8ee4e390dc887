//! Pods that have a node and do not start: their status says nothing of a volume that cannot be mounted or a Secret that is not
//! there; only their events do.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::Controller;
use super::track::Tracked;
use crate::server::ApiError;
use crate::view::{FlowView, PodPhase, PodView, Trouble, text};

/// A pod that starts within this time is not asked about, in seconds.
const PATIENCE: i64 = 5;
/// How often the events of one that does not are read, in seconds.
const EVERY: i64 = 15;
/// Events of so many pods are read: the others of the run hang for the same reason.
const ASKED: usize = 2;

/// Warnings that do not say why a pod with a node does not start: that it had none before, and how names are looked up in it.
const BESIDE_THE_POINT: [&str; 3] = ["FailedScheduling", "MissingClusterDNS", "DNSConfigForming"];

/// Pods that hang, by uid.
#[derive(Debug, Default)]
pub(super) struct Hanging {
    pods: BTreeMap<String, Hangs>,
}

#[derive(Debug)]
struct Hangs {
    since: i64,
    asked: Option<i64>,
    why: Option<Trouble>,
}

impl Hanging {
    pub(super) fn is_empty(&self) -> bool {
        self.pods.is_empty()
    }

    /// The pods with what is known of those that hang.
    pub(super) fn explained(&self, mut pods: Vec<Arc<PodView>>) -> Vec<Arc<PodView>> {
        for pod in &mut pods {
            if let Some(why) = self.pods.get(&pod.uid).and_then(|hangs| hangs.why.clone()) {
                Arc::make_mut(pod).trouble = Some(why);
            }
        }
        pods
    }
}

impl Controller {
    /// Finds out why pods hang; `Some`: to be looked at again after that.
    pub(super) async fn look_at_hanging(&self, view: &FlowView, tracked: &mut Tracked, now: i64) -> Option<Duration> {
        let starts =
            |pod: &Arc<PodView>| pod.phase == PodPhase::Pending && pod.node.is_some() && !pod.deleting && pod.trouble.is_none();
        let pods = self.cached(|cache| cache.pods(&view.key, &view.uid));
        let pods: Vec<Arc<PodView>> = pods.into_iter().filter(starts).collect();
        let hanging = &mut tracked.hanging.pods;
        hanging.retain(|uid, _| pods.iter().any(|pod| pod.uid == *uid));
        for pod in &pods {
            hanging.entry(pod.uid.clone()).or_insert(Hangs { since: now, asked: None, why: None });
        }
        for pod in pods.iter().take(ASKED) {
            let Some(hangs) = hanging.get_mut(&pod.uid) else { continue };
            let due = hangs.asked.map_or(hangs.since + PATIENCE, |asked| asked + EVERY);
            if now < due {
                continue;
            }
            hangs.asked = Some(now);
            tracked.requests += 1;
            match self.server.events(&view.key.namespace, &pod.name).await {
                Ok(events) => hangs.why = newest_warning(&events, &pod.uid).or_else(|| hangs.why.take()),
                // Without them it stays at "starting".
                Err(error @ ApiError::Forbidden(_)) => tracing::warn!(pod = pod.name, %error, "its events cannot be read"),
                Err(error) => tracing::debug!(pod = pod.name, %error, "its events cannot be read"),
            }
        }
        let asked = pods.iter().take(ASKED).filter_map(|pod| hanging.get(&pod.uid));
        let next = asked.map(|hangs| hangs.asked.map_or(hangs.since + PATIENCE, |asked| asked + EVERY)).min();
        next.map(|at| Duration::from_secs((at - now).max(1).unsigned_abs()))
    }
}

pub(super) fn newest_warning(events: &[Value], uid: &str) -> Option<Trouble> {
    let about = |event: &&Value| text(event, "/involvedObject/uid") == Some(uid) && text(event, "/type") == Some("Warning");
    // Whoever writes events may use either time; both are text that sorts.
    let time = |event: &&Value| {
        let times = ["/series/lastObservedTime", "/lastTimestamp", "/eventTime", "/firstTimestamp"];
        times.iter().find_map(|at| text(event, at)).map(str::to_owned)
    };
    let keeps = |event: &&Value| !BESIDE_THE_POINT.contains(&text(event, "/reason").unwrap_or_default());
    let event = events.iter().filter(about).filter(keeps).max_by_key(time)?;
    let reason = text(event, "/reason").unwrap_or("Warning");
    let class = match reason {
        "FailedMount" | "FailedAttachVolume" | "FailedMapVolume" => "VolumeNotReady",
        _ => "PodNotStarted",
    };
    Some(Trouble { reason: class, message: format!("{reason}: {}", text(event, "/message").unwrap_or_default()) })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(uid: &str, kind: &str, reason: &str, at: &str) -> Value {
        json!({"involvedObject": {"uid": uid}, "type": kind, "reason": reason, "message": format!("{reason} it is"), "lastTimestamp": at})
    }

    #[test]
    fn the_newest_warning_about_the_very_pod_counts() {
        let events = [
            event("a", "Warning", "FailedScheduling", "2026-01-01T00:00:00Z"),
            event("a", "Warning", "FailedMount", "2026-01-01T00:00:02Z"),
            event("a", "Normal", "Pulled", "2026-01-01T00:00:03Z"),
            event("b", "Warning", "Evil", "2026-01-01T00:00:04Z"),
        ];
        let found = newest_warning(&events, "a").unwrap();
        assert_eq!((found.reason, found.message.as_str()), ("VolumeNotReady", "FailedMount: FailedMount it is"));
        assert_eq!(newest_warning(&events[..1], "a"), None);
        assert_eq!(newest_warning(&events, "c"), None);
        let other = [event("a", "Warning", "FailedCreatePodSandBox", "2026-01-01T00:00:00Z")];
        assert_eq!(newest_warning(&other, "a").unwrap().reason, "PodNotStarted");
    }
}
