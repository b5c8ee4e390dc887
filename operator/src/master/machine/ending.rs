//! How a run ends: sinks staged, standard output kept, `Committing`, commit; or it fails, and what was staged goes.
//! From `Committing` on it only rolls forward; what is over stays over.

use std::collections::BTreeSet;
use std::time::Duration;

use plan::task::{Answer, Attempt, Done, TaskId};
use proto::master::ToSlot;

use super::event::{Command, SlotId};
use super::planted::{self, Bug};
use super::{Machine, Stage};
use crate::master::api::{Entry, RunPhase};

/// So long a run that failed waits for its staged files to go.
const DISCARD: Duration = Duration::from_secs(30);
/// So long it waits for results that are whole to be kept for the next run.
const KEEPING: Duration = Duration::from_secs(300);
/// Why a run ends that was told to.
const STOPPED: &str = "Stopped";

/// What is known of the end.
#[derive(Debug, Default)]
pub(super) struct Ending {
    /// What is to become of the run once it is known whether it has begun to commit.
    deferred: Option<RunPhase>,
    /// Whether the record says that the run has ended, so that nobody commits what is being removed.
    recorded: bool,
    /// Whether a run that failed waits for what it keeps.
    keeping: bool,
    /// Why a commit goes on only later.
    pub(super) trouble: Option<String>,
}

impl Machine {
    /// An answer task has told its answer.
    pub(super) fn answered(&mut self, attempt: Attempt, done: Done) {
        match (attempt.task, done.answer) {
            (TaskId::Inspect, Some(Answer::Facts(facts))) => self.inspected(facts),
            (TaskId::LookUp, Some(Answer::Found(found))) => self.looked_up(found),
            (TaskId::Keep { collection }, Some(Answer::Kept(size))) => self.kept(collection, size),
            (TaskId::Split { stage }, Some(Answer::Splits(splits))) => {
                let set = self.flow().set_of(attempt.task);
                // Listed from rows that are being done over: to be listed again.
                let void = self.is_recording(|entry| matches!(entry, Entry::Redo { sets, .. } if sets.contains(&set)));
                if !void {
                    self.record(Entry::Split { stage, splits });
                }
            }
            (TaskId::Stage, Some(Answer::Staged(manifest))) => self.files_staged(manifest),
            (TaskId::Commit, _) => self.committed(),
            (TaskId::Discard, _) => self.discarded(),
            (task, _) => {
                self.fail("Invalid", format!("an executor answered task {task} with something else: it is of another version"))
            }
        }
    }

    /// Whether a task that answers has done so.
    pub(super) fn is_answered(&self, task: TaskId) -> bool {
        match task {
            TaskId::Inspect | TaskId::LookUp => self.flow.is_some() || !self.journal.is_empty(),
            TaskId::Keep { collection } => self.is_kept(collection),
            TaskId::Split { stage } => {
                let recording = |entry: &Entry| matches!(entry, Entry::Split { stage: this, .. } if *this == stage);
                self.recorded.splits.contains_key(&stage) || self.is_recording(recording)
            }
            TaskId::Stage => self.staging.is_whole(),
            TaskId::Commit | TaskId::Discard | TaskId::Map { .. } | TaskId::Reduce { .. } | TaskId::Operate { .. } => false,
        }
    }

    /// All that the sinks need is there: stages files, keeps standard output, then commits.
    pub(super) fn finish_sinks(&mut self) {
        let (files, stdout) = (self.flow().has_files(), self.flow().has_stdout());
        if files && !self.staging.is_whole() {
            self.stage_files();
        }
        if stdout && !self.output.is_kept() {
            self.keep_output();
        }
        let kept = self.results_settled();
        let whole = kept && (!files || self.staging.is_whole()) && (!stdout || self.output.is_kept());
        if !whole {
            return;
        }
        match self.staging.manifest() {
            Some(manifest) if !self.is_recording(|entry| matches!(entry, Entry::Committing { .. })) => {
                self.record(Entry::Committing { manifest });
            }
            Some(_) => {}
            None => self.over(RunPhase::Succeeded),
        }
    }

    /// The record says that the run commits.
    pub(super) fn begin_commit(&mut self) {
        self.stage = Stage::Committing;
        self.ending.deferred = None;
        self.output.trouble = None;
        self.agenda.clear();
    }

    pub(super) fn stop(&mut self, why: String) {
        self.end(RunPhase::Failed { reason: STOPPED.to_owned(), message: why });
    }

