//! How a run ends: sinks staged, standard output kept, `Committing`, commit; or it fails, and what was staged goes.
//! From `Committing` on it only rolls forward; what is over stays over.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use plan::Sink;
use plan::task::{Answer, Attempt, Done, Manifest, TaskId};
use proto::master::ToSlot;

use super::event::{Command, SlotId, Unfetched, Unrecorded};
use super::planted::{self, Bug};
use super::retry::backoff;
use super::{Machine, Stage};
use crate::master::api::{Entry, OUTPUT_LIMIT, RunPhase};

/// So long a run that failed waits for its staged files to go.
const DISCARD: Duration = Duration::from_secs(30);
/// So long it waits for results that are whole to be kept for the next run.
const KEEPING: Duration = Duration::from_secs(300);
/// Why a run ends that was told to.
const STOPPED: &str = "Stopped";
/// Of standard output so much shows in status, per step.
const PREVIEW: usize = 1024;

/// What is known of the end.
#[derive(Debug, Default)]
pub(super) struct Ending {
    manifest: Option<Manifest>,
    /// Whether some attempt may have staged files.
    may_have_staged: bool,
    /// Whether a run that failed waits for what it keeps.
    keeping: bool,
    /// Whether an attempt that does not count has staged files since the last commit was begun, or may have.
    in_vain: bool,
    output: Output,
    pub(super) previews: BTreeMap<String, String>,
    /// Whether standard output is too much to be kept.
    pub(super) node_local: bool,
    retries: u32,
    not_before: Duration,
    /// Why what must go on goes on only later.
    pub(super) trouble: Option<String>,
    /// Whether the record says that the run has ended, so that nobody commits what is being removed.
    recorded: bool,
    /// What is to become of the run once it is known whether it has begun to commit.
    deferred: Option<RunPhase>,
    /// Rows and bytes that attempts told last.
    moved: BTreeMap<Attempt, u64>,
}

/// How far standard output is.
#[derive(Debug, Default, PartialEq, Eq)]
enum Output {
    #[default]
    Open,
    Fetching,
    Fetched(BTreeMap<String, Vec<u8>>),
    Keeping(BTreeMap<String, Vec<u8>>),
    /// It stays on the agents; where is being recorded.
    Locating,
    Kept,
}

impl Ending {
    pub(super) fn output_kept(&self) -> bool {
        self.output == Output::Kept
    }

    pub(super) fn staged(&self) -> bool {
        self.manifest.is_some()
    }

    pub(super) fn manifest(&self) -> Option<Manifest> {
        self.manifest.clone()
    }

