//! The workers of a run: as many tasks run at a time as there are threads, those of an earlier unit before those of a later one.
//! Tasks of a phase are taken one by one, in order, until all are done or one fails.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::lock::lock;
use crate::{Error, Result};

/// Chains of fused steps nest one call per step, and Lua and file readers have frames of their own.
pub const STACK: usize = 32 << 20;

/// Who may run a task now, and which units are over; `O`: what a unit tells.
pub(super) struct Workers<O> {
    threads: usize,
    desk: Desk,
    over: Mutex<Vec<(usize, Result<O>)>>,
}

struct Desk {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// Workers without a task.
    free: usize,
    /// By unit, how many want one.
    waiting: BTreeMap<usize, usize>,
    /// Units that run and have not asked for a worker yet.
    silent: BTreeSet<usize>,
    /// Units that are over since somebody looked.
    over: usize,
}

impl<O> Workers<O> {
    pub(super) fn new(threads: usize) -> Workers<O> {
        let state = State { free: threads.max(1), waiting: BTreeMap::new(), silent: BTreeSet::new(), over: 0 };
        Workers {
            threads: threads.max(1),
            desk: Desk { state: Mutex::new(state), changed: Condvar::new() },
            over: Mutex::new(Vec::new()),
        }
    }

    /// The workers as a unit sees them.
    pub(super) fn crew(&self, unit: usize) -> Crew<'_> {
        Crew { desk: &self.desk, threads: self.threads, unit }
    }

    /// To be told before a unit's thread begins.
    pub(super) fn begins(&self, unit: usize) {
        lock(&self.desk.state).silent.insert(unit);
    }

    /// Whether a worker has nothing to do, and nobody is about to ask for one.
    pub(super) fn are_idle(&self) -> bool {
        lock(&self.desk.state).are_idle()
    }

    /// A unit is over.
    pub(super) fn is_over(&self, unit: usize, result: Result<O>) {
        lock(&self.over).push((unit, result));
        let mut state = lock(&self.desk.state);
        state.silent.remove(&unit);
        state.over += 1;
        drop(state);
        self.desk.changed.notify_all();
    }

    /// Waits until units are over, or, if that matters, until workers are idle; what is over.
    pub(super) fn wait(&self, idle_matters: bool) -> Vec<(usize, Result<O>)> {
        let mut state = lock(&self.desk.state);
        while state.over == 0 && !(idle_matters && state.are_idle()) {
            state = self.desk.wait(state);
        }
        state.over = 0;
        drop(state);
        std::mem::take(&mut *lock(&self.over))
    }
}

impl State {
    fn are_idle(&self) -> bool {
        self.free > 0 && self.waiting.is_empty() && self.silent.is_empty()
    }

    fn ask(&mut self, unit: usize, workers: usize) {
        if workers > 0 {
            *self.waiting.entry(unit).or_insert(0) += workers;
        }
    }

    /// One who waited has what it wanted, or does not want it any more.
    fn served(&mut self, unit: usize) {
        if let Some(waiting) = self.waiting.get_mut(&unit) {
            *waiting -= 1;
            if *waiting == 0 {
                self.waiting.remove(&unit);
            }
        }
    }

    fn is_first(&self, unit: usize) -> bool {
        self.waiting.keys().next().is_none_or(|first| *first >= unit)
    }
}

impl Desk {
    fn wait<'s>(&self, state: MutexGuard<'s, State>) -> MutexGuard<'s, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }
}

/// The workers that one unit shares with the others.
#[derive(Clone, Copy)]
pub(crate) struct Crew<'w> {
    desk: &'w Desk,
    threads: usize,
    pub(super) unit: usize,
}

impl<'w> Crew<'w> {
    /// Says how many workers are about to be asked for.
    fn announce(&self, workers: usize) {
        let mut state = lock(&self.desk.state);
        state.ask(self.unit, workers);
        state.silent.remove(&self.unit);
        drop(state);
        self.desk.changed.notify_all();
    }

    /// Takes back what was announced.
    fn withdraw(&self) {
        lock(&self.desk.state).served(self.unit);
        self.desk.changed.notify_all();
    }

    /// Waits for a worker that was announced.
    fn begin(&self) -> Worker<'w> {
        let mut state = lock(&self.desk.state);
        while state.free == 0 || !state.is_first(self.unit) {
            state = self.desk.wait(state);
        }
        state.free -= 1;
        state.served(self.unit);
        drop(state);
        // Others of a later unit may be next.
        self.desk.changed.notify_all();
        Worker { crew: *self }
    }

    /// Waits for a worker.
    pub(super) fn enter(&self) -> Worker<'w> {
        self.announce(1);
        self.begin()
    }
}

