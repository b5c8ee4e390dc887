//! Events for people: one per transition, found by comparing what the status said with what it says now.

use crds::status::{GleamFlowStatus, Phase, StageStatus};

use super::condition::find;

/// An event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub warning: bool,
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
    shared(before, after, &mut events);
    stages(before, after, &mut events);
    retries(before, after, &mut events);
    events
}

fn note(warning: bool, reason: &str, message: impl Into<String>) -> Event {
    Event { warning, reason: reason.to_owned(), message: message.into() }
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
        events.push(note(false, "ExecutorsCreated", format!("there are {} of {asked} executors", made(after))));
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
    for stage in &after.stages {
        let old = known.iter().find(|old| old.name == stage.name);
        if is_whole(stage) {
            if !old.is_some_and(is_whole) {
                events.push(note(false, "StageSucceeded", format!("stage {} is done, {} tasks", stage.name, stage.desired)));
            }
        } else if has_begun(stage) && !old.is_some_and(has_begun) {
            events.push(note(false, "StageStarted", format!("stage {} begins", stage.name)));
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
