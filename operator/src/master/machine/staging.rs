//! Files of sinks: one task stages them all, and what it hands over is all that a commit needs. What other attempts staged goes.

use std::collections::BTreeSet;

use plan::Sink;
use plan::task::{Attempt, Manifest, TaskId};

use super::Machine;
use super::planted::{self, Bug};
use crate::master::api::{RunPhase, TaskSet};

/// What is known of staged files.
#[derive(Debug, Default)]
pub(super) struct Staging {
    /// What counts of what was staged.
    manifest: Option<Manifest>,
    /// Whether some attempt may have staged anything.
    pub(super) begun: bool,
    /// Whether an attempt that does not count has staged files since the last commit or discard was begun, or may have.
    in_vain: bool,
}

impl Staging {
    pub(super) fn is_whole(&self) -> bool {
        self.manifest.is_some()
    }

    pub(super) fn manifest(&self) -> Option<Manifest> {
        self.manifest.clone()
    }
}

impl Machine {
    pub(super) fn stage_files(&mut self) {
        self.staging.begun = true;
        self.offer(TaskId::Stage);
    }

    pub(super) fn files_staged(&mut self, manifest: Manifest) {
        self.staging.manifest = Some(manifest);
        // Others that are at it stop, and remove what they have staged.
        let others: BTreeSet<Attempt> = self.ledger.entry(TaskId::Stage).running.iter().map(|running| running.attempt).collect();
        self.cancel(&others);
    }

    /// An attempt that does not count has left staged files.
    pub(super) fn staged_in_vain(&mut self) {
        self.staging.in_vain = !planted::has(Bug::LeavesStaged);
    }

    /// What was staged is of rows that are done over: it is staged anew, and the commit of that removes this.
    pub(super) fn unstage(&mut self, void: &BTreeSet<TaskSet>) {
        if void.contains(&TaskSet::One(TaskId::Stage)) && !planted::has(Bug::KeepsVoidSinks) {
            self.staging.manifest = None;
        }
    }

    /// A commit is done. It has removed what other attempts staged; of one that was heard of since it began, the next one does.
    pub(super) fn committed(&mut self) {
        if !std::mem::take(&mut self.staging.in_vain) {
            self.over(RunPhase::Succeeded);
        }
    }

    pub(super) fn discarded(&mut self) {
        if !std::mem::take(&mut self.staging.in_vain) {
            self.staging.begun = false;
        }
    }

    /// A run that an earlier leader had may have staged files.
    pub(super) fn note_resumed(&mut self) {
        self.staging.begun = self.flow().has_files();
    }
}

/// Whether a sink's files are staged.
pub(super) fn is_files(sink: &Sink) -> bool {
    matches!(sink, Sink::Files { .. })
}