/// A worker at work.
pub(super) struct Worker<'w> {
    crew: Crew<'w>,
}

impl Worker<'_> {
    /// Between two tasks: lets an earlier unit go first.
    fn yields(self) -> Self {
        let crew = self.crew;
        if lock(&crew.desk.state).is_first(crew.unit) {
            return self;
        }
        crew.announce(1);
        drop(self);
        crew.begin()
    }
}

impl Drop for Worker<'_> {
    fn drop(&mut self) {
        lock(&self.crew.desk.state).free += 1;
        self.crew.desk.changed.notify_all();
    }
}

/// Runs `task(0)`, ..., `task(count - 1)` on the workers of a unit; returns after all of them ended.
///
/// # Errors
/// The first failure; `stop` is set then, so that the other tasks end soon. A task that panics fails the run.
pub(crate) fn run_tasks(
    crew: &Crew<'_>,
    count: usize,
    stop: &AtomicBool,
    task: impl Fn(usize) -> Result<()> + Sync,
) -> Result<()> {
    let next = AtomicUsize::new(0);
    let failure: Mutex<Option<Error>> = Mutex::new(None);
    let work = || {
        let mut worker = crew.begin();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= count || stop.load(Ordering::Relaxed) {
                return;
            }
            if let Err(error) = task(at) {
                stop.store(true, Ordering::Relaxed);
                note(&failure, error);
            }
            if next.load(Ordering::Relaxed) < count {
                worker = worker.yields();
            }
        }
    };
    let threads = crew.threads.min(count);
    crew.announce(threads);
    let panicked = std::thread::scope(|scope| {
        let spawn = |index: usize| {
            std::thread::Builder::new().name(format!("worker-{index}")).stack_size(STACK).spawn_scoped(scope, work)
        };
        let workers: Vec<_> = (0..threads).map(spawn).collect();
        let mut panicked = false;
        for worker in workers {
            match worker {
                Ok(handle) => panicked |= handle.join().is_err(),
                Err(source) => {
                    crew.withdraw();
                    stop.store(true, Ordering::Relaxed);
                    note(&failure, Error::System { attempt: "start a worker thread".to_owned(), source });
                }
            }
        }
        panicked
    });
    match lock(&failure).take() {
        Some(error) => Err(error),
        None if panicked => Err(Error::Plan("a task panicked: please report this with the message above".to_owned())),
        None if stop.load(Ordering::Relaxed) => Err(Error::Interrupted),
        None => Ok(()),
    }
}

/// Keeps the first failure; tasks that only ended because of it do not count.
fn note(failure: &Mutex<Option<Error>>, error: Error) {
    let mut failure = lock(failure);
    if failure.is_none() || matches!(*failure, Some(Error::Interrupted)) {
        *failure = Some(error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once_and_the_first_real_failure_is_reported() {
        let (stop, seen, workers) = (AtomicBool::new(false), Mutex::new(Vec::new()), Workers::<()>::new(3));
        run_tasks(&workers.crew(0), 20, &stop, |at| {
            lock(&seen).push(at);
            Ok(())
        })
        .unwrap();
        let mut seen = seen.into_inner().unwrap();
        seen.sort_unstable();
        assert!(seen.into_iter().eq(0..20));
        let failed = run_tasks(&workers.crew(0), 20, &stop, |at| if at == 3 { Err(Error::Corrupt("bad")) } else { Ok(()) });
        assert!(matches!(failed, Err(Error::Corrupt("bad"))));
        assert!(workers.are_idle(), "all workers are free again");
    }

    #[test]
    fn no_more_tasks_run_than_there_are_threads_and_an_earlier_unit_goes_first() {
        let (workers, running, most) = (Workers::<()>::new(2), AtomicUsize::new(0), AtomicUsize::new(0));
        let (stop, order) = (AtomicBool::new(false), Mutex::new(Vec::new()));
        let unit = |unit: usize, tasks: usize| {
            run_tasks(&workers.crew(unit), tasks, &stop, |_| {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                lock(&order).push(unit);
                std::thread::yield_now();
                running.fetch_sub(1, Ordering::SeqCst);
                Ok(())
            })
        };
        // The first worker of the later unit waits until the earlier one has asked for both.
        workers.crew(0).announce(1);
        std::thread::scope(|scope| {
            let late = scope.spawn(|| unit(1, 50));
            let early = scope.spawn(|| unit(0, 50));
            early.join().unwrap().unwrap();
            workers.crew(0).withdraw();
            late.join().unwrap().unwrap();
        });
        assert!(most.into_inner() <= 2);
        let order = order.into_inner().unwrap();
        assert!(order.iter().take(50).all(|unit| *unit == 0), "{order:?}");
        assert_eq!(order.len(), 100);
    }
}
