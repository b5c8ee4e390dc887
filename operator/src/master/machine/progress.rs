//! How a run stands, for its status.

use std::collections::{BTreeMap, BTreeSet};

use crds::status::{Decided, Output, StageStatus};
use plan::Mscr;
use plan::task::TaskId;

use super::ledger::Standing;
use super::output::is_stdout;
use super::{Machine, Stage};
use crate::master::api::{KEPT, NODE_LOCAL, Progress, RESUMING, RunPhase, TaskSet};

impl Machine {
    pub(super) fn make_progress(&self) -> Progress {
        let passed = self.passed();
        let (done, known) = self.counts(&passed);
        Progress {
            phase: self.phase(),
            done,
            known,
            stages: self.flow.iter().flat_map(|flow| &flow.plan.mscrs).map(|stage| self.stage_status(stage, &passed)).collect(),
            useful_slots: self.useful_slots(),
            slots: u32::try_from(self.slots.len()).unwrap_or(u32::MAX),
            pods: self.slots.values().map(|slot| slot.hello.pod.clone()).collect::<BTreeSet<_>>().into_iter().collect(),
            bytes_shuffled: self.bytes_shuffled,
            failures: self.failures.iter().cloned().collect(),
            outputs: if self.flow.is_some() { self.outputs() } else { Vec::new() },
            set_aside: self.set_aside(),
            persisted: self.persisted(),
            decisions: self.decisions(),
            waiting: self.waiting(),
        }
    }

    /// What was decided when sizes were known.
    fn decisions(&self) -> Vec<Decided> {
        let told = self.recorded.switches.values().chain(self.recorded.shares.values());
        let decided = |told: &plan::Decision| Decided {
            step: told.step.clone(),
            pass: told.pass.clone(),
            did: told.did,
            reason: told.reason.clone(),
        };
        told.map(decided).collect()
    }

    fn phase(&self) -> RunPhase {
        match &self.stage {
            Stage::Inspecting | Stage::LookingUp | Stage::Planning => RunPhase::Planning,
            Stage::Resuming(_) | Stage::Running | Stage::Winding { .. } | Stage::Abandoned => RunPhase::Running,
            Stage::Committing => RunPhase::Committing,
            Stage::Over(outcome) => outcome.clone(),
        }
    }

    /// Tasks that are done, and tasks that there are, of sets whose tasks are known.
    fn counts(&self, passed: &BTreeSet<TaskSet>) -> (u32, u32) {
        let sets = self.flow.iter().flat_map(|flow| &flow.sets).filter(|set| !matches!(set, TaskSet::Split(_)));
        let tasks = sets.filter_map(|set| Some((set, self.tasks_of(*set)?)));
        let tasks = tasks.flat_map(|(set, tasks)| tasks.into_iter().map(|task| (passed.contains(set), task)));
        tasks.fold((0, 0), |(done, known), (passed, task)| (done + u32::from(passed || self.ledger.is_done(task)), known + 1))
    }

    /// Sets that were done, though nothing may be found of them: all that read them are done, or the sinks have all they need. (A new
    /// leader finds nothing of what was let go of; what was lost late is not made again.)
    fn passed(&self) -> BTreeSet<TaskSet> {
        let mut passed = BTreeSet::new();
        let all = matches!(self.stage, Stage::Committing | Stage::Over(RunPhase::Succeeded));
        let Some(flow) = self.flow.as_ref().filter(|_| all || self.resumed) else { return passed };
        // Readers come before what they read.
        for set in flow.sets.iter().rev() {
            let is_done = |tasks: Vec<TaskId>| tasks.into_iter().all(|task| self.ledger.is_done(task));
            let mut readers = flow.read_by(*set).peekable();
            let read = readers.peek().is_some() && readers.all(|reader| passed.contains(&reader));
            if all || read || self.tasks_of(*set).is_some_and(is_done) {
                passed.insert(*set);
            }
        }
        passed
    }

    fn stage_status(&self, stage: &Mscr, passed: &BTreeSet<TaskSet>) -> StageStatus {
        let mut status = StageStatus { name: stage.id.to_string(), ..StageStatus::default() };
        let flow = self.flow();
        let reduces = flow.sets.iter().filter(|set| matches!(set, TaskSet::Reduces(group) if flow.stage_of(*group) == stage.id));
        let sets: Vec<TaskSet> = [TaskSet::Maps(stage.id)].into_iter().chain(reduces.copied()).collect();
        let last = sets.last().copied();
        let known = sets.iter().all(|set| self.tasks_of(*set).is_some());
        for set in sets {
            let tasks = self.tasks_of(set).unwrap_or_default();
            let done: Vec<bool> = tasks.iter().map(|task| passed.contains(&set) || self.ledger.is_done(*task)).collect();
            status.desired += super::tasks::number(tasks.len());
            status.succeeded += super::tasks::number(done.iter().filter(|done| **done).count());
            for state in tasks.iter().filter_map(|task| self.ledger.get(*task)) {
                status.active += u32::from(state.is_busy());
                status.failed += state.failed;
                status.retried += state.retried;
            }
            // Until all tasks of a stage are known, nobody is to take those there are for all of it.
            if Some(set) == last && known {
                status.completed_partitions = intervals(&done);
            }
        }
        status
    }