    /// Notes how far an attempt is; whether that is further than before.
    pub(super) fn moved(&mut self, attempt: Attempt, to: u64) -> bool {
        let before = self.moved.insert(attempt, to);
        before.is_none_or(|before| before < to)
    }
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
            (TaskId::Stage, Some(Answer::Staged(manifest))) => {
                self.ending.manifest = Some(manifest);
                // Others that are at it stop, and remove what they have staged.
                let others = self.ledger.entry(TaskId::Stage).running.iter().map(|running| running.attempt).collect();
                self.cancel(&others);
            }
            // It removes what other attempts have staged; of one that was heard of since it began, the next one does.
            (TaskId::Commit, _) if std::mem::take(&mut self.ending.in_vain) => {}
            (TaskId::Commit, _) => self.over(RunPhase::Succeeded),
            (TaskId::Discard, _) if std::mem::take(&mut self.ending.in_vain) => {}
            (TaskId::Discard, _) => self.ending.may_have_staged = false,
            (task, _) => {
                self.fail("Invalid", format!("an executor answered task {task} with something else: it is of another version"))
            }
        }
    }

    /// An attempt that does not count has left staged files.
    pub(super) fn staged_in_vain(&mut self) {
        self.ending.in_vain = !planted::has(Bug::LeavesStaged);
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
            TaskId::Stage => self.ending.staged(),
            TaskId::Commit | TaskId::Discard | TaskId::Map { .. } | TaskId::Reduce { .. } | TaskId::Operate { .. } => false,
        }
    }

    /// All that the sinks need is there: stages files, keeps standard output, then commits.
    pub(super) fn finish_sinks(&mut self) {
        let (files, stdout) = (self.flow().has_files(), self.flow().has_stdout());
        if files && !self.ending.staged() {
            self.ending.may_have_staged = true;
            self.offer(TaskId::Stage);
        }
        if stdout && !self.ending.output_kept() {
            self.keep_output();
        }
        let kept = self.results_settled();
        let whole = kept && (!files || self.ending.staged()) && (!stdout || self.ending.output_kept());
        if !whole {
            return;
        }
        match self.ending.manifest() {
            Some(manifest) if !self.is_recording(|entry| matches!(entry, Entry::Committing { .. })) => {
                self.record(Entry::Committing { manifest });
            }
            Some(_) => {}
            None => self.over(RunPhase::Succeeded),
        }
    }

    fn keep_output(&mut self) {
        if self.ending.not_before > self.now {
            return;
        }
        match &self.ending.output {
            Output::Open => {
                let pieces = self.written_pieces(|sink| matches!(sink, Sink::Stdout { .. }));
                let bytes: u64 = pieces.values().flatten().map(|(_, _, piece)| piece.bytes).sum();
                let node_local = bytes > OUTPUT_LIMIT;
                if let Some(request) = self.output_request(node_local) {
                    (self.ending.node_local, self.ending.output) = (node_local, Output::Fetching);
                    self.out.push(Command::FetchOutput(request));
                }
            }
            Output::Fetched(output) => {
                let output = output.clone();
                self.out.push(Command::KeepOutput { output: output.clone() });
                self.ending.output = Output::Keeping(output);
            }
            Output::Fetching | Output::Keeping(_) | Output::Locating | Output::Kept => {}
        }
    }

    pub(super) fn output_fetched(&mut self, result: Result<BTreeMap<String, Vec<u8>>, Unfetched>) {
        if self.ending.output != Output::Fetching {
            return;
        }
        self.stale = true;
        self.ending.output = Output::Open;
        match result {
            Ok(output) => {
                self.ending.retries = 0;
                self.ending.trouble = None;
                self.ending.previews = output.iter().map(|(step, text)| (step.clone(), preview(text))).collect();
                if !self.ending.node_local {
                    self.ending.output = Output::Fetched(output);
                } else if let Some(at) = self.output_request(false) {
                    self.ending.output = Output::Locating;
                    self.record(Entry::Output { at });
                }
            }
            Err(Unfetched::Lost(lost)) => self.outputs_lost(&lost.into_iter().collect::<BTreeSet<_>>()),
            Err(Unfetched::Unavailable(why)) => self.put_off(format!("standard output could not be fetched: {why}")),
        }
    }

    /// Where it stays is recorded: another leader finds it, too.
    pub(super) fn output_located(&mut self) {
        if self.ending.output == Output::Locating {
            // What was lost meanwhile is made again, elsewhere.
            let still = self.recorded.output.is_some() && self.recorded.output == self.output_request(false);
            self.ending.output = if still { Output::Kept } else { Output::Open };
        }
    }

    pub(super) fn output_kept(&mut self, result: Result<(), Unrecorded>) {
        let Output::Keeping(output) = std::mem::take(&mut self.ending.output) else { return };
        self.stale = true;
        match result {
            Ok(()) => {
                self.ending.trouble = None;
                self.ending.output = Output::Kept;
            }
            Err(Unrecorded::Superseded) => {
                self.stage = Stage::Abandoned;
                self.out.push(Command::Abandon);
            }
            // Output is kept in one place, which nobody reads before the end.
            Err(Unrecorded::Behind) => self.ending.output = Output::Fetched(output),
            Err(Unrecorded::Unavailable(why)) => {
                self.ending.output = Output::Fetched(output);
                self.put_off(format!("standard output could not be kept: {why}"));
            }
            Err(Unrecorded::Impossible(why)) => self.fail("OutputRefused", format!("standard output cannot be kept: {why}")),
        }
    }

    fn put_off(&mut self, why: String) {
        self.ending.retries += 1;
        self.ending.not_before = self.now + backoff(&self.spec.spec.retry, self.ending.retries).max(Duration::from_secs(1));
        self.ending.trouble = Some(why);
    }

    /// The record says that the run commits.
    pub(super) fn begin_commit(&mut self) {
        self.stage = Stage::Committing;
        (self.ending.deferred, self.ending.trouble) = (None, None);
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
        self.ending.may_have_staged |= resumed;
        // What was whole is for the next run; who stops a run does not wait for that.
        let stopped = matches!(&outcome, RunPhase::Failed { reason, .. } if reason == STOPPED);
        let keeping = !stopped && matches!(self.stage, Stage::Running) && self.keeping();
        let ends = |attempt: &Attempt| !(keeping && matches!(attempt.task, TaskId::Keep { .. }));
        let running = self.ledger.iter().flat_map(|(_, state)| &state.running).map(|running| running.attempt);
        let running: BTreeSet<Attempt> = running.filter(ends).collect();
        self.cancel(&running);
        self.agenda.clear();
        let staging = self.ending.may_have_staged && !planted::has(Bug::LeavesWithoutDiscard);
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
        let done = !self.ending.may_have_staged && (!self.ending.keeping || self.slots.is_empty());
        if done || self.now >= until {
            return self.wound();
        }
        if self.ending.may_have_staged && self.ending.recorded {
            self.offer(TaskId::Discard);
        }
        if self.ending.keeping {
            self.keep_results();
        }
    }

    /// The record says that the run has ended.
    pub(super) fn ended(&mut self, reason: String, message: String) {
        if !matches!(self.stage, Stage::Over(_)) {
            self.ending.may_have_staged = true;
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

    fn over(&mut self, outcome: RunPhase) {
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

    /// A run that an earlier leader had may have staged files.
    pub(super) fn note_resumed(&mut self) {
        self.ending.may_have_staged = self.flow().has_files();
    }
}

/// The first lines, as text.
fn preview(text: &[u8]) -> String {
    let cut = &text[..text.len().min(PREVIEW)];
    let end = if cut.len() < text.len() {
        cut.iter().rposition(|byte| *byte == b'\n').map_or(cut.len(), |at| at + 1)
    } else {
        cut.len()
    };
    String::from_utf8_lossy(&cut[..end]).into_owned()
}
