//! A run that is not over: taken up, given executors, watched, ended.

use crds::cluster::OnSpecChange;
use crds::status::{GleamFlowStatus, Output, Phase, Run, SetAside};

use super::executors::GOING;
use super::report::Stand;
use super::{Action, Draft, Here, Shared, condition, id};
use crate::master::api::{KEPT, Progress, RESUMING, RunPhase};
use crate::naming;

/// How long after a leader took a run up its counters may lag behind what the status says already.
pub(super) const TAKING_UP: i64 = 15;

/// How soon it is asked again why there are no agents.
const WITHOUT_AGENTS: i64 = 5;
/// Of a change that makes no run.
pub(super) const IGNORED: &str =
    "the flow has changed since, which spec.onSpecChange ignores; `gleamflow rerun` runs its newest version";

/// Why a run is to end before its work does.
pub(super) struct Ending {
    /// What the run's `result` becomes, and the reason of `Failed`.
    pub(super) reason: &'static str,
    pub(super) message: String,
    /// Whether the run failed by it, or only makes room.
    pub(super) fails: bool,
}

impl Ending {
    pub(super) fn paused() -> Ending {
        Ending { reason: "Suspended", message: "the run was stopped and begins again".to_owned(), fails: false }
    }
}

impl Draft<'_> {
    pub(super) fn running(&mut self, run: &Run) {
        let Some(run_id) = id(&run.id) else {
            let message = format!("status.currentRun.id {:?} is no run id", run.id);
            return self.end(run, "Invalid", &message, true);
        };
        if let Some(over) = self.world.progress.as_ref().filter(|progress| progress.phase.is_over()).cloned() {
            return self.over(run, &over);
        }
        if self.world.memory.lost {
            return self.end(
                run,
                "RecordLost",
                "what the run was to do is not recorded any more: its Secret, or a ConfigMap of its record, is gone or damaged",
                true,
            );
        }
        if let Some(taken) = &self.world.memory.taken {
            return self.end(run, "NameTaken", taken, true);
        }
        let ending = self.ending(run);
        if let Some(ending) = ending.as_ref().filter(|_| self.world.memory.unmade) {
            return self.end(run, ending.reason, &ending.message, ending.fails);
        }
        let stopped = self.world.memory.here == Here::Stopped(run.id.clone());
        // A master that has put down what it had taken up is to take it up anew: its record has changed behind its back.
        let started = self.world.memory.here == Here::Started(run.id.clone()) && self.world.progress.is_some();
        let taken_up = stopped || started;
        if !taken_up {
            if self.world.memory.terminating {
                return self.stuck();
            }
            match self.world.memory.refused.as_ref().filter(|refused| refused.until > self.world.now) {
                Some(refused) => self.again_at(refused.until),
                None => self.actions.push(Action::Start { run: run_id.clone(), new: false }),
            }
        }
        self.gone(run);
        match ending {
            Some(ending) if !self.committing() => self.stopping(run, &ending, taken_up, stopped),
            // It was stopped for a reason that is gone again: it cannot go on, but another can begin.
            None if stopped && !self.committing() => self.stopping(run, &Ending::paused(), taken_up, stopped),
            _ => self.going(run),
        }
    }

    /// The run goes on.
    fn going(&mut self, run: &Run) {
        self.take_over_progress();
        let ready = self.executors(run);
        self.earlier_pods();
        let phase = self.phase(ready);
        let waiting = self.world.progress.as_ref().and_then(|progress| progress.waiting.clone());
        let condition = condition::find(&self.status, "ExecutorsReady").cloned();
        let (reason, message) = match (ready, waiting, condition) {
            (true, Some((reason, _)), _) if reason == "AgentsNotReady" && self.world.cluster.agents == 0 => {
                (reason, self.without_agents())
            }
            (true, Some((reason, message)), _) => (reason, message),
            (false, _, Some(condition)) => (condition.reason, condition.message),
            _ => ("Running".to_owned(), self.how_far()),
        };
        if self.world.cluster.agents == 0 {
            // What keeps them away may change, and they come without a word about any flow.
            self.again(WITHOUT_AGENTS);
        }
        let message = [Some(message), self.wishes(run)].into_iter().flatten().collect::<Vec<_>>().join("; ");
        self.stand(&Stand::Busy { phase, reason: &reason, message: &message });
        self.alone();
        self.deadlines(run);
    }

    fn how_far(&self) -> String {
        match self.status.progress.as_deref().and_then(|progress| progress.split_once('/')) {
            Some((done, known)) => format!("{done} of {known} tasks are done"),
            None => "its tasks are being planned".to_owned(),
        }
    }

    /// What the flow's owner has asked for that this run does not do.
    fn wishes(&self, run: &Run) -> Option<String> {
        let flow = self.world.flow;
        // One that has done its work stays on the object.
        let number = |id: &str| (naming::run_uid(id) == flow.uid).then(|| naming::run_number(id)).flatten();
        let is_done = |cancel: &str| number(cancel).is_some_and(|of| number(&run.id).is_some_and(|now| of <= now));
        let cancel = flow.cancel.as_deref().filter(|cancel| !cancel.is_empty() && !is_done(cancel));
        let cancel = cancel.map(|cancel| {
            format!("the annotation {} names {cancel:?}, which is not this run, {}: nothing is cancelled", naming::CANCEL, run.id)
        });
        let changed = self.world.acceptance.refusal.is_none() && self.world.acceptance.hash != run.spec_hash;
        let policy = flow.spec.as_ref().ok().map(|spec| spec.on_spec_change);
        let change = match policy {
            Some(OnSpecChange::Queue) if changed => Some("the flow has changed: its newest version runs next"),
            Some(OnSpecChange::Ignore) if changed => Some(IGNORED),
            Some(_) if self.asked_again() => Some("rerunNonce has changed: another run follows"),
            _ => None,
        };
        let wishes: Vec<String> = [cancel, change.map(str::to_owned)].into_iter().flatten().collect();
        (!wishes.is_empty()).then(|| wishes.join("; "))
    }

    /// Whether another flow writes where this one does. Both go on: which of them is wrong, only their owners know.
    fn alone(&mut self) {
        let Some(Shared { step, path, flow, its_step }) = &self.world.cluster.shared else {
            return self.unsay("OutputShared");
        };
        let message = format!(
            "step {step:?} writes to {path:?}, and so does step {its_step:?} of {flow}, which runs at the same time: \
             the one that commits last replaces the rows of the other; give them paths of their own, or let one wait for the other"
        );
        self.say("OutputShared", true, "SamePath", &message);
    }

    /// Nothing can be made in the namespace; what is there goes with it.
    fn stuck(&mut self) {
        self.counts(0, 0, 0);
        self.say("ExecutorsReady", false, "NamespaceTerminating", GOING);
        let phase = self.status.phase.unwrap_or(Phase::Starting);
        self.stand(&Stand::Busy { phase, reason: "NamespaceTerminating", message: GOING });
        self.again(30);
    }

    fn committing(&self) -> bool {
        self.world.progress.as_ref().is_some_and(|progress| progress.phase == RunPhase::Committing)
    }

    fn phase(&self, ready: bool) -> Phase {
        match self.world.progress.as_ref().map(|progress| &progress.phase) {
            Some(RunPhase::Committing) => Phase::Committing,
            // A leader that has just taken the run up has not read how far it is.
            _ if self.status.phase == Some(Phase::Committing) => Phase::Committing,
            _ if ready || self.status.phase == Some(Phase::Running) => Phase::Running,
            _ => Phase::Starting,
        }
    }

    /// Why the run is to end now, if it is.
    pub(super) fn ending(&self, run: &Run) -> Option<Ending> {
        let flow = self.world.flow;
        let start = run.start_time.as_ref().map_or(self.world.now, |time| time.0.as_second());
        if flow.cancel.as_deref() == Some(run.id.as_str()) {
            return Some(Ending {
                reason: "Cancelled",
                message: "cancelled by the annotation gleamflow.io/cancel".into(),
                fails: true,
            });
        }
        let spec = flow.spec.as_ref().ok()?;
        if let Some(limit) = spec.active_deadline_seconds.filter(|limit| self.world.now - start >= i64::from(*limit)) {
            let message = format!("the run did not end within activeDeadlineSeconds ({limit})");
            return Some(Ending { reason: "DeadlineExceeded", message, fails: true });
        }
        if spec.suspend {
            return Some(Ending { reason: "Suspended", message: "spec.suspend is true".into(), fails: false });
        }
        let changed = self.world.acceptance.refusal.is_none() && self.world.acceptance.hash != run.spec_hash;
        if changed && spec.on_spec_change == OnSpecChange::Replace {
            return Some(Ending { reason: "Superseded", message: "the flow has changed".into(), fails: false });
        }
        let since = self.unready_since(start)?;
        if self.world.now - since < i64::from(spec.startup_deadline_seconds) {
            return None;
        }
        let why = condition::find(&self.status, "ExecutorsReady")
            .map(|condition| format!("{}: {}", condition.reason, condition.message));
        let limit = spec.startup_deadline_seconds;
        let message = format!("no executor within startupDeadlineSeconds ({limit}): {}", why.unwrap_or_default());
        Some(Ending { reason: "StartupDeadlineExceeded", message, fails: true })
    }

    /// Since when the run has no executor; `None`: it has one.
    fn unready_since(&self, start: i64) -> Option<i64> {
        let condition = condition::find(&self.world.flow.status, "ExecutorsReady")?;
        (condition.status == "False").then(|| condition.last_transition_time.0.as_second().max(start))
    }

    fn deadlines(&mut self, run: &Run) {
        let Ok(spec) = &self.world.flow.spec else { return };
        let start = run.start_time.as_ref().map_or(self.world.now, |time| time.0.as_second());
        if let Some(limit) = spec.active_deadline_seconds {
            self.again_at(start + i64::from(limit));
        }
        let limit = i64::from(spec.startup_deadline_seconds);
        let unready = condition::find(&self.status, "ExecutorsReady").filter(|condition| condition.status == "False");
        if let Some(since) = unready.map(|condition| condition.last_transition_time.0.as_second().max(start)) {
            self.again_at(since + limit);
        }
    }

    /// Tells the master of pods that will never work again.
    fn gone(&mut self, run: &Run) {
        let Some(run_id) = id(&run.id) else { return };
        for pod in self.pods(&run.id) {
            let lost = self.is_lost(pod);
            if !lost && !pod.finished() {
                continue;
            }
            let trouble = pod.trouble.as_ref().map(|trouble| format!("{}: {}", trouble.reason, trouble.message));
            let why = trouble.unwrap_or_else(|| if lost { "its node is lost".to_owned() } else { "it ended".to_owned() });
            self.actions.push(Action::PodGone { run: run_id.clone(), pod: pod.name.clone(), why });
        }
    }

    /// The status takes what the master says, but never goes back on it because a new leader has yet to catch up.
    pub(super) fn take_over_progress(&mut self) {
        let Some(progress) = &self.world.progress else { return };
        let new_here = self.world.now - self.world.memory.taken_up < TAKING_UP || resumes(progress);
        if !new_here || progress.done >= told(&self.status) {
            copy(&mut self.status, progress, &self.world.flow.key.name);
        }
    }
}