    pub(super) fn fail(&mut self, reason: &str, message: String) {
        self.end(RunPhase::Failed { reason: reason.to_owned(), message });
    }

    /// Ends the run without success, unless it is over or only rolls forward.
    fn end(&mut self, outcome: RunPhase) {
        match self.stage {
            Stage::Committing if planted::has(Bug::FailsLate) => {}
            Stage::Committing | Stage::Winding { .. } | Stage::Over(_) | Stage::Abandoned => return,
            Stage::Resuming(_) | Stage::Inspecting | Stage::LookingUp | Stage::Planning | Stage::Running => {}
        }
        if self.is_recording(|entry| matches!(entry, Entry::Committing { .. })) && !planted::has(Bug::FailsBeside) {
            // It may be stored already: then this comes too late.
            self.ending.deferred.get_or_insert(outcome);
            return;
        }
        let outcome = self.ending.deferred.take().unwrap_or(outcome);
        let resumed = self.flow.as_ref().is_some_and(|flow| flow.has_files()) && matches!(self.stage, Stage::Resuming(_));
        self.staging.begun |= resumed;
        // What was whole is for the next run; who stops a run does not wait for that.
        let stopped = matches!(&outcome, RunPhase::Failed { reason, .. } if reason == STOPPED);
        let keeping = !stopped && matches!(self.stage, Stage::Running) && self.keeping();
        let ends = |attempt: &Attempt| !(keeping && matches!(attempt.task, TaskId::Keep { .. }));
        let running = self.ledger.iter().flat_map(|(_, state)| &state.running).map(|running| running.attempt);
        let running: BTreeSet<Attempt> = running.filter(ends).collect();
        self.cancel(&running);
        self.agenda.clear();
        let staging = self.staging.begun && !planted::has(Bug::LeavesWithoutDiscard);
        if staging {
            // A discard removes what attempts of lower numbers staged: all of ours, none of a later leader.
            if !planted::has(Bug::DiscardsOthersOnly) {
                self.ledger.skip_to(self.ledger.highest_of_all());
            }
            if let RunPhase::Failed { reason, message } = outcome.clone() {
                self.record_end(Entry::Ended { reason, message });
            }
        }
        if staging || keeping && !self.slots.is_empty() {
            let until = if staging { Duration::MAX } else { self.now + KEEPING };
            self.ending.keeping = keeping;
            self.stage = Stage::Winding { outcome, until };
        } else {
            self.over(outcome);
        }
    }

    /// Has staged files removed, and what was whole kept for the next run, as far as that can be done soon.
    pub(super) fn wind(&mut self) {
        let Stage::Winding { until, .. } = &self.stage else { return };
        let until = *until;
        self.ending.keeping &= self.keeping();
        let done = !self.staging.begun && (!self.ending.keeping || self.slots.is_empty());
        if done || self.now >= until {
            return self.wound();
        }
        if self.staging.begun && self.ending.recorded {
            self.offer(TaskId::Discard);
        }
        if self.ending.keeping {
            self.keep_results();
        }
    }

    /// The record says that the run has ended.
    pub(super) fn ended(&mut self, reason: String, message: String) {
        if !matches!(self.stage, Stage::Over(_)) {
            self.staging.begun = true;
            self.stage = Stage::Winding { outcome: RunPhase::Failed { reason, message }, until: Duration::MAX };
            self.end_recorded();
        }
    }

    pub(super) fn end_recorded(&mut self) {
        if let Stage::Winding { until, .. } = &mut self.stage {
            *until = self.now + if self.ending.keeping { KEEPING } else { DISCARD };
            self.ending.recorded = true;
        }
    }

    fn wound(&mut self) {
        if let Stage::Winding { outcome, .. } = &self.stage {
            self.over(outcome.clone());
        }
    }

    pub(super) fn over(&mut self, outcome: RunPhase) {
        let reason = match &outcome {
            RunPhase::Failed { reason, .. } => format!("the run has failed: {reason}"),
            RunPhase::Succeeded | RunPhase::Planning | RunPhase::Running | RunPhase::Committing => "the run is done".to_owned(),
        };
        self.stage = Stage::Over(outcome);
        let slots: Vec<SlotId> = self.slots.keys().copied().collect();
        for slot in slots {
            self.send(slot, ToSlot::Leave { reason: reason.clone() });
        }
        self.agenda.clear();
        self.out.push(Command::Finished);
    }
}
