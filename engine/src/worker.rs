//! Runs single tasks of a plan in this process: what a slot of an executor does. The wire is behind [`Exchange`].
//!
//! ```text
//! Task ─► single (map, reduce, operate: the same chains as a run in one process) ─► pieces ─► Exchange::put
//!   └───► listing (inspect, split)    staging (stage, commit, discard)    results (look up, keep)
//! ```

mod failure;
mod listing;
mod results;
mod single;
mod staging;

use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use plan::Plan;
use plan::task::{Done, Failed, Held, Task, Work};

use crate::cache::Cache;
use crate::{Batch, Error, Result, RunContext, Stores};

pub use failure::failed;
pub use results::Results;

/// Where a task's pieces go and come from. Called from the task's thread; may block.
pub trait Exchange: Send + Sync + Debug {
    /// Takes one batch (a frame) of piece `piece` of the running attempt; blocks while there is no room.
    ///
    /// # Errors
    /// [`crate::Error::Exchange`] if it cannot be delivered.
    fn put(&self, piece: u32, batch: Batch) -> Result<()>;

    /// All frames of these pieces: one piece after the other, in order.
    ///
    /// # Errors
    /// [`crate::Error::Exchange`], from the iterator too.
    fn fetch(&self, pieces: &[Held], agents: &[String]) -> Result<Frames>;
}

/// Frames as they arrive.
pub type Frames = Box<dyn Iterator<Item = Result<Batch>> + Send>;

/// How a worker works.
#[derive(Clone, Debug)]
pub struct WorkerOptions {
    /// Relative paths of sources and sinks resolve here.
    pub base: PathBuf,
    /// For spill files.
    pub scratch: PathBuf,
    /// Bytes for tables, sort buffers and stores.
    pub memory: usize,
    pub seed: u64,
    pub partitions: Option<u32>,
    pub stores: Arc<Stores>,
    /// Names staged files: they can be told apart by it, and removed.
    pub run: String,
}

/// Seen from other threads while a task runs.
#[derive(Debug, Default)]
pub struct Watch {
    /// Set to stop the task soon.
    pub stop: Arc<AtomicBool>,
    /// Rows that entered the task so far.
    pub rows: AtomicU64,
    /// Bytes that it left so far.
    pub bytes: AtomicU64,
}

/// One slot's view of a run.
#[derive(Debug)]
pub struct Worker {
    options: WorkerOptions,
    plan: Option<Arc<Plan>>,
    results: Option<Results>,
    /// Remembers the results that tasks have read.
    cache: Option<Arc<Cache>>,
}

impl Worker {
    /// A worker that knows no plan yet: it can inspect sources.
    #[must_use]
    pub fn new(options: WorkerOptions) -> Worker {
        Worker { options, plan: None, results: None, cache: None }
    }

    /// Where results of earlier runs are, if they are kept.
    pub fn set_results(&mut self, results: Option<Results>) {
        self.cache = results.as_ref().map(|results| Arc::new(results.look(&self.options.base)));
        self.results = results;
    }

    /// What further tasks are of.
    pub fn set_plan(&mut self, plan: Plan) {
        self.plan = Some(Arc::new(plan));
    }

    /// Runs a task to its end, on this thread (give it a stack of [`crate::run::STACK`] bytes).
    ///
    /// # Errors
    /// What went wrong; nothing of the attempt counts then.
    pub fn run(&self, task: &Task, exchange: &Arc<dyn Exchange>, watch: &Arc<Watch>) -> std::result::Result<Done, Failed> {
        match &task.work {
            Work::Inspect { sources, versions } => {
                let versions = results::versions(versions, self.results.as_ref(), &self.options);
                listing::inspect(sources, versions, &self.options).map_err(|error| failed(&error))
            }
            Work::LookUp { recipes } => results::look_up(recipes, self.results.as_ref(), &self.options),
            Work::Keep { recipe, parts } => {
                let plan = self.plan(task).map_err(|error| failed(&error))?;
                let (options, results, agents) = (&self.options, self.results.as_ref(), &task.agents[..]);
                results::Keep { plan, options, results, recipe, parts, agents }.run(exchange.as_ref(), watch)
            }
            Work::Map { .. }
            | Work::Reduce { .. }
            | Work::Operate { .. }
            | Work::Split { .. }
            | Work::Stage { .. }
            | Work::Commit { .. }
            | Work::Discard { .. } => self.dispatch(task, exchange, watch).map_err(|error| failed(&error)),
        }
    }

    fn dispatch(&self, task: &Task, exchange: &Arc<dyn Exchange>, watch: &Arc<Watch>) -> Result<Done> {
        if let Work::Commit { manifest } = &task.work {
            return staging::commit(manifest, &self.options);
        }
        let (plan, cache) = (self.plan(task)?, self.cache.as_ref());
        single::Single { plan, options: &self.options, cache, task, exchange, watch }.run()
    }

    fn plan(&self, task: &Task) -> Result<&Arc<Plan>> {
        self.plan.as_ref().ok_or_else(|| Error::Plan(format!("task {} came before its plan", task.attempt)))
    }
}

/// What the operators of one task share.
fn context(plan: &Plan, options: &WorkerOptions, watch: &Watch) -> RunContext {
    let steps = || plan.graph.nodes.values().map(|node| node.step.clone());
    RunContext {
        seed: options.seed,
        prelude: plan.prelude.clone(),
        stop: Arc::clone(&watch.stop),
        stores: Arc::clone(&options.stores),
        set_aside: steps().map(|step| (step, AtomicU64::default())).collect(),
        spilled: steps().map(|step| (step, Arc::default())).collect(),
        bytes: steps().map(|step| (step, AtomicU64::default())).collect(),
        ..RunContext::new(&options.base, &options.scratch, options.memory / 2)
    }
}