/// Whether the master has yet to find out how far the run is.
pub(super) fn resumes(progress: &Progress) -> bool {
    progress.waiting.as_ref().is_some_and(|(reason, _)| reason == RESUMING)
}

/// The tasks that the status says are done.
fn told(status: &GleamFlowStatus) -> u32 {
    let progress = status.progress.as_deref().and_then(|progress| progress.split_once('/'));
    progress.and_then(|(done, _)| done.parse().ok()).unwrap_or(0)
}

/// At most so many stages fit the schema.
const STAGES: usize = 1024;
const OUTPUTS: usize = 256;
const PERSISTED: usize = 256;
const DECISIONS: usize = 256;

/// What was written, as it is known now; a new leader that finds a run committing does not know how much an earlier one kept.
fn outputs(before: &[Output], now: &[Output]) -> Vec<Output> {
    let counted = |output: &Output| before.iter().find(|told| told.step == output.step).filter(|_| output.rows.is_none());
    now.iter().take(OUTPUTS).map(|output| counted(output).unwrap_or(output).clone()).collect()
}

fn copy(status: &mut GleamFlowStatus, progress: &Progress, flow: &str) {
    if progress.known > 0 {
        status.progress = Some(format!("{}/{}", progress.done, progress.known));
    }
    count_stages(status, progress);
    let before = std::mem::take(&mut status.failures);
    let earlier = before.into_iter().filter(|failure| !progress.failures.contains(failure));
    status.failures = progress.failures.iter().cloned().chain(earlier).take(10).collect();
    status.outputs = outputs(&status.outputs, &progress.outputs);
    status.persisted = progress.persisted.iter().take(PERSISTED).cloned().collect();
    status.decisions = progress.decisions.iter().take(DECISIONS).cloned().collect();
    count_set_aside(status, progress);
    let run = status.current_run.as_ref().and_then(|run| naming::run_number(&run.id)).unwrap_or(0);
    let secret = naming::output(&naming::run_base(flow, run));
    for output in status.outputs.iter_mut().filter(|output| output.location == KEPT) {
        output.location = format!("{KEPT}/{secret}");
    }
    let shuffled = i64::try_from(progress.bytes_shuffled).unwrap_or(i64::MAX);
    // Bytes only grow; a new leader counts anew.
    status.bytes_shuffled = Some(status.bytes_shuffled.unwrap_or(0).max(shuffled)).filter(|bytes| *bytes > 0);
}

