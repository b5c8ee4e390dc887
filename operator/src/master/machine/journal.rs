//! The run's record: what it says, and writing it entry by entry, each before it is acted on.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use plan::task::{Attempt, Manifest, Split};
use plan::{Decision, MscrId, NodeId};

use super::event::{Command, OutputRequest};
use super::planted::{self, Bug};
use super::{Machine, Stage};
use crate::master::api::{Cut, Entry, RecordError, TaskSet};

const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// What the record says.
#[derive(Debug, Default)]
pub(super) struct Recorded {
    pub(super) partitions: Option<u32>,
    pub(super) slots: u32,
    pub(super) splits: BTreeMap<MscrId, BTreeMap<NodeId, Vec<Split>>>,
    pub(super) cuts: BTreeMap<NodeId, Cut>,
    /// Joins of which it is decided whether they switch to a broadcast, and why.
    pub(super) switches: BTreeMap<NodeId, Decision>,
    /// What there is to tell about cuts.
    pub(super) shares: BTreeMap<NodeId, Decision>,
    pub(super) manifest: Option<Manifest>,
    /// Where standard output stays that is too much to be kept.
    pub(super) output: Option<OutputRequest>,
    voids: Vec<Void>,
}

#[derive(Debug)]
struct Void {
    sets: BTreeSet<TaskSet>,
    above: u32,
    except: BTreeSet<Attempt>,
}

impl Recorded {
    /// Whether an attempt of a task of this set must not count.
    pub(super) fn is_void(&self, set: TaskSet, attempt: Attempt) -> bool {
        self.voids.iter().any(|void| {
            let meant = void.sets.contains(&set) || void.sets.contains(&TaskSet::One(attempt.task));
            meant && attempt.number <= void.above && !void.except.contains(&attempt) && !planted::has(Bug::ForgetsVoids)
        })
    }
}

/// Entries on their way into the record.
#[derive(Debug, Default)]
pub(super) struct Journal {
    /// Entries that are stored.
    stored: usize,
    waiting: VecDeque<Entry>,
    in_flight: bool,
    retry_at: Duration,
    wait: Duration,
    /// Why the last try failed.
    pub(super) trouble: Option<String>,
}

impl Journal {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

impl Machine {
    /// Takes over what an earlier leader recorded.
    pub(super) fn replay(&mut self, entry: Entry) {
        self.journal.stored += 1;
        self.apply(entry);
    }

    /// Has an entry recorded; it is acted on when it is stored.
    pub(super) fn record(&mut self, entry: Entry) {
        self.journal.waiting.push_back(entry);
    }

    /// Has the end recorded, and nothing that has not been sent yet.
    pub(super) fn record_end(&mut self, entry: Entry) {
        self.journal.waiting.truncate(usize::from(self.journal.in_flight));
        self.journal.waiting.push_back(entry);
    }

    /// Whether an entry like this is on its way.
    pub(super) fn is_recording(&self, like: impl Fn(&Entry) -> bool) -> bool {
        self.journal.waiting.iter().any(like)
    }

    pub(super) fn journal_write(&mut self) {
        let journal = &mut self.journal;
        if journal.in_flight || journal.retry_at > self.now || matches!(self.stage, Stage::Over(_) | Stage::Abandoned) {
            return;
        }
        if let Some(entry) = journal.waiting.front() {
            journal.in_flight = true;
            self.out.push(Command::Record { at: journal.stored, entry: entry.clone() });
        }
    }

    pub(super) fn entry_recorded(&mut self, at: usize, result: Result<(), RecordError>) {
        if at != self.journal.stored || !self.journal.in_flight {
            return;
        }
        self.journal.in_flight = false;
        match result {
            Ok(()) => self.stored(),
            Err(RecordError::Superseded) => {
                self.stage = Stage::Abandoned;
                self.out.push(Command::Abandon);
            }
            Err(RecordError::Behind) => {
                self.stage = Stage::Abandoned;
                self.out.push(Command::TakeUpAgain);
            }
            Err(RecordError::Unavailable(why)) => {
                let journal = &mut self.journal;
                journal.wait = (journal.wait * 2).clamp(FIRST_WAIT, LONGEST_WAIT);
                journal.retry_at = self.now + journal.wait;
                journal.trouble = Some(why);
            }
            Err(RecordError::Impossible(why)) => {
                self.journal.waiting.clear();
                // Nobody else can write there either.
                self.end_recorded();
                self.fail("RecordRefused", format!("the run record cannot be kept: {why}"));
            }
        }
    }

