//! The invariants of graphs and plans, checked after every pass in tests and debug builds.
