//! What an agent holds: outputs of attempts, by run. An output is incoming, then whole, then named; only named ones are given.
//!
//! ```text
//!           trailer          Name                 Release
//!  Incoming ───────► Whole ───────► Named ──────────────────► gone
//!      └─ broken off, fenced, lost the race, run over ──────► gone
//! ```
//!
//! Nothing here waits or does I/O; outputs that go are dropped by whoever asked, outside the lock.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use plan::task::{Attempt, TaskId};
use proto::RunId;
use proto::agent::FetchItem;
use tokio::sync::oneshot;

use super::output::Output;

/// A run that is missing in so many lists of the leader in a row (one every two seconds) is over.
const ABSENT_LISTS: u32 = 15;
/// A whole output that is not the named one of its task goes after so many lists: no leader needs that long to name it.
const LOSER_LISTS: u64 = 300;
/// Runs that are remembered as over: those whose executors may still be sending.
const OVER_LIMIT: usize = 4096;

/// All outputs.
#[derive(Debug, Default)]
pub struct Store {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    runs: HashMap<RunId, Run>,
    over: VecDeque<Over>,
    /// Lists of the leader so far: the clock of all collecting.
    lists: u64,
    next_id: u64,
}

/// A run whose outputs went: nothing more is taken for it.
#[derive(Debug)]
struct Over {
    run: RunId,
    /// Its end was told. Otherwise the leader only did not list it any more, and may yet.
    told: bool,
}

#[derive(Debug, Default)]
struct Run {
    entries: HashMap<Attempt, Entry>,
    fenced: HashSet<Attempt>,
    /// The named attempt of each task that has one here.
    winners: HashMap<TaskId, u32>,
    /// Tasks whose winner was let go: no attempt up to that number is wanted any more.
    past: HashMap<TaskId, u32>,
    /// Lists in a row that did not have it.
    absent: u32,
}

#[derive(Debug)]
enum Entry {
    /// The writer sees its `open` go when the entry does.
    Incoming {
        id: u64,
        _open: oneshot::Sender<()>,
    },
    Whole {
        output: Arc<Output>,
        list: u64,
    },
    Named(Arc<Output>),
}

/// A place for an output that comes in.
#[derive(Debug)]
pub struct Place {
    pub id: u64,
    /// Done when the output is not wanted any more.
    pub unwanted: oneshot::Receiver<()>,
}

/// Why an output is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the run is over")]
    Over,
    #[error("the attempt was given up")]
    Fenced,
    #[error("attempt {0} of the task has won")]
    LostRace(u32),
    #[error("the attempt's output is here already, or on its way")]
    Twice,
}

/// Why pieces are not given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotGiven {
    Missing(Vec<Attempt>),
    NotNamed(Attempt),
}

/// What is held of an attempt.
#[derive(Clone, Debug)]
pub struct HeldEntry {
    pub attempt: Attempt,
    pub named: bool,
    pub output: Arc<Output>,
}

/// Outputs that are held no longer; to be dropped outside the lock, which for large files takes time.
pub type Gone = Vec<Arc<Output>>;

