//! What a task knows: the run it belongs to, which task it is, and where in its input it stands.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::op::Allowance;
use crate::pipe::Siblings;
use crate::{Cleanup, Error, MemoryPool, Result, Stores};

/// What all tasks of a run share.
#[derive(Debug)]
pub struct RunContext {
    /// Seeds `math.random` together with step and partition.
    pub seed: u64,
    /// `spec.lua`.
    pub prelude: String,
    /// Relative paths of sources and sinks resolve here.
    pub base: PathBuf,
    /// Spill files and staged output of this run; removed at its end.
    pub scratch: PathBuf,
    /// Worker threads.
    pub threads: usize,
    /// For tables, sort buffers and stores; see `task_budget`.
    pub memory: Arc<MemoryPool>,
    /// The object stores of sources and sinks.
    pub stores: Arc<Stores>,
    /// Set to stop every task soon.
    pub stop: Arc<AtomicBool>,
    /// What has to be removed where the process ends without waiting for its tasks.
    pub cleanup: Arc<Cleanup>,
    /// Rows set aside by `onError`, per step.
    pub set_aside: BTreeMap<String, AtomicU64>,
    /// Bytes spilled per step.
    pub spilled: BTreeMap<String, Arc<AtomicU64>>,
    /// Bytes read, written or shuffled per step.
    pub bytes: BTreeMap<String, AtomicU64>,
}

impl RunContext {
    /// A run with one thread, in `base`, whose spilled rows go to `scratch`: without settings of object stores, and nothing
    /// is counted by step.
    #[must_use]
    pub fn new(base: impl Into<PathBuf>, scratch: impl Into<PathBuf>, memory: usize) -> RunContext {
        RunContext {
            seed: 0,
            prelude: String::new(),
            base: base.into(),
            scratch: scratch.into(),
            threads: 1,
            memory: MemoryPool::new(memory),
            stores: Stores::new([]),
            stop: Arc::default(),
            cleanup: Arc::default(),
            set_aside: BTreeMap::new(),
            spilled: BTreeMap::new(),
            bytes: BTreeMap::new(),
        }
    }

    /// What one operator of a step may use, in one task.
    #[must_use]
    pub fn allowance(&self, step: &str) -> Allowance {
        Allowance {
            step: step.to_owned(),
            budget: self.task_budget(),
            memory: Arc::clone(&self.memory),
            dir: self.scratch.clone(),
            spilled: self.spilled.get(step).map(Arc::clone).unwrap_or_default(),
        }
    }

    /// Counts bytes that a step read, wrote or shuffled.
    pub fn count_bytes(&self, step: &str, bytes: u64) {
        if let Some(count) = self.bytes.get(step) {
            count.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// Bytes that one task's operator may hold before it spills, whatever the others do.
    #[must_use]
    pub fn task_budget(&self) -> usize {
        (self.memory.limit() / 2 / self.threads.max(1)).max(1 << 20)
    }
}

/// One task: a partition of a stage, on one thread. Shared by the steps of its chain.
#[derive(Debug)]
pub struct TaskContext {
    pub run: Arc<RunContext>,
    /// Which partition (0-based) the task makes; part of the seed of `math.random`.
    pub partition: usize,
    /// Where the row now pushed came from; sources keep it current.
    pub origin: Origin,
    /// Its commands that run.
    pub(crate) pipes: Siblings,
}

/// Where in its input a task stands. Cheap to set per row; turned into text only for an error.
#[derive(Debug, Default)]
pub struct Origin {
    place: RefCell<Option<Rc<Place>>>,
    /// An offset where the place counts lines, else a 1-based line; 0: not known.
    at: Cell<u64>,
}

/// A file that rows come from.
struct Place {
    file: Arc<str>,
    count_lines: Option<Box<LinesBefore>>,
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.file.fmt(f)
    }
}

/// How many lines end before an offset of the file that was entered; `None` if it cannot be told any more.
pub type LinesBefore = dyn Fn(u64) -> Option<u64>;

/// A place in a task's input.
#[derive(Clone, Debug, Default)]
pub struct Mark {
    place: Option<Rc<Place>>,
    at: u64,
}

impl Origin {
    /// A new file begins.
    pub fn enter(&self, file: Option<Arc<str>>) {
        *self.place.borrow_mut() = file.map(|file| Rc::new(Place { file, count_lines: None }));
        self.at.set(0);
    }

    /// A new file begins whose rows are told apart by their offset; lines are counted only for an error.
    pub fn enter_by_offset(&self, file: Arc<str>, count_lines: Box<LinesBefore>) {
        *self.place.borrow_mut() = Some(Rc::new(Place { file, count_lines: Some(count_lines) }));
        self.at.set(0);
    }

    /// The offset in the file at which the row now pushed begins.
    #[inline]
    pub fn set_offset(&self, offset: u64) {
        self.at.set(offset);
    }

    /// The 1-based line (or record) now pushed.
    #[inline]
    pub fn set_line(&self, line: u64) {
        self.at.set(line);
    }

    /// Where it stands now, for rows that are held back a while.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark { place: self.place.borrow().clone(), at: self.at.get() }
    }

    /// Stands again where it stood.
    pub fn restore(&self, mark: &Mark) {
        self.place.borrow_mut().clone_from(&mark.place);
        self.at.set(mark.at);
    }

    /// `file:line`, or what of it is known.
    #[must_use]
    pub fn describe(&self) -> Option<String> {
        let place = self.place.borrow();
        let Place { file, count_lines } = place.as_deref()?;
        let line = match count_lines {
            Some(count_lines) => match count_lines(self.at.get()) {
                Some(before) => before + 1,
                None => return Some(format!("{file} (byte {})", self.at.get())),
            },
            None => self.at.get(),
        };
        Some(if line == 0 { file.to_string() } else { format!("{file}:{line}") })
    }
}

impl TaskContext {
    /// A task of a run.
    #[must_use]
    pub fn new(run: Arc<RunContext>, partition: usize) -> TaskContext {
        TaskContext { run, partition, origin: Origin::default(), pipes: Siblings::default() }
    }

    /// Whether the run goes on; to be asked per block of rows.
    ///
    /// # Errors
    /// [`Error::Interrupted`] if it was stopped.
    pub fn check_running(&self) -> Result<()> {
        if self.run.stop.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { Ok(()) }
    }

    /// An error of a step at the row now pushed.
    pub fn fail(
        &self,
        step: &str,
        row: Option<&[crate::Val<'_>]>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Error {
        Error::Step {
            step: step.to_owned(),
            origin: self.origin.describe(),
            row: row.map(crate::codec::preview),
            source: source.into(),
        }
    }
}
