//! The controller under a simulated API server: deterministic, seeded; every property is checked after every step.

mod fake_master;
mod fake_server;
mod flows;
mod records;
mod simulation;
