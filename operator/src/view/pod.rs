//! An executor's pod, and what is wrong with it in the cluster's own words.

use std::net::SocketAddr;

use serde_json::Value;

use super::{Room, controller, list, marked, seconds, text, version};
use crate::manifest::pod::{CONTAINER, OPERATOR};
use crate::naming;

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodView {
    pub name: String,
    pub uid: String,
    pub version: u64,
    /// The label that names its run.
    pub run: String,
    /// The UID of the flow that controls it.
    pub owner: String,
    pub phase: PodPhase,
    pub deleting: bool,
    pub node: Option<String>,
    pub requests: Room,
    /// Where its executor looks for the operator, if that is no name.
    pub operator: Option<SocketAddr>,
    pub trouble: Option<Trouble>,
    /// Taken away by the cluster (eviction, preemption, drain): nobody's fault.
    pub disrupted: bool,
    pub created_at: i64,
    /// For how long its containers ran, where they have ended, in seconds.
    pub lasted: Option<i64>,
    pub finished_at: Option<i64>,
}

/// Where a pod is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodPhase {
    Pending,
    Running,
    Succeeded,
    Failed,
    /// Its node does not answer.
    Unknown,
}

/// Why a pod does not work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Reason of the condition `ExecutorsReady`.
    pub reason: &'static str,
    /// The cluster's own words.
    pub message: String,
}

impl PodView {
    /// Reads an object; `None` where it lacks its identity.
    #[must_use]
    pub fn read(value: &Value) -> Option<PodView> {
        let phase = match text(value, "/status/phase") {
            Some("Running") => PodPhase::Running,
            Some("Succeeded") => PodPhase::Succeeded,
            Some("Failed") => PodPhase::Failed,
            Some("Unknown") => PodPhase::Unknown,
            _ => PodPhase::Pending,
        };
        let disrupted = disrupted(value);
        Some(PodView {
            name: text(value, "/metadata/name")?.to_owned(),
            uid: text(value, "/metadata/uid")?.to_owned(),
            version: version(value),
            run: marked(value, "labels", naming::RUN).unwrap_or_default().to_owned(),
            owner: controller(value).to_owned(),
            phase,
            deleting: text(value, "/metadata/deletionTimestamp").is_some(),
            node: text(value, "/spec/nodeName").map(str::to_owned),
            requests: requests(value),
            operator: operator(value),
            trouble: trouble(value, phase),
            disrupted,
            created_at: text(value, "/metadata/creationTimestamp").and_then(seconds).unwrap_or_default(),
            lasted: lasted(value),
            finished_at: finished_at(value, phase),
        })
    }

    /// Whether its containers have ended for good.
    #[must_use]
    pub fn finished(&self) -> bool {
        matches!(self.phase, PodPhase::Succeeded | PodPhase::Failed)
    }
}

/// All containers' requests; init containers run before them and are small by our own template.
fn requests(pod: &Value) -> Room {
    let each = list(pod, "/spec/containers").iter().filter_map(|container| container.pointer("/resources/requests"));
    each.fold(Room::default(), |sum, requests| sum.plus(Room::read(requests)))
}

fn operator(pod: &Value) -> Option<SocketAddr> {
    let ours = list(pod, "/spec/containers").iter().find(|container| text(container, "/name") == Some(CONTAINER))?;
    let told = list(ours, "/env").iter().find(|variable| text(variable, "/name") == Some(OPERATOR))?;
    text(told, "/value")?.parse().ok()
}

fn condition<'a>(pod: &'a Value, kind: &str, status: &str) -> Option<&'a Value> {
    let wanted = |condition: &&Value| text(condition, "/type") == Some(kind) && text(condition, "/status") == Some(status);
    list(pod, "/status/conditions").iter().find(wanted)
}

fn disrupted(pod: &Value) -> bool {
    let reason = text(pod, "/status/reason");
    let taken = ["Evicted", "Preempting", "NodeLost", "NodeShutdown", "Terminated", "Shutdown", "UnexpectedAdmissionError"];
    condition(pod, "DisruptionTarget", "True").is_some() || reason.is_some_and(|reason| taken.contains(&reason))
}

fn statuses(pod: &Value) -> impl Iterator<Item = &Value> {
    list(pod, "/status/initContainerStatuses").iter().chain(list(pod, "/status/containerStatuses"))
}

/// When the last container ended; a pod that was refused or lost has none, and counts from its creation.
fn finished_at(pod: &Value, phase: PodPhase) -> Option<i64> {
    if !matches!(phase, PodPhase::Succeeded | PodPhase::Failed) {
        return None;
    }
    let ends = statuses(pod).filter_map(|status| text(status, "/state/terminated/finishedAt")).filter_map(seconds);
    ends.max().or_else(|| text(pod, "/metadata/creationTimestamp").and_then(seconds))
}

