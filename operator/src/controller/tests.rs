//! The controller under a simulated API server: deterministic, seeded; every property is checked after every step.

mod denied;
mod fake_master;
mod fake_server;
mod flows;
mod judge;
mod meddling;
mod planted;
mod random;
mod records;
mod retention;
mod simulation;
