//! Operators of the reduce side (and the combine and sort of the map side): rows pushed in, rows pushed out, any size of data
//! within a budget.
//!
//! ```text
//! SortBuffer --full--> SortedRun ... --merge--> rows in order          sort, top
//! KeyTable   --full--> SortedRun ... --merge--> equal keys adjacent    combine, group, coGroup, join
//! ```
//!
//! An operator counts what it holds itself against [`Allowance::budget`]; what it spills is in logs that draw on the run's pool.
//! `finish` pushes an operator's results into the next sink but does not finish that sink: its owner does, once.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use thiserror::Error;

use crate::batch::BATCH_BYTES;
use crate::key::ColumnError;
use crate::{BatchLog, Error, MemoryPool, Result, RowSink, Val, codec};

mod accumulator;
pub(crate) mod alone;
pub mod combine;
mod gather;
pub mod group;
mod groups;
pub mod join;
pub mod limit;
mod merge;
pub mod probe;
mod product;
pub(crate) mod regroup;
mod slots;
pub mod sort;
mod sort_buffer;
pub mod sorted_run;
mod table;
pub mod top;

/// What one operator of one task may use.
#[derive(Clone, Debug)]
pub struct Allowance {
    /// The step that errors name.
    pub step: String,
    /// Bytes that the operator may hold in its own tables and buffers before it spills.
    pub budget: usize,
    /// What spilled rows stay in, as long as it has room.
    pub memory: Arc<MemoryPool>,
    /// Where they go then.
    pub dir: PathBuf,
    /// Counts bytes that went to disk.
    pub spilled: Arc<AtomicU64>,
}

/// What went wrong in an operator; wrapped in [`Error::Step`].
#[derive(Debug, Error)]
pub enum OperatorError {
    /// What one key's rows make must fit into memory and does not.
    #[error("the list of key {key} does not fit into memory: it is larger than {bytes} bytes")]
    ListTooLarge { key: String, bytes: usize },
    /// What one key's values fold into must fit into memory and does not.
    #[error("the folded values of key {key} do not fit into memory: they take {bytes} bytes")]
    ValuesTooLarge { key: String, bytes: usize },
    /// A broadcast side of a join must fit into memory and does not.
    #[error("a broadcast side of a join does not fit into memory: it is larger than {bytes} bytes")]
    SideTooLarge { bytes: usize },
}

impl Allowance {
    /// An empty log for what is spilled.
    fn log(&self) -> BatchLog {
        BatchLog::new(&self.memory, &self.dir).of_step(&self.step)
    }

    /// Ends a log's writing.
    fn seal(&self, log: &mut BatchLog) -> Result<()> {
        log.seal()?;
        self.spilled.fetch_add(log.spilled_bytes(), Ordering::Relaxed);
        Ok(())
    }

    /// How large the batches of spilled rows are: many must be open at once within the budget.
    fn batch_bytes(&self) -> usize {
        (self.budget / 32).clamp(4 << 10, BATCH_BYTES)
    }

    /// How many runs may be read at once; each holds a batch, twice while it is decompressed.
    fn fan_in(&self) -> usize {
        (self.budget / (2 * self.batch_bytes())).clamp(4, 128)
    }

    /// The error of a row that lacks a field.
    #[cold]
    fn no_column(&self, row: &[Val<'_>], source: ColumnError) -> Error {
        Error::Step { step: self.step.clone(), origin: None, row: Some(codec::preview(row)), source: Box::new(source) }
    }

    /// The error of a group whose list is too large.
    #[cold]
    fn list_too_large(&self, key: &[Val<'_>], bytes: usize) -> Error {
        Error::in_step(&self.step, OperatorError::ListTooLarge { key: codec::preview(key), bytes })
    }
}

/// How many rows an operator pushes before it asks its sink again whether more are wanted.
const ASK_EVERY: usize = 256;

/// Asks a sink now and then whether it wants more rows.
struct Emitter<'s> {
    sink: &'s mut dyn RowSink,
    pushed: usize,
}

impl<'s> Emitter<'s> {
    fn new(sink: &'s mut dyn RowSink) -> Emitter<'s> {
        Emitter { sink, pushed: 0 }
    }

    /// Pushes a row; false if no more are wanted.
    fn push(&mut self, row: &[Val<'_>]) -> Result<bool> {
        self.sink.push(row)?;
        self.pushed += 1;
        Ok(!self.pushed.is_multiple_of(ASK_EVERY) || self.sink.wants_more())
    }
}

#[cfg(test)]
pub(crate) mod trial;
