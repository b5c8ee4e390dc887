//! Events for people: one per transition, found by comparing what the status said with what it says now.

use crds::status::{GleamFlowStatus, Phase, StageStatus};

use super::condition::find;

/// Why executors that are connected get nothing to do.
const HOLDS: [&str; 2] = ["AgentsNotReady", "ShuffleSpace"];

/// An event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub warning: bool,
    /// Where it stands in the life of a run: those of one second are shown in this order.
    pub place: u32,
    pub reason: String,
    pub message: String,
}

/// What happened between two statuses.
#[must_use]
pub fn events(before: &GleamFlowStatus, after: &GleamFlowStatus) -> Vec<Event> {
    let mut events = Vec::new();
    refused(before, after, &mut events);
    runs(before, after, &mut events);
    executors(before, after, &mut events);
    held(before, after, &mut events);
    shared(before, after, &mut events);
    stages(before, after, &mut events);
    retries(before, after, &mut events);
    events
}

/// Reasons in the order of a run's life; whatever is not among them is about executors.
const LIFE: [(&str, u32); 11] = [
    ("Queued", 500),
    ("RunStarted", 1000),
    ("ExecutorsCreated", 2000),
    ("Planned", 4000),
    ("TaskRetried", 7500),
    ("Committing", 8000),
    ("RunSucceeded", 9000),
    ("RunFailed", 9000),
    ("RunSuperseded", 9000),
    ("RunSuspended", 9000),
    ("BuffersReleased", 9500),
];
const EXECUTORS: u32 = 3000;
/// Two for each stage.
const STAGES: u32 = 5000;

fn note(warning: bool, reason: &str, message: impl Into<String>) -> Event {
    let place = LIFE.iter().find(|(known, _)| *known == reason).map_or(EXECUTORS, |(_, place)| *place);
    Event { warning, place, reason: reason.to_owned(), message: message.into() }
}

fn refused(before: &GleamFlowStatus, after: &GleamFlowStatus, events: &mut Vec<Event>) {
    let Some(accepted) = find(after, "Accepted").filter(|accepted| accepted.status == "False") else { return };
    let same = find(before, "Accepted")
        .is_some_and(|it| it.status == "False" && it.reason == accepted.reason && it.message == accepted.message);
    if !same {
        events.push(note(true, &accepted.reason, accepted.message.clone()));
    }
}

fn runs(before: &GleamFlowStatus, after: &GleamFlowStatus, events: &mut Vec<Event>) {
    let Some(run) = &after.current_run else { return };
    let last = before.current_run.as_ref().filter(|last| last.id == run.id);
    if last.is_none() {
        events.push(note(false, "RunStarted", format!("run {} begins, attempt {}", run.id, run.attempt)));
    }
    let ended = run.completion_time.is_some() && last.is_none_or(|last| last.completion_time.is_none());
    if ended {
        let message = after.message.clone().unwrap_or_default();
        events.push(match run.result.as_deref() {
            Some("Succeeded") => note(false, "RunSucceeded", format!("run {} succeeded", run.id)),
            Some("Superseded") => note(false, "RunSuperseded", format!("run {} makes room for a newer one", run.id)),
            Some("Suspended") => note(false, "RunSuspended", format!("run {} is suspended", run.id)),
            reason => note(true, "RunFailed", format!("run {}: {}: {message}", run.id, reason.unwrap_or("Failed"))),
        });
    }
    if run.released && last.is_some_and(|last| !last.released) {
        events.push(note(false, "BuffersReleased", format!("what run {} kept is removed", run.id)));
    }
    if after.reason.as_deref() == Some("Queued") && before.reason.as_deref() != Some("Queued") {
        events.push(note(false, "Queued", after.message.clone().unwrap_or_default()));
    }
    if after.phase == Some(Phase::Committing) && before.phase != Some(Phase::Committing) {
        events.push(note(false, "Committing", format!("run {} commits its output", run.id)));
    }
}

