//! Slots: who is there, what each works on, what becomes of the work of one that is lost.

use std::collections::BTreeSet;
use std::time::Duration;

use plan::task::{Attempt, Failed, Fault, TaskId};
use proto::master::ToSlot;

use super::event::{SlotHello, SlotId};
use super::ledger::{Running, Standing, shown};
use super::planted::{self, Bug};
use super::retry::{Verdict, backoff};
use super::{Machine, Stage};

/// So long may a slot's connection be broken before its work is given to another.
const RECONNECT: Duration = Duration::from_secs(10);
const FAILURES: usize = 10;

/// A connected slot.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) hello: SlotHello,
    /// What it was told to do and has not answered for.
    pub(super) work: Option<Attempt>,
    /// Rows and bytes that it told last of that.
    moved: u64,
    pub(super) draining: bool,
    /// Whether it was sent the plan.
    pub(super) planned: bool,
}

impl Slot {
    /// It is given an attempt.
    pub(super) fn begins(&mut self, attempt: Attempt) {
        (self.work, self.moved) = (Some(attempt), 0);
    }

    pub(super) fn is_idle(&self) -> bool {
        self.work.is_none() && !self.draining
    }

    /// Whether it can be given a task. What ends a run is done even by who is about to go: of a flow that is deleted there may soon
    /// be nobody else.
    pub(super) fn takes(&self, task: TaskId) -> bool {
        self.is_idle() || self.work.is_none() && matches!(task, TaskId::Commit | TaskId::Discard)
    }
}

impl Machine {
    pub(super) fn slot_joined(&mut self, id: SlotId, hello: SlotHello) {
        let same = |slot: &Slot| slot.hello.pod == hello.pod && slot.hello.number == hello.number;
        let before: Vec<SlotId> =
            self.slots.iter().filter(|(other, slot)| **other != id && same(slot)).map(|(id, _)| *id).collect();
        before.into_iter().for_each(|id| self.slot_left(id));
        self.send(id, ToSlot::Welcome { term: self.term, settings: self.settings() });
        let busy = hello.busy;
        self.slots.insert(id, Slot { hello: hello.clone(), work: busy, moved: 0, draining: false, planned: false });
        if let Stage::Over(outcome) = &self.stage {
            let reason = format!("the run is over: {outcome:?}");
            self.send(id, ToSlot::Leave { reason });
            return;
        }
        if let Some(attempt) = busy {
            self.take_up(id, attempt, &hello);
        }
        // Whatever else we thought that it does, it does not.
        let lost = self
            .running_on(|running| running.pod == hello.pod && running.number == hello.number && Some(running.attempt) != busy);
        self.lose(&lost, "the slot came back without it");
    }

    /// A slot works on an attempt that it had before its connection broke.
    fn take_up(&mut self, id: SlotId, attempt: Attempt, hello: &SlotHello) {
        if !self.is_wanted(attempt) {
            self.send(id, ToSlot::Cancel { attempt });
            return;
        }
        let running = Running { attempt, slot: Some(id), pod: hello.pod.clone(), number: hello.number, until: Duration::MAX };
        let state = self.ledger.entry(attempt.task);
        state.running.retain(|other| other.attempt != attempt);
        state.running.push(running);
    }

    /// Whether an attempt may still become its task's winner.
    pub(super) fn is_wanted(&self, attempt: Attempt) -> bool {
        let resuming = matches!(self.stage, Stage::Resuming(_));
        let known = self.is_task(attempt.task) || resuming;
        let current = match self.stage {
            Stage::Resuming(_) => {
                // A plan is on record, no commit and no end.
                !matches!(attempt.task, TaskId::Inspect | TaskId::LookUp | TaskId::Commit | TaskId::Discard)
            }
            Stage::Inspecting => attempt.task == TaskId::Inspect,
            Stage::LookingUp => attempt.task == TaskId::LookUp,
            Stage::Running => !matches!(attempt.task, TaskId::Inspect | TaskId::LookUp | TaskId::Commit | TaskId::Discard),
            Stage::Committing => attempt.task == TaskId::Commit,
            Stage::Winding { .. } => matches!(attempt.task, TaskId::Discard | TaskId::Keep { .. }),
            Stage::Planning | Stage::Over(_) | Stage::Abandoned => false,
        };
        known && current && !self.is_void(attempt) && !self.is_answered(attempt.task) && !self.ledger.is_there(attempt.task)
    }

