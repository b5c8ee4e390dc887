//! The operator: turns `GleamFlow` objects into runs, and runs them.
//!
//! ```text
//!  API server ──watch──► observe ─► World ─► decide (pure) ─► Actions ─► act ──► API server        one flow at a time
//!                                     ▲                          │
//!                                     └── Progress ── master ◄───┘ start, stop
//!                                                      │
//!                         run::Machine (pure): events in, commands out, a virtual clock             one run at a time
//!                                                      │
//!                                     gRPC: slots of executors, agents
//! ```
//!
//! Two state machines without I/O hold all rules: `decide` for objects, `run::Machine` for tasks. Everything else carries
//! what they say to the API server, to slots and to agents.

pub mod accept;
pub mod agents;
pub mod authority;
pub mod cache;
pub mod config;
pub mod controller;
pub mod decide;
pub mod events;
pub mod http;
pub mod lead;
pub mod logging;
pub mod manifest;
pub mod master;
pub mod metrics;
pub mod naming;
pub mod operate;
pub mod queue;
pub mod record;
pub mod review;
pub mod server;
pub mod view;
pub mod watch;
