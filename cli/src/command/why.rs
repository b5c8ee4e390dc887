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
    for event in events.iter().rev() {
        if said.len() > NEWEST || event.message.as_deref().is_some_and(|message| said.contains(&message)) {
            continue;
        }
        said.extend(event.message.as_deref());
        let (reason, message) = (event.reason.as_deref().unwrap_or_default(), event.message.as_deref().unwrap_or_default());
        let object = match event.involved_object.kind.as_deref() {
            Some("Pod") => format!(" of pod {}", event.involved_object.name.as_deref().unwrap_or_default()),
            _ => String::new(),
        };
        text.push_str(&format!("  event {reason}{object}: {message}\n"));
    }
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
    let container = status.container_statuses.iter().flatten().find_map(|container| container.state.as_ref()?.waiting.clone())?;
    let (reason, message) = (container.reason.unwrap_or_default(), container.message.unwrap_or_default());
    Some(format!("  pod {name}: {reason} {message}\n"))
}