/// How far each stage is. What failed and was given out again only grows: a new leader counts it anew.
fn count_stages(status: &mut GleamFlowStatus, progress: &Progress) {
    if progress.stages.is_empty() {
        return;
    }
    let before = std::mem::take(&mut status.stages);
    status.stages = progress.stages.iter().take(STAGES).cloned().collect();
    for stage in &mut status.stages {
        if let Some(told) = before.iter().find(|told| told.name == stage.name) {
            stage.failed = stage.failed.max(told.failed);
            stage.retried = stage.retried.max(told.retried);
        }
    }
}

/// Rows that were set aside: counts only grow; a new leader does not know of outputs that were let go of before it began.
fn count_set_aside(status: &mut GleamFlowStatus, progress: &Progress) {
    for (step, rows) in &progress.set_aside {
        let rows = i64::try_from(*rows).unwrap_or(i64::MAX);
        match status.set_aside.iter_mut().find(|known| known.step == *step) {
            Some(known) => known.rows = known.rows.max(rows),
            None => status.set_aside.push(SetAside { step: step.clone(), rows }),
        }
    }
    status.set_aside.truncate(OUTPUTS);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_new_leader_does_not_know_of_outputs_stays_as_it_was_told() {
        let output = |step: &str, rows: Option<i64>| Output { step: step.to_owned(), rows, ..Output::default() };
        let before = [output("a", Some(1)), output("b", Some(2))];
        let check = |now: &[Output], rows: &[Option<i64>]| {
            assert_eq!(outputs(&before, now).into_iter().map(|output| output.rows).collect::<Vec<_>>(), rows);
        };
        check(&[output("a", None), output("b", Some(3))], &[Some(1), Some(3)]);
        check(&[output("c", None)], &[None]);
        check(&[], &[]);
    }
}
