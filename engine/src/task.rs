//! What a task knows: the run it belongs to, which task it is, and where in its input it stands.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::{Error, MemoryPool, Result, Stores};

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
    pub stop: AtomicBool,
    /// Rows set aside by `onError`, per step.
    pub set_aside: BTreeMap<String, AtomicU64>,
    /// Bytes spilled per step.
    pub spilled: BTreeMap<String, AtomicU64>,
}

impl RunContext {
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
}

/// Where in its input a task stands. Cheap to set per row; turned into text only for an error.
#[derive(Default)]
pub struct Origin {
    file: RefCell<Option<Arc<str>>>,
    line: Cell<Option<u64>>,
    offset: Cell<u64>,
    count_lines: RefCell<Option<Box<LinesBefore>>>,
}

/// How many lines end before an offset of the file that was entered; `None` if it cannot be told any more.
pub type LinesBefore = dyn Fn(u64) -> Option<u64>;

impl Origin {
    /// A new file begins.
    pub fn enter(&self, file: Option<Arc<str>>) {
        *self.file.borrow_mut() = file;
        self.line.set(None);
        *self.count_lines.borrow_mut() = None;
    }

    /// A new file begins whose rows are told apart by their offset; lines are counted only for an error.
    pub fn enter_by_offset(&self, file: Arc<str>, count_lines: Box<LinesBefore>) {
        *self.file.borrow_mut() = Some(file);
        *self.count_lines.borrow_mut() = Some(count_lines);
    }

    /// The offset in the file at which the row now pushed begins.
    #[inline]
    pub fn set_offset(&self, offset: u64) {
        self.offset.set(offset);
    }

    /// The 1-based line (or record) now pushed.
    pub fn set_line(&self, line: u64) {
        self.line.set(Some(line));
    }

    /// `file:line`, or what of it is known.
    #[must_use]
    pub fn describe(&self) -> Option<String> {
        let file = self.file.borrow();
        let file = file.as_ref()?;
        let line = match &*self.count_lines.borrow() {
            Some(count_lines) => match count_lines(self.offset.get()) {
                Some(before) => Some(before + 1),
                None => return Some(format!("{file} (byte {})", self.offset.get())),
            },
            None => self.line.get(),
        };
        Some(line.map_or_else(|| file.to_string(), |line| format!("{file}:{line}")))
    }
}

impl std::fmt::Debug for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Origin").field("file", &self.file).field("line", &self.line).field("offset", &self.offset).finish()
    }
}

impl TaskContext {
    /// A task of a run.
    #[must_use]
    pub fn new(run: Arc<RunContext>, partition: usize) -> TaskContext {
        TaskContext { run, partition, origin: Origin::default() }
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