    pub(super) fn slot_left(&mut self, id: SlotId) {
        self.slots.remove(&id);
        let until = self.now + RECONNECT;
        for (_, state) in self.ledger.iter_mut() {
            for running in state.running.iter_mut().filter(|running| running.slot == Some(id)) {
                (running.slot, running.until) = (None, until);
            }
        }
    }

    pub(super) fn pod_gone(&mut self, pod: &str, why: &str) {
        self.slots.retain(|_, slot| slot.hello.pod != pod);
        let lost = self.running_on(|running| running.pod == pod);
        self.lose(&lost, &format!("its pod is gone: {why}"));
    }

    pub(super) fn slot_draining(&mut self, id: SlotId) {
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.draining = true;
        }
    }

    pub(super) fn slot_progress(&mut self, id: SlotId, attempt: Attempt, (rows, bytes): (u64, u64)) {
        let Some(slot) = self.slots.get_mut(&id).filter(|slot| slot.work == Some(attempt)) else { return };
        // Something moves as long as rows and bytes grow.
        let moved = rows.saturating_add(bytes);
        if moved > std::mem::replace(&mut slot.moved, moved) {
            self.stalled = self.stalled.map(|_| self.now);
        }
    }

    pub(super) fn orphans_expired(&mut self) {
        let now = self.now;
        let patient = planted::has(Bug::WaitsForSlots);
        let lost = self.running_on(|running| running.slot.is_none() && running.until <= now && !patient);
        self.lose(&lost, "the connection to its slot broke and did not come back");
    }

    fn running_on(&self, such: impl Fn(&Running) -> bool) -> Vec<Running> {
        self.ledger.iter().flat_map(|(_, state)| &state.running).filter(|running| such(running)).cloned().collect()
    }

    /// Gives attempts up that no slot works on any more.
    fn lose(&mut self, lost: &[Running], why: &str) {
        for running in lost {
            self.ledger.entry(running.attempt.task).running.retain(|other| other.attempt != running.attempt);
            self.stale = true;
            let failed = Failed { step: None, message: format!("the executor was lost: {why}"), fault: Fault::Infrastructure };
            self.judge(running.attempt, Some(running.pod.clone()), &failed);
        }
    }

    /// A slot has answered for an attempt: it is free. Where the attempt ran, if it was expected.
    pub(super) fn free(&mut self, id: SlotId, attempt: Attempt) -> Option<String> {
        let slot = self.slots.get_mut(&id)?;
        if slot.work == Some(attempt) {
            slot.work = None;
        }
        Some(slot.hello.pod.clone())
    }

    pub(super) fn attempt_failed(&mut self, id: SlotId, attempt: Attempt, failed: Failed) {
        let pod = self.free(id, attempt);
        if attempt.task == TaskId::Stage && !matches!(self.stage, Stage::Running) {
            self.staged_in_vain();
        }
        let Some(state) = self.ledger.get(attempt.task) else { return };
        if !state.running.iter().any(|running| running.attempt == attempt) {
            // Cancelled, or told twice.
            return;
        }
        self.ledger.entry(attempt.task).running.retain(|running| running.attempt != attempt);
        self.stale = true;
        if let Fault::Lost(lost) = &failed.fault {
            self.outputs_lost(&lost.iter().copied().collect());
        }
        if !self.ledger.is_there(attempt.task) && !self.is_void(attempt) {
            self.judge(attempt, pod, &failed);
        }
    }

    /// Decides whether a failed attempt is followed by another one.
    fn judge(&mut self, attempt: Attempt, pod: Option<String>, failed: &Failed) {
        let (progress, retry) = (self.ledger.progress(), self.spec.spec.retry.clone());
        let state = self.ledger.entry(attempt.task);
        state.last_pod.clone_from(&pod);
        let mut verdict = state.tally.count(&failed.fault, &retry, progress);
        if matches!(failed.fault, Fault::Flow | Fault::Storage | Fault::Hopeless) {
            state.failed += 1;
        }
        if matches!(self.stage, Stage::Committing) {
            // From here on it only rolls forward.
            verdict = Verdict::Retry(backoff(&retry, state.tally.flow.max(state.tally.lost).max(1)));
            self.ending.trouble = Some(failed.message.clone());
        }
        let Some(verdict) = self.not_kept(attempt.task, failed, verdict) else { return };
        self.note_failure(attempt, pod, failed);
        match verdict {
            Verdict::Retry(wait) => self.ledger.entry(attempt.task).not_before = self.now + wait,
            Verdict::Fail(_) if attempt.task == TaskId::Discard => self.ledger.entry(attempt.task).not_before = Duration::MAX,
            Verdict::Fail(_) if attempt.task == TaskId::LookUp => self.fail("CacheUnavailable", with_step(failed)),
            Verdict::Fail(reason) => {
                self.fail(reason, with_step(failed));
            }
        }
    }

    fn note_failure(&mut self, attempt: Attempt, pod: Option<String>, failed: &Failed) {
        let (stage, partition) = match attempt.task {
            TaskId::Split { stage } => (stage.to_string(), 0),
            TaskId::Map { stage, at } | TaskId::Reduce { stage, at, .. } => (stage.to_string(), at),
            task => (task.to_string(), 0),
        };
        let reason = match &failed.fault {
            Fault::Flow => "UdfError",
            Fault::Storage => "StorageError",
            Fault::Hopeless => "Hopeless",
            Fault::Infrastructure => "ExecutorLost",
            Fault::Lost(_) => "InputLost",
            Fault::Stopped => "Stopped",
        };
        self.failures.push_front(crds::status::Failure {
            stage,
            step: failed.step.clone(),
            partition,
            attempt: shown(attempt.number),
            pod,
            exit_code: None,
            reason: reason.to_owned(),
            message: failed.message.clone(),
        });
        self.failures.truncate(FAILURES);
    }

    /// Outputs are gone, as someone found who wanted to read them.
    pub(super) fn outputs_lost(&mut self, lost: &BTreeSet<Attempt>) {
        for attempt in lost {
            let held = |winner: &super::ledger::Winner| winner.attempt == *attempt && winner.standing == Standing::Held;
            if self.ledger.winner(attempt.task).is_some_and(held) {
                // Should it be there after all: the next attempt takes its place.
                let agent = self.ledger.winner(attempt.task).map(|winner| winner.agent.clone());
                agent.into_iter().for_each(|agent| self.fence(agent, vec![*attempt]));
                self.output_lost(*attempt);
            }
        }
    }
}

/// What failed, with the step, which the engine's own messages begin with.
fn with_step(failed: &Failed) -> String {
    match failed.step.as_deref().map(|step| format!("step {step:?}")) {
        Some(step) if !failed.message.starts_with(&step) => format!("{step}: {}", failed.message),
        _ => failed.message.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_its_step_once() {
        let failed = |message: &str| Failed { step: Some("shown".to_owned()), message: message.to_owned(), fault: Fault::Flow };
        assert_eq!(with_step(&failed("it broke")), "step \"shown\": it broke");
        assert_eq!(with_step(&failed("step \"shown\" failed: it broke")), "step \"shown\" failed: it broke");
    }
}