    /// How many slots could work now.
    fn useful_slots(&self) -> u32 {
        let busy = self.ledger.iter().map(|(_, state)| state.running.len()).sum::<usize>();
        let most = match &self.flow {
            Some(_) => self.recorded.slots.max(1),
            None => 1,
        };
        match self.stage {
            Stage::Over(_) | Stage::Abandoned => 0,
            Stage::Running => super::tasks::number(busy + self.agenda.len()).clamp(1, most),
            Stage::Resuming(_)
            | Stage::Inspecting
            | Stage::LookingUp
            | Stage::Planning
            | Stage::Committing
            | Stage::Winding { .. } => 1,
        }
    }

    fn set_aside(&self) -> BTreeMap<String, u64> {
        let mut found: BTreeMap<String, u64> = BTreeMap::new();
        let winners = self.ledger.iter().filter_map(|(_, state)| state.winner.as_ref());
        for (step, count) in winners.filter(|winner| winner.standing != Standing::Naming).flat_map(|winner| &winner.done.steps) {
            if count.set_aside > 0 {
                *found.entry(step.clone()).or_default() += count.set_aside;
            }
        }
        found
    }

    fn outputs(&self) -> Vec<Output> {
        let mut outputs = Vec::new();
        if let Some(manifest) = &self.recorded.manifest {
            outputs.extend(manifest.sinks.iter().map(|(step, sink)| Output {
                step: step.clone(),
                location: sink.location.clone(),
                rows: i64::try_from(sink.rows).ok(),
                bytes: i64::try_from(sink.bytes).ok(),
                preview: None,
            }));
        }
        if self.output.is_kept() {
            let location = if self.output.node_local { NODE_LOCAL } else { KEPT };
            for (step, pieces) in self.written_pieces(is_stdout) {
                let rows: u64 = pieces.iter().map(|(_, _, piece)| piece.rows).sum();
                let bytes: u64 = pieces.iter().map(|(_, _, piece)| piece.bytes).sum();
                let preview = self.output.previews.get(&step).filter(|_| self.wants_preview(&step)).cloned();
                let (rows, bytes) = (i64::try_from(rows).ok(), i64::try_from(bytes).ok());
                outputs.push(Output { step, location: location.to_owned(), rows, bytes, preview });
            }
        } else if self.recorded.manifest.is_some() {
            // An earlier leader kept it before it recorded that it commits.
            let location = if self.recorded.output.is_some() { NODE_LOCAL } else { KEPT };
            let shown = self.flow().sinks().filter(|(_, sink)| is_stdout(sink)).map(|(node, _)| &node.step);
            for step in shown.collect::<BTreeSet<_>>() {
                outputs.push(Output { step: step.clone(), location: location.to_owned(), ..Output::default() });
            }
        }
        outputs
    }

    fn wants_preview(&self, step: &str) -> bool {
        let steps = self.spec.spec.steps.iter().filter(|this| this.name == step);
        steps.filter_map(|step| step.write.as_ref()?.stdout.as_ref()).all(|stdout| stdout.preview)
    }

    /// Why nothing moves.
    fn waiting(&self) -> Option<(String, String)> {
        let told = |(reason, message): (&str, String)| Some((reason.to_owned(), message));
        if self.is_over() {
            return None;
        }
        if matches!(self.stage, Stage::Resuming(_)) {
            return told((RESUMING, "a new leader finds out what agents and executors have".to_owned()));
        }
        if let Some(why) = &self.journal.trouble {
            return told(("RecordUnavailable", format!("the run record could not be written: {why}")));
        }
        if matches!(self.stage, Stage::Winding { .. }) {
            let what = if self.keeping() { "what is whole is kept for the next run" } else { "what was staged is being removed" };
            return told(("CleaningUp", format!("the run has failed; {what}")));
        }
        if let Some(stall) = self.stall() {
            return told(stall);
        }
        if let Some(why) = &self.ending.trouble {
            return told(("CommitRetried", why.clone()));
        }
        if let Some(why) = &self.output.trouble {
            return told(("OutputRetried", why.clone()));
        }
        let backing_off = self.ledger.iter().any(|(_, state)| state.not_before > self.now && !state.is_done());
        let busy = self.ledger.iter().any(|(_, state)| state.is_busy());
        if backing_off && !busy {
            let why = self.failures.front().map_or_else(String::new, |failure| failure.message.clone());
            return told(("Backoff", format!("a task waits before it is tried again: {why}")));
        }
        None
    }
}

/// Which partitions are done, such as `0-6,9`.
pub(super) fn intervals(done: &[bool]) -> String {
    let mut text: Vec<String> = Vec::new();
    let mut at = 0;
    while at < done.len() {
        if done[at] {
            let end = done[at..].iter().position(|done| !done).map_or(done.len(), |length| at + length);
            text.push(if end == at + 1 { at.to_string() } else { format!("{at}-{}", end - 1) });
            at = end;
        } else {
            at += 1;
        }
    }
    text.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_that_are_done_show_as_intervals() {
        fn check(done: &str, expected: &str) {
            let done: Vec<bool> = done.bytes().map(|byte| byte == b'x').collect();
            assert_eq!(intervals(&done), expected);
        }
        check("", "");
        check("...", "");
        check("xxx", "0-2");
        check("xxxxxxx..x", "0-6,9");
        check(".x.xx", "1,3-4");
    }
}
