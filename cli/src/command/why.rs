//! `gleamflow why`: why a flow waits, in the cluster's own words.

use clap::Args;
use crds::GleamFlow;
use crds::status::Phase;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{Api, ListParams};

use crate::cluster::{self, Cluster, Target};
use crate::failure::Failure;
use crate::{operator, output};

const ABSENT: &str = "  no operator runs in this cluster: nothing goes on until one does (the Deployment gleamflow-operator)\n";

/// Warnings about pods that keep nothing from going on: how names are looked up in them.
const BESIDE_THE_POINT: [&str; 2] = ["MissingClusterDNS", "DNSConfigForming"];

/// So many events are shown, each sentence once.
const NEWEST: usize = 5;

/// Say why a flow does not go on
#[derive(Debug, Args)]
pub(crate) struct Why {
    /// The flow
    name: String,
    #[command(flatten)]
    target: Target,
}

impl Why {
    pub(crate) fn execute(self) -> Result<(), Failure> {
        self.target.run(async |cluster: Cluster| {
            let flow = cluster.flow(&self.name).await?;
            let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
            let selector = ListParams::default().labels(&crds::label::selector(&self.name));
            let pods = cluster.ask_if_allowed("list executors", async || pods.list(&selector).await).await?;
            let events: Api<Event> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
            // Of the flow and of its executors: what a pod cannot mount is nowhere else.
            let found = cluster.ask_if_allowed("list events", async || events.list(&ListParams::default()).await).await?;
            let unseen: String = [("pods", pods.is_none()), ("events", found.is_none())]
                .iter()
                .filter(|(_, unseen)| *unseen)
                .map(|(what, _)| {
                    format!("  you may not list {what} in namespace {:?}: what they say is not here\n", cluster.namespace)
                })
                .collect();
            let pods = pods.map(|pods| pods.items).unwrap_or_default();
            let events = about(&flow, &pods, found.map(|events| events.items).unwrap_or_default());
            let text = explained(&flow, &pods, &events) + &unseen;
            let alone = !is_over(&flow) && operator::is_absent(&cluster).await;
            output::print(if alone { format!("{text}{ABSENT}") } else { text })
        })
    }
}

/// The events that tell of the flow itself, and warnings about its pods; the newest last.
fn about(flow: &GleamFlow, pods: &[Pod], events: Vec<Event>) -> Vec<Event> {
    let flow_uid = flow.metadata.uid.as_deref();
    let pods: Vec<&str> = pods.iter().filter_map(|pod| pod.metadata.uid.as_deref()).collect();
    let concerns = |event: &Event| {
        let about = event.involved_object.uid.as_deref();
        let warning = event.type_.as_deref() == Some("Warning");
        let beside = BESIDE_THE_POINT.contains(&event.reason.as_deref().unwrap_or_default());
        about.is_some_and(|uid| Some(uid) == flow_uid || warning && !beside && pods.contains(&uid))
    };
    let mut events: Vec<Event> = events.into_iter().filter(concerns).collect();
    events.sort_by_key(time);
    events
}

fn time(event: &Event) -> Option<Timestamp> {
    let last = event.last_timestamp.as_ref().map(|time| time.0);
    last.or(event.event_time.as_ref().map(|time| time.0)).or(event.first_timestamp.as_ref().map(|time| time.0))
}

/// Whether nothing more is to be done for it.
fn is_over(flow: &GleamFlow) -> bool {
    let status = cluster::status(flow);
    let seen = status.observed_generation >= flow.metadata.generation.unwrap_or(0);
    seen && matches!(status.phase, Some(Phase::Succeeded | Phase::Failed | Phase::Suspended))
}