impl Store {
    /// A place for an attempt's output.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn begin(&self, run: &RunId, attempt: Attempt) -> Result<Place, Refusal> {
        let mut state = self.lock();
        if state.is_over(run) {
            return Err(Refusal::Over);
        }
        state.next_id += 1;
        let id = state.next_id;
        let held = state.runs.entry(run.clone()).or_default();
        held.admit(attempt)?;
        let (open, unwanted) = oneshot::channel();
        held.entries.insert(attempt, Entry::Incoming { id, _open: open });
        Ok(Place { id, unwanted })
    }

    /// Ends an incoming output: whole, or (without one) broken off. `false`: it was not wanted any more.
    pub fn end(&self, run: &RunId, attempt: Attempt, id: u64, whole: Option<Arc<Output>>) -> bool {
        let mut state = self.lock();
        let list = state.lists;
        let Some(held) = state.runs.get_mut(run) else { return false };
        if !matches!(held.entries.get(&attempt), Some(Entry::Incoming { id: open, .. }) if *open == id) {
            return false;
        }
        match whole {
            Some(output) => drop(held.entries.insert(attempt, Entry::Whole { output, list })),
            None => drop(held.entries.remove(&attempt)),
        }
        true
    }

    /// Names winners and gives attempts up. Returns the winners that are not here, and what went.
    pub fn name(&self, run: &RunId, winners: &[Attempt], fenced: &[Attempt]) -> (Vec<Attempt>, Gone) {
        let mut state = self.lock();
        if state.is_over(run) {
            return (winners.to_vec(), Vec::new());
        }
        let held = state.runs.entry(run.clone()).or_default();
        let mut gone = Vec::new();
        for attempt in fenced {
            held.fence(*attempt, &mut gone);
        }
        let missing = winners.iter().copied().filter(|winner| !held.crown(*winner, &mut gone)).collect();
        (missing, gone)
    }

    /// Lets go of attempts, or of the whole run, which is over then.
    pub fn release(&self, run: &RunId, attempts: Option<&[Attempt]>) -> Gone {
        let mut state = self.lock();
        let Some(attempts) = attempts else {
            state.end(run, true);
            return state.runs.remove(run).map(Run::into_outputs).unwrap_or_default();
        };
        let Some(held) = state.runs.get_mut(run) else { return Vec::new() };
        attempts.iter().filter_map(|attempt| held.let_go(*attempt)).collect()
    }

    /// The outputs that these items are of, in their order.
    ///
    /// # Errors
    /// What is not here, or not named.
    pub fn find(&self, run: &RunId, items: &[FetchItem]) -> Result<Vec<Arc<Output>>, NotGiven> {
        let state = self.lock();
        let held = state.runs.get(run);
        let entry = |attempt: &Attempt| held.and_then(|held| held.entries.get(attempt));
        let (mut found, mut missing, mut unnamed) = (Vec::with_capacity(items.len()), HashSet::new(), None);
        for item in items {
            match entry(&item.attempt) {
                Some(Entry::Named(output)) => found.push(Arc::clone(output)),
                Some(Entry::Whole { .. } | Entry::Incoming { .. }) => unnamed = unnamed.or(Some(item.attempt)),
                None => drop(missing.insert(item.attempt)),
            }
        }
        match unnamed {
            _ if !missing.is_empty() => {
                let mut missing: Vec<Attempt> = missing.into_iter().collect();
                missing.sort_unstable();
                Err(NotGiven::Missing(missing))
            }
            Some(attempt) => Err(NotGiven::NotNamed(attempt)),
            None => Ok(found),
        }
    }

    /// Whole outputs of a run, by attempt.
    #[must_use]
    pub fn inventory(&self, run: &RunId) -> Vec<HeldEntry> {
        let state = self.lock();
        let entries = state.runs.get(run).into_iter().flat_map(|held| &held.entries);
        let mut whole: Vec<HeldEntry> = entries.filter_map(|(attempt, entry)| entry.held(*attempt)).collect();
        whole.sort_unstable_by_key(|held| held.attempt);
        whole
    }

    /// An output turned out to be unreadable: as if it had never been here.
    pub fn lose(&self, run: &RunId, attempt: Attempt) -> Option<Arc<Output>> {
        let mut state = self.lock();
        let held = state.runs.get_mut(run)?;
        held.uncrown(attempt);
        held.entries.remove(&attempt)?.into_output()
    }

    /// The leader's list of runs that may still need something: others go, once they are missing for long enough.
    pub fn keep_only(&self, runs: &[RunId]) -> Gone {
        let mut state = self.lock();
        state.lists += 1;
        let list = state.lists;
        let wanted: HashSet<&RunId> = runs.iter().collect();
        for (run, held) in &mut state.runs {
            held.absent = if wanted.contains(run) { 0 } else { held.absent + 1 };
        }
        state.over.retain(|over| over.told || !wanted.contains(&over.run));
        let over: Vec<(RunId, Run)> = state.runs.extract_if(|_, held| held.absent >= ABSENT_LISTS).collect();
        over.iter().for_each(|(run, _)| state.end(run, false));
        let mut gone: Gone = over.into_iter().flat_map(|(_, held)| held.into_outputs()).collect();
        gone.extend(state.runs.values_mut().flat_map(|held| held.losers(list)));
        gone
    }

    /// The runs that something is held of.
    #[must_use]
    pub fn runs(&self) -> Vec<RunId> {
        let state = self.lock();
        let mut runs: Vec<RunId> =
            state.runs.iter().filter(|(_, held)| !held.entries.is_empty()).map(|(run, _)| run.clone()).collect();
        runs.sort_unstable();
        runs
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_over(&self, run: &RunId) -> bool {
        self.over.iter().any(|over| over.run == *run)
    }

    fn end(&mut self, run: &RunId, told: bool) {
        match self.over.iter_mut().find(|over| over.run == *run) {
            Some(over) => over.told |= told,
            None => self.over.push_back(Over { run: run.clone(), told }),
        }
        let forgotten = self.over.len().saturating_sub(OVER_LIMIT);
        self.over.drain(..forgotten);
    }
}

