//! Runs single tasks of a plan in this process: what a slot of an executor does. The wire is behind [`Exchange`].

use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use plan::Plan;
use plan::task::{Done, Failed, Held, Task};

use crate::{Batch, Result, Stores};

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
    /// Bytes that it read and wrote so far.
    pub bytes: AtomicU64,
}

/// One slot's view of a run.
#[derive(Debug)]
pub struct Worker {
    options: WorkerOptions,
    plan: Option<Plan>,
}

impl Worker {
    /// A worker that knows no plan yet: it can inspect sources.
    #[must_use]
    pub fn new(options: WorkerOptions) -> Worker {
        Worker { options, plan: None }
    }

    /// What further tasks are of.
    pub fn set_plan(&mut self, plan: Plan) {
        self.plan = Some(plan);
    }

    /// Runs a task to its end, on this thread (give it a stack of [`crate::run::STACK`]).
    ///
    /// # Errors
    /// What went wrong; nothing of the attempt counts then.
    pub fn run(&self, task: &Task, exchange: &Arc<dyn Exchange>, watch: &Arc<Watch>) -> std::result::Result<Done, Failed> {
        let _ = (&self.options, &self.plan, task, exchange, watch);
        Err(Failed { message: "not built yet".to_owned(), ..Failed::default() })
    }
}
