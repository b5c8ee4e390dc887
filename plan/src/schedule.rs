//! How a plan becomes tasks: which unit runs when, what flows on without being stored, how a shuffle is shared, which
//! joins may do without theirs. Pure facts over a [`Plan`](crate::Plan), used alike by the local engine and by the master of a cluster; never decides where or when.

mod forward;
mod order;
mod share;
mod switch;

pub use forward::{Forward, forwards};
pub use order::{Cyclic, Unit, kept, last_reads, side_inputs, stage_nodes, unit_reads, units};
pub use share::{
    Apart, FINE_BUCKETS, Share, TASK_BYTES, apart, bounds, buckets, coalesce, exact_partitions, free_tasks, is_sort, mark,
    part_of, parts_by_key, share, told_shares,
};
pub use switch::{BROADCAST_BYTES, Stays, Switch, leg_channels, leg_names, switches};