fn explained(flow: &GleamFlow, pods: &[Pod], events: &[Event]) -> String {
    let status = cluster::status(flow);
    let mut text = format!("{}: {}", flow.metadata.name.as_deref().unwrap_or_default(), cluster::phase(&status));
    match (&status.reason, &status.message) {
        (Some(reason), Some(message)) => text.push_str(&format!(" ({reason}): {message}\n")),
        (Some(reason), None) => text.push_str(&format!(" ({reason})\n")),
        (None, _) => text.push('\n'),
    }
    if status.observed_generation < flow.metadata.generation.unwrap_or(0) {
        text.push_str("  no operator has seen this version of the flow: is one running, and does it serve this namespace?\n");
    }
    for condition in &status.conditions {
        // What the first line has said already is not said again.
        let told = status.message.as_deref() == Some(condition.message.as_str());
        let good_when_true = !matches!(condition.type_.as_str(), "Failed" | "Stalled" | "Reconciling" | "Suspended");
        if (condition.status == "True") != good_when_true && !told && !condition.message.is_empty() {
            text.push_str(&format!(
                "  {} is {} ({}): {}\n",
                condition.type_, condition.status, condition.reason, condition.message
            ));
        }
    }
    pods.iter().filter_map(waiting).for_each(|line| text.push_str(&line));
    let mut said: Vec<&str> = status.message.as_deref().into_iter().collect();
    let mut newest = Vec::new();
    for event in events.iter().rev() {
        if newest.len() >= NEWEST || event.message.as_deref().is_some_and(|message| said.contains(&message)) {
            continue;
        }
        said.extend(event.message.as_deref());
        let (reason, message) = (event.reason.as_deref().unwrap_or_default(), event.message.as_deref().unwrap_or_default());
        let object = match event.involved_object.kind.as_deref() {
            Some("Pod") => format!(" of pod {}", event.involved_object.name.as_deref().unwrap_or_default()),
            _ => String::new(),
        };
        newest.push(format!("  event {reason}{object}: {message}\n"));
    }
    text.extend(newest.into_iter().rev());
    text
}

/// Why a pod does not run, where it does not.
fn waiting(pod: &Pod) -> Option<String> {
    let (name, status) = (pod.metadata.name.as_deref()?, pod.status.as_ref()?);
    let unscheduled =
        status.conditions.iter().flatten().find(|condition| condition.type_ == "PodScheduled" && condition.status == "False");
    if let Some(condition) = unscheduled {
        return Some(format!("  pod {name}: {}\n", condition.message.as_deref().unwrap_or("not scheduled")));
    }
    // Those before the executor's own come first: it waits for them, and says no more than that.
    let containers = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    let (container, waits) = containers
        .filter_map(|container| Some((container, container.state.as_ref()?.waiting.as_ref()?)))
        .find(|(_, waits)| waits.reason.as_deref() != Some("PodInitializing"))?;
    let (reason, message) = (waits.reason.as_deref().unwrap_or_default(), waits.message.as_deref().unwrap_or_default());
    let whose = if container.name == "executor" { String::new() } else { format!(" container {}:", container.name) };
    Some(format!("  pod {name}:{whose} {reason} {message}\n"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn events_are_told_in_their_order_and_pods_by_what_they_wait_for() {
        let flow = serde_json::from_value(json!({
            "apiVersion": "gleamflow.io/v1alpha1", "kind": "GleamFlow", "metadata": {"name": "a", "uid": "u"},
            "spec": {"steps": [{"name": "r", "read": {"range": {"to": 1}}}, {"name": "w", "write": {"stdout": {}}}]},
        }));
        let pod = serde_json::from_value(json!({
            "metadata": {"name": "a-1-0", "uid": "p"},
            "status": {
                "initContainerStatuses": [{"name": "fetch", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
                    "state": {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}}],
                "containerStatuses": [{"name": "executor", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
                    "state": {"waiting": {"reason": "PodInitializing"}}}],
            },
        }));
        let event = |minute: u32, reason: &str| {
            serde_json::from_value::<Event>(json!({
                "metadata": {"name": reason}, "involvedObject": {"uid": "u", "kind": "GleamFlow"}, "type": "Normal",
                "reason": reason, "message": format!("{reason} happened"), "lastTimestamp": format!("2026-01-01T00:{minute:02}:00Z"),
            }))
            .expect("an event")
        };
        let (flow, pods) = (flow.expect("a flow"), [pod.expect("a pod")]);
        let events = [5, 1, 4, 2, 3, 0].map(|minute| event(minute, &format!("E{minute}"))).to_vec();
        let text = explained(&flow, &pods, &about(&flow, &pods, events));
        assert!(text.contains("  pod a-1-0: container fetch: ErrImagePull no such image\n"), "{text}");
        let told: Vec<&str> = text.lines().filter_map(|line| line.trim().strip_prefix("event ")).collect();
        assert_eq!(
            told,
            ["E1: E1 happened", "E2: E2 happened", "E3: E3 happened", "E4: E4 happened", "E5: E5 happened"],
            "{text}"
        );
    }
}
