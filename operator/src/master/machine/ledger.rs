//! What is known of every task: its attempts, its winner, how often it failed. Numbers of attempts never repeat within a run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use plan::task::{Attempt, Done, TaskId};
use proto::Term;

use super::event::SlotId;
use super::planted::{self, Bug};
use super::retry::Tally;

/// Attempts of one task by one leader; the term is in the bits above, so that leaders never give out the same number.
const PER_TERM: u32 = 1 << 16;

/// All tasks that were ever tried.
#[derive(Debug)]
pub(super) struct Ledger {
    term: u64,
    base: u32,
    /// Numbers up to here (above `base`) are void for some tasks: none is given out any more.
    floor: u32,
    tasks: BTreeMap<TaskId, TaskState>,
    /// Tasks that were done at some time: doing them again is no progress.
    ever_done: BTreeSet<TaskId>,
    /// Tasks that were done under an earlier leader, and read by all that read them; whose attempt it was nobody knows. Where one is
    /// to be made again, so is all that read it.
    forgotten: BTreeSet<TaskId>,
}

/// One task.
#[derive(Debug, Default)]
pub(super) struct TaskState {
    pub(super) winner: Option<Winner>,
    pub(super) running: Vec<Running>,
    pub(super) tally: Tally,
    pub(super) not_before: Duration,
    /// Attempts given out by this leader.
    given: u32,
    /// Attempts that failed for the flow's own fault, and those that were given out again.
    pub(super) failed: u32,
    pub(super) retried: u32,
    /// Where it failed last.
    pub(super) last_pod: Option<String>,
    /// Whether an attempt may have been named without our knowing: others must not be mixed with what was read of it.
    pub(super) doubtful: Option<u32>,
}

/// The attempt that counts.
#[derive(Clone, Debug)]
pub(super) struct Winner {
    pub(super) attempt: Attempt,
    /// The agent's address.
    pub(super) agent: String,
    pub(super) done: Arc<Done>,
    pub(super) standing: Standing,
}

/// How a winner's output stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Not named yet: it does not count.
    Naming,
    /// It can be fetched.
    Held,
    /// It counted, and was let go of: all that read it are done.
    Released,
    /// It counted, and its agent lost it.
    Lost,
}

/// An attempt that goes on, as far as we know.
#[derive(Clone, Debug)]
pub(super) struct Running {
    pub(super) attempt: Attempt,
    /// `None`: its slot's connection broke.
    pub(super) slot: Option<SlotId>,
    pub(super) pod: String,
    /// Its slot's number in the pod.
    pub(super) number: u32,
    /// When it is given up without a slot.
    pub(super) until: Duration,
}

impl TaskState {
    /// Whether it was done, and counts.
    pub(super) fn is_done(&self) -> bool {
        self.winner.as_ref().is_some_and(|winner| winner.standing != Standing::Naming)
    }

    /// Whether its output is there, or about to be.
    pub(super) fn is_there(&self) -> bool {
        matches!(self.standing(), Some(Standing::Held | Standing::Naming))
    }

    pub(super) fn standing(&self) -> Option<Standing> {
        self.winner.as_ref().map(|winner| winner.standing)
    }

    /// Whether it is on its way: running, or done and about to be named.
    pub(super) fn is_busy(&self) -> bool {
        !self.running.is_empty() || self.standing() == Some(Standing::Naming)
    }
}

impl Ledger {
    pub(super) fn new(term: Term) -> Ledger {
        let base = base(term.0);
        Ledger { term: term.0, base, floor: 0, tasks: BTreeMap::new(), ever_done: BTreeSet::new(), forgotten: BTreeSet::new() }
    }

    /// Terms begin anew, after so many.
    pub(super) fn begin_above(&mut self, terms: u64) {
        let reached = self.before();
        self.base = base(self.term.saturating_add(terms));
        self.floor = reached.saturating_sub(self.base);
    }

    /// Every number that was given out before this run was taken up is at most this.
    pub(super) fn before(&self) -> u32 {
        self.base + self.floor
    }

    pub(super) fn get(&self, task: TaskId) -> Option<&TaskState> {
        self.tasks.get(&task)
    }

    pub(super) fn entry(&mut self, task: TaskId) -> &mut TaskState {
        self.tasks.entry(task).or_default()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&TaskId, &TaskState)> {
        self.tasks.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&TaskId, &mut TaskState)> {
        self.tasks.iter_mut()
    }

    pub(super) fn is_done(&self, task: TaskId) -> bool {
        self.get(task).is_some_and(TaskState::is_done)
    }

    pub(super) fn is_there(&self, task: TaskId) -> bool {
        self.get(task).is_some_and(TaskState::is_there)
    }

    pub(super) fn winner(&self, task: TaskId) -> Option<&Winner> {
        self.get(task)?.winner.as_ref()
    }

    /// A new attempt's name.
    pub(super) fn next(&mut self, task: TaskId) -> Attempt {
        let (base, floor) = (self.base, self.floor);
        let state = self.entry(task);
        if state.given > 0 {
            state.retried += 1;
        }
        state.given = state.given.max(floor) + 1;
        Attempt { task, number: base + state.given }
    }

    /// The highest number of all.
    pub(super) fn highest_of_all(&self) -> u32 {
        self.base + self.tasks.values().map(|state| state.given).max().unwrap_or(0).max(self.floor)
    }

    /// So that whatever is given out from now on is above a number.
    pub(super) fn skip_to(&mut self, number: u32) {
        self.floor = self.floor.max(number.saturating_sub(self.base));
    }

    /// How many tasks were ever done.
    pub(super) fn progress(&self) -> u64 {
        self.ever_done.len() as u64
    }

    /// Notes tasks of which nothing is known but that they were done, and read.
    pub(super) fn forget(&mut self, tasks: BTreeSet<TaskId>) {
        self.forgotten.extend(tasks);
    }

    pub(super) fn is_forgotten(&self, task: TaskId) -> bool {
        self.forgotten.contains(&task)
    }

    /// Such tasks are done over, with all that read them.
    pub(super) fn do_over(&mut self, such: impl Fn(TaskId) -> bool) {
        self.forgotten.retain(|task| !such(*task));
    }

    /// Notes that a task is done.
    pub(super) fn note_done(&mut self, task: TaskId) {
        self.ever_done.insert(task);
    }
}

fn base(term: u64) -> u32 {
    let base = u32::try_from(term % u64::from(PER_TERM)).unwrap_or_default() * PER_TERM;
    if planted::has(Bug::RepeatsNumbers) { 0 } else { base }
}

/// An attempt's number as people count: from 1, per leader.
pub(super) fn shown(number: u32) -> u32 {
    number % PER_TERM
}