impl Run {
    fn admit(&self, attempt: Attempt) -> Result<(), Refusal> {
        if self.fenced.contains(&attempt) {
            return Err(Refusal::Fenced);
        }
        let winner = self.winners.get(&attempt.task).or_else(|| self.past.get(&attempt.task));
        match winner {
            // A later attempt than the winner's may be one that replaces it; it stays only if it is named (see `losers`).
            Some(winner) if attempt.number < *winner => return Err(Refusal::LostRace(*winner)),
            Some(winner) if attempt.number == *winner && !self.entries.contains_key(&attempt) => {
                return Err(Refusal::LostRace(*winner));
            }
            _ => {}
        }
        if self.entries.contains_key(&attempt) { Err(Refusal::Twice) } else { Ok(()) }
    }

    /// Whether the winner is here; all others of its task go.
    fn crown(&mut self, winner: Attempt, gone: &mut Gone) -> bool {
        match self.entries.remove(&winner) {
            Some(Entry::Whole { output, .. } | Entry::Named(output)) => drop(self.entries.insert(winner, Entry::Named(output))),
            Some(incoming @ Entry::Incoming { .. }) => {
                self.entries.insert(winner, incoming);
                return false;
            }
            None => return false,
        }
        self.winners.insert(winner.task, winner.number);
        let others: Vec<Attempt> =
            self.entries.keys().filter(|other| other.task == winner.task && **other != winner).copied().collect();
        for other in others {
            self.fenced.insert(other);
            gone.extend(self.entries.remove(&other).and_then(Entry::into_output));
        }
        true
    }

    fn fence(&mut self, attempt: Attempt, gone: &mut Gone) {
        self.fenced.insert(attempt);
        self.uncrown(attempt);
        gone.extend(self.entries.remove(&attempt).and_then(Entry::into_output));
    }

    fn let_go(&mut self, attempt: Attempt) -> Option<Arc<Output>> {
        self.uncrown(attempt);
        let past = self.past.entry(attempt.task).or_insert(attempt.number);
        *past = (*past).max(attempt.number);
        self.entries.remove(&attempt)?.into_output()
    }

    fn uncrown(&mut self, attempt: Attempt) {
        if self.winners.get(&attempt.task) == Some(&attempt.number) {
            self.winners.remove(&attempt.task);
        }
    }

    /// Whole outputs that lost their race long ago.
    fn losers(&mut self, list: u64) -> Gone {
        let winners = &self.winners;
        let lost = |attempt: &Attempt, entry: &mut Entry| {
            let old = matches!(entry, Entry::Whole { list: whole, .. } if *whole + LOSER_LISTS <= list);
            old && winners.contains_key(&attempt.task)
        };
        self.entries.extract_if(lost).filter_map(|(_, entry)| entry.into_output()).collect()
    }

    fn into_outputs(self) -> Gone {
        self.entries.into_values().filter_map(Entry::into_output).collect()
    }
}

impl Entry {
    fn into_output(self) -> Option<Arc<Output>> {
        match self {
            Entry::Incoming { .. } => None,
            Entry::Whole { output, .. } | Entry::Named(output) => Some(output),
        }
    }

    fn held(&self, attempt: Attempt) -> Option<HeldEntry> {
        let (named, output) = match self {
            Entry::Incoming { .. } => return None,
            Entry::Whole { output, .. } => (false, output),
            Entry::Named(output) => (true, output),
        };
        Some(HeldEntry { attempt, named, output: Arc::clone(output) })
    }
}

#[cfg(test)]
mod tests {
    use super::super::budget::Budget;
    use super::super::room::{Charge, Room};
    use super::*;

    fn run(name: &str) -> RunId {
        RunId::try_from(name.to_owned()).unwrap()
    }

    fn attempt(number: u32) -> Attempt {
        Attempt { task: TaskId::Stage, number }
    }

    fn put(store: &Store, run: &RunId, number: u32) -> Result<(), Refusal> {
        let place = store.begin(run, attempt(number))?;
        let room = Room::new(Budget::new(1, 1, 1));
        assert!(store.end(run, attempt(number), place.id, Some(Arc::new(Output::new(Charge::new(room, run.clone()))))));
        Ok(())
    }

    fn held(store: &Store, run: &RunId) -> Vec<(u32, bool)> {
        store.inventory(run).into_iter().map(|held| (held.attempt.number, held.named)).collect()
    }

    #[test]
    fn an_output_is_given_only_once_it_is_named() {
        let (store, a) = (Store::default(), run("a"));
        let item = |number| FetchItem { attempt: attempt(number), piece: 0, first: 0, end: 1 };
        assert_eq!(store.find(&a, &[item(1)]).unwrap_err(), NotGiven::Missing(vec![attempt(1)]));
        put(&store, &a, 1).unwrap();
        assert_eq!(store.find(&a, &[item(1)]).unwrap_err(), NotGiven::NotNamed(attempt(1)));
        assert_eq!(store.name(&a, &[attempt(1)], &[]).0, []);
        assert_eq!(store.find(&a, &[item(1), item(1)]).unwrap().len(), 2);
        assert_eq!(
            store.find(&a, &[item(1), item(3), item(2), item(3)]).unwrap_err(),
            NotGiven::Missing(vec![attempt(2), attempt(3)])
        );
    }

