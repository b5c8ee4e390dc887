//! The thread that runs tasks: keeps the worker, and gives every task exactly one result.

use std::any::Any;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use crossbeam_channel::Receiver;
use engine::Stores;
use engine::pipe::descendants;
use engine::worker::{Exchange, Results, Watch, Worker, WorkerOptions};
use plan::task::{Attempt, Done, Failed, Fault, Task};
use proto::master::Settings;

use super::exchange::{Outlet, Wire};
use super::protocol::{FromChild, Opening};
use super::stores;
use crate::log;

/// Plans are at most this long when unpacked; the largest flow of 256 steps is far below.
const PLAN_LIMIT: usize = 256 << 20;

/// What the executor hears. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Voice(pub(super) Arc<Mutex<UnixStream>>);

/// What the task's thread is to do.
pub(super) enum Order {
    Settings(Settings),
    Plan(Vec<u8>),
    Run { task: Box<Task>, output: String },
}

/// What runs, as other threads see it.
#[derive(Debug, Default)]
pub(super) struct Current(Mutex<Option<(Attempt, Arc<Watch>)>>);

impl Current {
    pub(super) fn get(&self) -> Option<(Attempt, Arc<Watch>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, current: Option<(Attempt, Arc<Watch>)>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = current;
    }

    /// Tells this attempt to stop; false if it does not run.
    pub(super) fn stop(&self, attempt: Attempt) -> bool {
        match self.get() {
            Some((running, watch)) if running == attempt => {
                watch.stop.store(true, Ordering::Relaxed);
                true
            }
            Some(_) | None => false,
        }
    }
}

/// Runs tasks.
pub(super) struct Runner {
    opening: Opening,
    wire: Arc<dyn Wire>,
    current: Arc<Current>,
    voice: Voice,
    stores: Arc<Stores>,
    settings: Settings,
    plan: Option<Vec<u8>>,
    worker: Option<Worker>,
}

impl Runner {
    pub(super) fn new(opening: Opening, wire: Arc<dyn Wire>, current: Arc<Current>, voice: Voice) -> Runner {
        let stores = stores::open(&opening.stores);
        Runner { opening, wire, current, voice, stores, settings: Settings::default(), plan: None, worker: None }
    }

    /// Until there are no more orders.
    pub(super) fn run(mut self, orders: &Receiver<Order>) {
        for order in orders {
            match order {
                // What the worker knows changes only between tasks.
                Order::Settings(settings) => (self.settings, self.worker) = (settings, None),
                Order::Plan(plan) => (self.plan, self.worker) = (Some(plan), None),
                Order::Run { task, output } => self.one(&task, output),
            }
        }
    }

    fn one(&mut self, task: &Task, output: String) {
        let attempt = task.attempt;
        let watch = Arc::new(Watch::default());
        log::set_attempt(Some(attempt));
        self.current.set(Some((attempt, Arc::clone(&watch))));
        let outlet = Arc::new(Outlet::new(Arc::clone(&self.wire), attempt, output));
        let result = catch_unwind(AssertUnwindSafe(|| self.work(task, &outlet, &watch)));
        self.current.set(None);
        // Pipes have ended theirs; functions may have started others.
        descendants::end_descendants();
        let result = result.unwrap_or_else(|panic| {
            // It may have been left in any state.
            self.worker = None;
            Err(Failed { step: None, message: format!("the engine panicked: {}", words(&*panic)), fault: Fault::Flow })
        });
        match &result {
            Ok(done) => tracing::info!(pieces = done.pieces.len(), "the task is done"),
            Err(failed) => tracing::warn!(step = failed.step.as_deref(), "the task failed: {}", failed.message),
        }
        self.voice.say(&match result {
            Ok(done) => FromChild::Done { attempt, done: Box::new(done) },
            Err(failed) => FromChild::Failed { attempt, failed: Box::new(failed) },
        });
        log::set_attempt(None);
    }

    fn work(&mut self, task: &Task, outlet: &Arc<Outlet>, watch: &Arc<Watch>) -> Result<Done, Failed> {
        let worker = self.worker()?;
        let exchange: Arc<dyn Exchange> = Arc::clone(outlet) as Arc<dyn Exchange>;
        let mut done = worker.run(task, &exchange, watch)?;
        outlet.count(&mut done)?;
        let encoded = rmp_serde::to_vec_named(&done).map_err(|error| Failed {
            step: None,
            message: format!("what the task did cannot be encoded: {error}"),
            fault: Fault::Hopeless,
        })?;
        outlet.finish(Bytes::from(encoded))?;
        Ok(done)
    }

    fn worker(&mut self) -> Result<&Worker, Failed> {
        let worker = match self.worker.take() {
            Some(worker) => worker,
            None => self.make_worker()?,
        };
        Ok(self.worker.insert(worker))
    }

    fn make_worker(&self) -> Result<Worker, Failed> {
        let mut worker = Worker::new(WorkerOptions {
            base: self.opening.base.clone(),
            scratch: self.opening.scratch.clone(),
            memory: usize::try_from(self.settings.memory).unwrap_or(usize::MAX),
            seed: self.settings.seed,
            partitions: self.settings.partitions,
            stores: Arc::clone(&self.stores),
            run: self.opening.run.to_string(),
        });
        worker.set_results(self.settings.results.clone().map(|results| Results {
            namespace: results.namespace,
            flow: results.flow,
            ttl_seconds: results.ttl_seconds,
        }));
        if let Some(plan) = &self.plan {
            worker.set_plan(decode(plan)?);
        }
        Ok(worker)
    }
}

/// Unpacks a plan as the operator sends it.
fn decode(plan: &[u8]) -> Result<plan::Plan, Failed> {
    let unreadable = |error: String| Failed {
        step: None,
        message: format!("the plan cannot be read ({error}): are operator and executor of the same version?"),
        fault: Fault::Hopeless,
    };
    let bytes = zstd::bulk::decompress(plan, PLAN_LIMIT).map_err(|error| unreadable(error.to_string()))?;
    rmp_serde::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))
}

fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a word")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_plan_is_hopeless_and_says_why() {
        for bytes in [b"no zstd".to_vec(), zstd::bulk::compress(b"no plan", 1).unwrap()] {
            let failed = decode(&bytes).unwrap_err();
            assert!(failed.fault == Fault::Hopeless && failed.message.contains("of the same version?"), "{failed:?}");
        }
    }

    #[test]
    fn only_the_attempt_that_runs_is_stopped() {
        let attempt = |number| Attempt { task: plan::task::TaskId::Stage, number };
        let (current, watch) = (Current::default(), Arc::new(Watch::default()));
        assert!(!current.stop(attempt(1)));
        current.set(Some((attempt(2), Arc::clone(&watch))));
        assert!(!current.stop(attempt(1)) && !watch.stop.load(Ordering::Relaxed));
        assert!(current.stop(attempt(2)) && watch.stop.load(Ordering::Relaxed));
    }
}