/// What keeps executors from working, each time that it is something else.
fn executors(before: &GleamFlowStatus, after: &GleamFlowStatus, events: &mut Vec<Event>) {
    let made = |status: &GleamFlowStatus| status.executors.as_ref().map_or(0, |counts| counts.ready + counts.pending);
    if made(after) > 0 && made(before) == 0 {
        let asked = after.executors.as_ref().map_or(0, |counts| counts.desired);
        events.push(note(false, "ExecutorsCreated", format!("pods of executors: {} of {asked}", made(after))));
    }
    let Some(now) = find(after, "ExecutorsReady") else { return };
    let then = find(before, "ExecutorsReady");
    if then.is_some_and(|then| then.status == now.status && then.reason == now.reason) {
        return;
    }
    match (now.status.as_str(), now.reason.as_str()) {
        ("True", _) => events.push(note(false, "ExecutorsReady", now.message.clone())),
        (_, "Starting") => {}
        (_, reason) => events.push(note(true, reason, now.message.clone())),
    }
}

/// What keeps a run whose executors work.
fn held(before: &GleamFlowStatus, after: &GleamFlowStatus, events: &mut Vec<Event>) {
    let reason = |status: &GleamFlowStatus| status.reason.clone().filter(|_| status.phase == Some(Phase::Running));
    let Some(now) = reason(after).filter(|now| HOLDS.contains(&now.as_str())) else { return };
    let ready = find(after, "ExecutorsReady").is_some_and(|ready| ready.status == "True");
    if ready && reason(before).as_ref() != Some(&now) {
        events.push(note(true, &now, after.message.clone().unwrap_or_default()));
    }
}

fn shared(before: &GleamFlowStatus, after: &GleamFlowStatus, events: &mut Vec<Event>) {
    if let (None, Some(now)) = (find(before, "OutputShared"), find(after, "OutputShared")) {
        events.push(note(true, "OutputShared", now.message.clone()));
    }
}

fn stages(before: &GleamFlowStatus, after: &GleamFlowStatus, events: &mut Vec<Event>) {
    let known = stages_before(before, after);
    if known.is_empty() && !after.stages.is_empty() {
        let names: Vec<&str> = after.stages.iter().map(|stage| stage.name.as_str()).collect();
        events.push(note(false, "Planned", format!("stages: {}", names.join(", "))));
    }
    for (stage, place) in after.stages.iter().zip((STAGES..).step_by(2)) {
        let old = known.iter().find(|old| old.name == stage.name);
        if is_whole(stage) {
            if !old.is_some_and(is_whole) {
                let message = format!("stage {} is done; its tasks: {}", stage.name, stage.desired);
                events.push(Event { place: place + 1, ..note(false, "StageSucceeded", message) });
            }
        } else if has_begun(stage) && !old.is_some_and(has_begun) {
            events.push(Event { place, ..note(false, "StageStarted", format!("stage {} begins", stage.name)) });
        }
    }
}

/// The stages of the same run as the status told them before.
fn stages_before<'a>(before: &'a GleamFlowStatus, after: &GleamFlowStatus) -> &'a [StageStatus] {
    let same_run = before.current_run.as_ref().map(|run| &run.id) == after.current_run.as_ref().map(|run| &run.id);
    if same_run { &before.stages } else { &[] }
}

fn has_begun(stage: &StageStatus) -> bool {
    stage.active + stage.succeeded + stage.failed > 0
}

/// As long as not all of a stage's tasks are known, none of its partitions is told as complete.
fn is_whole(stage: &StageStatus) -> bool {
    stage.desired > 0 && stage.succeeded >= stage.desired && !stage.completed_partitions.is_empty()
}

/// Tasks that were given out again: at the first, and each time that they have doubled since.
fn retries(before: &GleamFlowStatus, after: &GleamFlowStatus, events: &mut Vec<Event>) {
    let sum = |stages: &[StageStatus]| stages.iter().map(|stage| stage.retried).sum::<u32>();
    let (then, now) = (sum(stages_before(before, after)), sum(&after.stages));
    if now > 0 && (then == 0 || now.ilog2() > then.ilog2()) {
        let why = after.failures.first().map(|failure| format!("; the last of those that failed: {}", failure.message));
        events.push(note(true, "TaskRetried", format!("tasks given out again: {now}{}", why.unwrap_or_default())));
    }
}
