//! The worker threads of a phase: tasks are taken one by one, in order, until all are done or one fails.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::shuffle::lock;
use crate::{Error, Result};

/// Chains of fused steps nest one call per step, and Lua and file readers have frames of their own.
pub const STACK: usize = 32 << 20;

/// Runs `task(0)`, ..., `task(count - 1)` on `threads` threads; returns after all of them ended.
///
/// # Errors
/// The first failure; `stop` is set then, so that the other tasks end soon. A task that panics fails the run.
pub(crate) fn run_tasks(
    threads: usize,
    count: usize,
    stop: &AtomicBool,
    task: impl Fn(usize) -> Result<()> + Sync,
) -> Result<()> {
    let next = AtomicUsize::new(0);
    let failure: Mutex<Option<Error>> = Mutex::new(None);
    let work = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= count || stop.load(Ordering::Relaxed) {
                return;
            }
            if let Err(error) = task(at) {
                stop.store(true, Ordering::Relaxed);
                note(&failure, error);
            }
        }
    };
    let panicked = std::thread::scope(|scope| {
        let spawn = |index: usize| {
            std::thread::Builder::new().name(format!("worker-{index}")).stack_size(STACK).spawn_scoped(scope, work)
        };
        let workers: Vec<_> = (0..threads.min(count)).map(spawn).collect();
        let mut panicked = false;
        for worker in workers {
            match worker {
                Ok(handle) => panicked |= handle.join().is_err(),
                Err(source) => {
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
        let (stop, seen) = (AtomicBool::new(false), Mutex::new(Vec::new()));
        run_tasks(3, 20, &stop, |at| {
            lock(&seen).push(at);
            Ok(())
        })
        .unwrap();
        let mut seen = seen.into_inner().unwrap();
        seen.sort_unstable();
        assert!(seen.into_iter().eq(0..20));
        let failed = run_tasks(2, 20, &stop, |at| if at == 3 { Err(Error::Corrupt("bad")) } else { Ok(()) });
        assert!(matches!(failed, Err(Error::Corrupt("bad"))));
    }
}
