//! The master: runs the tasks of every run on the slots of its executors, and keeps track of what agents hold.

pub mod api;
pub mod machine;
pub mod service;