    #[test]
    fn a_winner_takes_its_rivals_places() {
        let (store, a) = (Store::default(), run("a"));
        for number in [1, 2, 3] {
            put(&store, &a, number).unwrap();
        }
        let mut late = store.begin(&a, attempt(4)).unwrap();
        assert_eq!(store.name(&a, &[attempt(2), attempt(9)], &[]).0, [attempt(9)]);
        assert_eq!(held(&store, &a), [(2, true)]);
        assert!(late.unwanted.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Closed));
        assert_eq!(put(&store, &a, 1), Err(Refusal::Fenced));
        assert_eq!(put(&store, &a, 2), Err(Refusal::Twice));
        assert_eq!(put(&store, &a, 4), Err(Refusal::Fenced));
    }

    #[test]
    fn attempts_before_the_winner_lost_and_one_after_it_stays_only_if_it_is_named() {
        let (store, a) = (Store::default(), run("a"));
        put(&store, &a, 2).unwrap();
        store.name(&a, &[attempt(2)], &[]);
        assert_eq!(put(&store, &a, 1), Err(Refusal::LostRace(2)));
        put(&store, &a, 3).unwrap();
        for _ in 0..LOSER_LISTS {
            assert_eq!(held(&store, &a), [(2, true), (3, false)]);
            store.keep_only(std::slice::from_ref(&a));
        }
        assert_eq!(held(&store, &a), [(2, true)]);
        put(&store, &a, 4).unwrap();
        store.name(&a, &[attempt(4)], &[]);
        assert_eq!(held(&store, &a), [(4, true)]);
    }

    #[test]
    fn fenced_attempts_stay_out_and_take_what_came_of_them_along() {
        let (store, a) = (Store::default(), run("a"));
        put(&store, &a, 1).unwrap();
        store.name(&a, &[attempt(1)], &[]);
        assert_eq!(store.name(&a, &[], &[attempt(1), attempt(2)]).1.len(), 1);
        assert_eq!(put(&store, &a, 1), Err(Refusal::Fenced));
        assert_eq!(put(&store, &a, 2), Err(Refusal::Fenced));
        put(&store, &a, 3).unwrap();
    }

    #[test]
    fn what_is_released_does_not_come_back_but_its_task_may_run_again() {
        let (store, a) = (Store::default(), run("a"));
        put(&store, &a, 2).unwrap();
        store.name(&a, &[attempt(2)], &[]);
        assert_eq!(store.release(&a, Some(&[attempt(2), attempt(7)])).len(), 1);
        assert_eq!(put(&store, &a, 2), Err(Refusal::LostRace(7)));
        put(&store, &a, 8).unwrap();
        assert_eq!(store.release(&a, None).len(), 1);
        assert_eq!(put(&store, &a, 9), Err(Refusal::Over));
        assert_eq!(store.name(&a, &[attempt(8)], &[]).0, [attempt(8)]);
        assert_eq!(store.runs(), []);
    }

    #[test]
    fn a_put_that_broke_off_leaves_nothing_and_may_come_again() {
        let (store, a) = (Store::default(), run("a"));
        let first = store.begin(&a, attempt(1)).unwrap();
        assert_eq!(put(&store, &a, 1), Err(Refusal::Twice));
        assert!(store.end(&a, attempt(1), first.id, None));
        put(&store, &a, 1).unwrap();
        assert!(!store.end(&a, attempt(1), first.id, None), "the first one's end must not touch the second");
        assert_eq!(held(&store, &a), [(1, false)]);
    }

    #[test]
    fn runs_that_the_leader_does_not_name_for_long_go() {
        let (store, a, b) = (Store::default(), run("a"), run("b"));
        put(&store, &a, 1).unwrap();
        put(&store, &b, 1).unwrap();
        for _ in 1..ABSENT_LISTS {
            assert!(store.keep_only(std::slice::from_ref(&b)).is_empty());
        }
        assert!(store.keep_only(&[a.clone(), b.clone()]).is_empty());
        for _ in 1..ABSENT_LISTS {
            assert!(store.keep_only(std::slice::from_ref(&b)).is_empty());
        }
        assert_eq!(store.keep_only(std::slice::from_ref(&b)).len(), 1);
        assert_eq!(store.runs(), [b]);
    }

    #[test]
    fn an_unreadable_output_is_as_if_it_had_never_been() {
        let (store, a) = (Store::default(), run("a"));
        put(&store, &a, 1).unwrap();
        store.name(&a, &[attempt(1)], &[]);
        assert!(store.lose(&a, attempt(1)).is_some());
        put(&store, &a, 2).unwrap();
        assert_eq!(held(&store, &a), [(2, false)]);
    }
}
