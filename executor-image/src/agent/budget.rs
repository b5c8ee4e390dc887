//! How much an agent may hold, and which run may take of it. Pure: no I/O, no clock, no lock.
//!
//! Memory first, then disk, then nothing: writers wait. A quarter of all room is kept for the oldest run alone, and among those
//! that wait an older run goes first, so that there is always a run that goes on, ends and makes room for the others.

use std::collections::HashMap;

use proto::RunId;

/// One part in so many is the oldest run's.
const RESERVE: u64 = 4;

/// Who holds what.
#[derive(Debug)]
pub struct Budget {
    pub memory_limit: u64,
    pub disk_limit: u64,
    pub memory_used: u64,
    pub disk_used: u64,
    writers_limit: usize,
    writers: usize,
    /// Those that hold or want something.
    runs: HashMap<RunId, Share>,
    /// The leader's order.
    ranks: HashMap<RunId, usize>,
    /// Where a run that the leader did not name yet stands: behind all others, as they came.
    next_rank: usize,
}

/// A run's part.
#[derive(Debug, Default)]
struct Share {
    held: u64,
    /// Smaller is older.
    rank: usize,
    /// Writers that wait for room.
    waiting: usize,
    /// Writers in all.
    writers: usize,
}

/// Where bytes may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Memory,
    Disk,
}

impl Budget {
    /// Nothing is held yet. So many writers at most (twice as many with those of the oldest run): each can have some megabytes
    /// on the way that nobody has taken yet.
    #[must_use]
    pub fn new(memory_limit: u64, disk_limit: u64, writers_limit: usize) -> Budget {
        Budget {
            memory_limit,
            disk_limit,
            memory_used: 0,
            disk_used: 0,
            writers_limit,
            writers: 0,
            runs: HashMap::new(),
            ranks: HashMap::new(),
            next_rank: 0,
        }
    }

    /// Room for bytes of a run, taken if there is some.
    pub fn take(&mut self, run: &RunId, bytes: u64) -> Option<Place> {
        self.share(run);
        let place = self.place(bytes).filter(|_| self.may_take(run, bytes))?;
        match place {
            Place::Memory => self.memory_used += bytes,
            Place::Disk => self.disk_used += bytes,
        }
        self.share(run).held += bytes;
        Some(place)
    }

    /// Whether so many bytes could be held at all, by any run.
    #[must_use]
    pub fn could_hold(&self, bytes: u64) -> bool {
        let room = self.memory_limit + self.disk_limit;
        bytes <= self.memory_limit.max(self.disk_limit).min(room - room / RESERVE)
    }

    /// Bytes that are not held any more.
    pub fn give_back(&mut self, run: &RunId, memory: u64, disk: u64) {
        self.memory_used = self.memory_used.saturating_sub(memory);
        self.disk_used = self.disk_used.saturating_sub(disk);
        if let Some(share) = self.runs.get_mut(run) {
            share.held = share.held.saturating_sub(memory + disk);
        }
        self.forget_idle(run);
    }

    /// Lets one more writer of a run in, if it may.
    pub fn enter(&mut self, run: &RunId) -> bool {
        let limit = if self.is_oldest(run) { 2 * self.writers_limit } else { self.writers_limit };
        let fits = self.writers < limit;
        if fits {
            self.writers += 1;
            self.share(run).writers += 1;
        }
        fits
    }

    /// A writer ended.
    pub fn leave(&mut self, run: &RunId) {
        self.writers = self.writers.saturating_sub(1);
        if let Some(share) = self.runs.get_mut(run) {
            share.writers = share.writers.saturating_sub(1);
        }
        self.forget_idle(run);
    }

    /// A writer begins (`true`) or ceases to wait for room.
    pub fn wait(&mut self, run: &RunId, waits: bool) {
        let share = self.share(run);
        share.waiting = if waits { share.waiting + 1 } else { share.waiting.saturating_sub(1) };
    }

    /// The order of runs, the oldest first.
    pub fn set_order(&mut self, order: &[RunId]) {
        self.ranks = order.iter().enumerate().map(|(rank, run)| (run.clone(), rank)).collect();
        let mut others: Vec<(usize, RunId)> = self
            .runs
            .iter()
            .filter(|(run, _)| !self.ranks.contains_key(run))
            .map(|(run, share)| (share.rank, run.clone()))
            .collect();
        others.sort_unstable();
        self.next_rank = order.len() + others.len();
        let behind = others.into_iter().enumerate().map(|(at, (_, run))| (run, order.len() + at));
        let all: HashMap<RunId, usize> = behind.chain(self.ranks.clone()).collect();
        for (run, share) in &mut self.runs {
            share.rank = all[run];
        }
    }

    /// Runs whose writers wait, the oldest first.
    #[must_use]
    pub fn waiting(&self) -> Vec<RunId> {
        let mut waiting: Vec<(usize, &RunId)> =
            self.runs.iter().filter(|(_, share)| share.waiting > 0).map(|(run, share)| (share.rank, run)).collect();
        waiting.sort_unstable();
        waiting.into_iter().map(|(_, run)| run.clone()).collect()
    }

