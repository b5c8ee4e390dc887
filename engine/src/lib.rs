//! Runs the tasks of a plan in this process: rows in, rows out, within a memory budget.
//!
//! ```text
//! source split ─► RowSink ─► RowSink ─► ... ─► shuffle writer      (one map task: a fused chain, one thread, no queue)
//! shuffle buckets ─► group / sort / join / combine ─► RowSink ─► ... ─► sink or store    (one reduce task)
//! ```
//!
//! Rows are pushed, as borrowed [`Val`]s, through chains of [`RowSink`]s; nothing is materialized between fused steps. Where
//! rows outlive a call they are MessagePack rows in [`Batch`]es, which a [`BatchLog`] keeps in memory or on disk.

pub(crate) mod aside;
pub mod batch;
pub mod cache;
pub mod cleanup;
pub mod codec;
pub mod error;
pub mod fold;
pub mod function;
pub mod key;
mod lock;
mod lull;
pub mod memory;
pub mod op;
mod outbox;
pub mod pipe;
pub mod print;
pub mod printf;
pub mod report;
pub mod row;
pub mod run;
mod scratch;
pub mod shuffle;
pub mod sink;
pub mod source;
pub mod spill;
pub mod store;
pub mod task;
pub mod text;
pub mod value;
pub mod worker;

pub use batch::{Batch, BatchLog, BatchReader};
pub use cleanup::Cleanup;
pub use error::{Error, Result};
pub use memory::{Budget, MemoryPool};
pub use row::{RowBuf, RowScratch, RowSink};
pub use store::Stores;
pub use task::{Origin, RunContext, TaskContext};
pub use value::{Val, Value};
