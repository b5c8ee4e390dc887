//! The invariants of graphs and plans, checked after every pass in tests and debug builds.
//!
//! They are found again from the document alone, by other code than the planner's, so that a wrong pass does not excuse itself.

mod graph;
mod needs;
mod plan;

pub use graph::check_graph;
pub use plan::check_plan;
