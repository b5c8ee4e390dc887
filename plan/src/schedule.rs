//! How a plan becomes tasks: which unit runs when, what flows on without being stored, how a shuffle is shared. Pure facts
//! over a [`Plan`](crate::Plan), used alike by the local engine and by the master of a cluster; never decides where or when.

mod forward;
mod order;
mod share;

pub use forward::{Forward, forwards};
pub use order::{Cyclic, Unit, kept, last_reads, side_inputs, stage_nodes, unit_reads, units};
pub use share::{FINE_BUCKETS, TASK_BYTES, bounds, buckets, coalesce, exact_partitions, free_tasks, is_sort};