    /// How many writers there are.
    #[must_use]
    pub fn writers(&self) -> usize {
        self.writers
    }

    fn place(&self, bytes: u64) -> Option<Place> {
        if self.memory_used + bytes <= self.memory_limit {
            Some(Place::Memory)
        } else {
            (self.disk_used + bytes <= self.disk_limit).then_some(Place::Disk)
        }
    }

    fn may_take(&self, run: &RunId, bytes: u64) -> bool {
        let rank = self.rank(run);
        if self.runs.values().any(|share| share.waiting > 0 && share.rank < rank) {
            return false;
        }
        let room = self.memory_limit + self.disk_limit;
        let of_others: u64 = self.runs.values().filter(|share| share.rank != self.oldest()).map(|share| share.held).sum();
        rank == self.oldest() || of_others + bytes <= room - room / RESERVE
    }

    fn is_oldest(&self, run: &RunId) -> bool {
        self.rank(run) <= self.oldest()
    }

    /// The leader's oldest, even if it is not here yet: its part is kept for it.
    fn oldest(&self) -> usize {
        if self.ranks.is_empty() { self.runs.values().map(|share| share.rank).min().unwrap_or(self.next_rank) } else { 0 }
    }

    fn rank(&self, run: &RunId) -> usize {
        let named = || self.ranks.get(run).copied().unwrap_or(self.next_rank);
        self.runs.get(run).map_or_else(named, |share| share.rank)
    }

    fn share(&mut self, run: &RunId) -> &mut Share {
        if !self.runs.contains_key(run) && !self.ranks.contains_key(run) {
            self.next_rank += 1;
        }
        let rank = self.ranks.get(run).copied().unwrap_or(self.next_rank.saturating_sub(1));
        self.runs.entry(run.clone()).or_insert_with(|| Share { rank, ..Share::default() })
    }

    fn forget_idle(&mut self, run: &RunId) {
        if self.runs.get(run).is_some_and(|share| share.held == 0 && share.waiting == 0 && share.writers == 0) {
            self.runs.remove(run);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(name: &str) -> RunId {
        RunId::try_from(name.to_owned()).unwrap()
    }

    #[test]
    fn memory_comes_first_then_disk_then_nothing() {
        let mut budget = Budget::new(100, 100, 4);
        let a = run("a");
        assert_eq!(budget.take(&a, 60), Some(Place::Memory));
        assert_eq!(budget.take(&a, 60), Some(Place::Disk));
        assert_eq!(budget.take(&a, 40), Some(Place::Memory));
        assert_eq!(budget.take(&a, 41), None);
        budget.give_back(&a, 60, 0);
        assert_eq!(budget.take(&a, 41), Some(Place::Memory));
        assert_eq!((budget.memory_used, budget.disk_used), (81, 60));
    }

    #[test]
    fn younger_runs_leave_a_quarter_to_the_oldest() {
        let mut budget = Budget::new(100, 100, 4);
        let (old, young) = (run("old"), run("young"));
        budget.set_order(&[old.clone(), young.clone()]);
        assert_eq!(budget.take(&old, 1), Some(Place::Memory));
        assert_eq!(budget.take(&young, 99), Some(Place::Memory));
        assert_eq!(budget.take(&young, 51), Some(Place::Disk));
        assert_eq!(budget.take(&young, 1), None);
        assert_eq!(budget.take(&old, 49), Some(Place::Disk));
        // The oldest is over: the next one is the oldest.
        budget.give_back(&old, 1, 49);
        budget.set_order(std::slice::from_ref(&young));
        assert_eq!(budget.take(&young, 49), Some(Place::Disk));
    }

    #[test]
    fn whoever_is_older_goes_first() {
        let mut budget = Budget::new(100, 0, 4);
        let (a, b) = (run("a"), run("b"));
        assert_eq!(budget.take(&a, 10), Some(Place::Memory));
        assert_eq!(budget.take(&b, 10), Some(Place::Memory));
        budget.set_order(&[b.clone(), a.clone()]);
        budget.wait(&b, true);
        assert_eq!(budget.waiting(), std::slice::from_ref(&b));
        assert_eq!(budget.take(&a, 1), None);
        budget.wait(&b, false);
        assert_eq!(budget.take(&a, 1), Some(Place::Memory));
    }

    #[test]
    fn the_oldest_run_gets_a_writer_in_where_others_do_not() {
        let mut budget = Budget::new(100, 0, 2);
        let (a, b) = (run("a"), run("b"));
        assert!(budget.enter(&b) && budget.enter(&b) && !budget.enter(&a));
        budget.set_order(&[a.clone(), b.clone()]);
        assert!(!budget.enter(&b));
        assert!(budget.enter(&a));
        budget.leave(&a);
        assert_eq!(budget.writers(), 2);
    }
}