fn lasted(pod: &Value) -> Option<i64> {
    let ended = statuses(pod).filter_map(|status| status.pointer("/state/terminated"));
    let lasted = ended
        .filter_map(|ended| Some(text(ended, "/finishedAt").and_then(seconds)? - text(ended, "/startedAt").and_then(seconds)?));
    lasted.max()
}

fn trouble(pod: &Value, phase: PodPhase) -> Option<Trouble> {
    match phase {
        PodPhase::Succeeded => None,
        PodPhase::Failed => Some(failed(pod)),
        PodPhase::Unknown => {
            let node = text(pod, "/spec/nodeName").unwrap_or("unknown");
            Some(Trouble { reason: "NodeLost", message: said(pod, "/status/message", &format!("node {node} does not answer")) })
        }
        PodPhase::Pending | PodPhase::Running => unscheduled(pod).or_else(|| statuses(pod).find_map(waiting)),
    }
}

fn said(value: &Value, pointer: &str, otherwise: &str) -> String {
    text(value, pointer).filter(|message| !message.is_empty()).unwrap_or(otherwise).to_owned()
}

fn unscheduled(pod: &Value) -> Option<Trouble> {
    let condition = condition(pod, "PodScheduled", "False")?;
    let reason = text(condition, "/reason").unwrap_or("Unschedulable");
    Some(Trouble { reason: "Unschedulable", message: said(condition, "/message", reason) })
}

/// A container that waits for something that may never come.
fn waiting(status: &Value) -> Option<Trouble> {
    let reason = text(status, "/state/waiting/reason")?;
    let class = match reason {
        "ImagePullBackOff"
        | "ErrImagePull"
        | "InvalidImageName"
        | "ErrImageNeverPull"
        | "RegistryUnavailable"
        | "ImageInspectError"
        | "SignatureValidationFailed" => "ImagePullFailed",
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" | "PreCreateHookError" => {
            "ContainerConfigError"
        }
        "CrashLoopBackOff" => "ExecutorFailed",
        _ => return None,
    };
    let message = said(status, "/state/waiting/message", "");
    Some(Trouble { reason: class, message: format!("{}{reason}: {message}", whose(status)) })
}

/// Names a container that is not the executor's own: one of `executors.template`, or that a policy has added.
fn whose(status: &Value) -> String {
    match text(status, "/name") {
        Some(CONTAINER) | None => String::new(),
        Some(name) => format!("container {name:?}: "),
    }
}

/// Why a pod failed; `containerStatuses` may be empty.
fn failed(pod: &Value) -> Trouble {
    let bad = statuses(pod).find(|status| {
        let ended = status.pointer("/state/terminated");
        ended.is_some_and(|ended| ended.get("exitCode").and_then(Value::as_i64) != Some(0))
    });
    let pod_reason = text(pod, "/status/reason");
    if let Some(target) = condition(pod, "DisruptionTarget", "True") {
        let reason = text(target, "/reason").unwrap_or("DisruptionTarget");
        return Trouble { reason: "Disrupted", message: said(target, "/message", reason) };
    }
    match (pod_reason, bad) {
        (Some("Evicted"), _) => Trouble { reason: "Evicted", message: said(pod, "/status/message", "the pod was evicted") },
        (Some("NodeLost"), _) => Trouble { reason: "NodeLost", message: said(pod, "/status/message", "its node was lost") },
        (Some(reason), None) => Trouble {
            reason: "ExecutorFailed",
            message: format!("{reason}: {}", said(pod, "/status/message", "no more is known")),
        },
        (_, Some(bad)) => terminated(bad),
        (None, None) => {
            Trouble { reason: "ExecutorFailed", message: said(pod, "/status/message", "the pod failed without a word") }
        }
    }
}

fn terminated(status: &Value) -> Trouble {
    let code = status.pointer("/state/terminated/exitCode").and_then(Value::as_i64).unwrap_or(-1);
    let reason = text(status, "/state/terminated/reason").unwrap_or("Error");
    let message = said(status, "/state/terminated/message", "");
    let class = if reason == "OOMKilled" { "OutOfMemory" } else { "ExecutorFailed" };
    // Whoever the kernel kills has not said why: the end of its log is about something else.
    let detail = if message.is_empty() || class == "OutOfMemory" { String::new() } else { format!(": {message}") };
    Trouble { reason: class, message: format!("{}{reason}, exit code {code}{detail}", whose(status)) }
}

#[cfg(test)]
mod tests;
