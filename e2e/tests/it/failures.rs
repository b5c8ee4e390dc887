//! The design's table of failures, by really killing, on flows that stand at a moment of the test's choosing.
//!
//! Every case ends in the same way: the exact rows or `Failed` with the reason, only lost work done again, nothing left.

mod fleet;
mod hard;
mod kill;
mod leftovers;
mod matrix;
mod memory;
mod random;
mod space;
mod stores;

use crate::ClusterTest;

/// These share the release of the flows' tests; the last changes it, and changes it back.
pub(crate) fn all() -> Vec<(&'static str, ClusterTest)> {
    [matrix::all(), memory::all(), random::all(), stores::all(), space::all()].concat()
}