    fn stored(&mut self) {
        let journal = &mut self.journal;
        (journal.wait, journal.retry_at, journal.trouble) = (Duration::ZERO, Duration::ZERO, None);
        journal.stored += 1;
        if let Some(entry) = journal.waiting.pop_front() {
            // Where the run has ended meanwhile, no entry counts but the one that says so. (It does not end while `Committing` is
            // on its way.)
            let counts = matches!(entry, Entry::Ended { .. }) || !matches!(self.stage, Stage::Winding { .. } | Stage::Over(_));
            if counts {
                self.apply(entry);
            }
        }
    }

    fn apply(&mut self, entry: Entry) {
        self.stale = true;
        match entry {
            Entry::Planned { plan, partitions, slots } => self.planned(plan, partitions, slots),
            Entry::Split { stage, splits } => {
                self.recorded.splits.insert(stage, splits);
                self.number_anew();
            }
            Entry::Cut { group, cut, told } => {
                self.recorded.cuts.insert(group, cut);
                self.recorded.shares.extend(told.map(|told| (group, told)));
                self.number_anew();
            }
            Entry::Switch { group, told } => {
                self.recorded.switches.insert(group, told);
                self.switch_joins();
                self.number_anew();
            }
            Entry::Redo { sets, above, except } => self.redo(sets, above, except),
            Entry::Kept { collection, outcome } => self.result_settled(collection, outcome),
            Entry::Output { at } => {
                self.recorded.output = Some(at);
                self.output_located();
            }
            Entry::Anew { terms } => self.ledger.begin_above(terms),
            Entry::Committing { manifest } => {
                self.recorded.manifest = Some(manifest);
                self.begin_commit();
            }
            Entry::Ended { reason, message } => self.ended(reason, message),
        }
    }

    fn redo(&mut self, sets: BTreeSet<TaskSet>, above: u32, except: BTreeSet<Attempt>) {
        for set in &sets {
            match set {
                TaskSet::Split(stage) => drop(self.recorded.splits.remove(stage)),
                TaskSet::Reduces(group) => {
                    self.recorded.cuts.remove(group);
                    self.recorded.shares.remove(group);
                }
                TaskSet::Maps(_) | TaskSet::Operate(_) | TaskSet::One(_) => {}
            }
        }
        self.forget_switches(&sets);
        self.unstage(&sets);
        self.unkeep_output(&sets);
        self.ledger.skip_to(above);
        if let Some(flow) = &self.flow {
            self.ledger.do_over(|task| sets.contains(&flow.set_of(task)));
        }
        self.recorded.voids.push(Void { sets, above, except });
        self.number_anew();
        self.drop_void();
    }

    /// Lets go of all that has become void.
    fn drop_void(&mut self) {
        let (recorded, Some(flow)) = (&self.recorded, &self.flow) else { return };
        let mut running = BTreeSet::new();
        let mut fenced: BTreeMap<String, Vec<Attempt>> = BTreeMap::new();
        for (task, state) in self.ledger.iter_mut() {
            let is_void = |attempt: Attempt| recorded.is_void(flow.set_of(*task), attempt);
            running.extend(state.running.iter().map(|running| running.attempt).filter(|attempt| is_void(*attempt)));
            if let Some(winner) = state.winner.take_if(|winner| is_void(winner.attempt)) {
                fenced.entry(winner.agent).or_default().push(winner.attempt);
            }
            state.doubtful.take_if(|number| is_void(Attempt { task: *task, number: *number }));
        }
        self.cancel(&running);
        fenced.into_iter().for_each(|(agent, fenced)| self.fence(agent, fenced));
    }
}
