//! `gleamflow-executor executor|slot`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What runs on the nodes of a Gleamflow cluster. Started by the operator, not by hand.
#[derive(Debug, Parser)]
#[command(name = "gleamflow-executor", version)]
struct Arguments {
    #[command(subcommand)]
    program: Program,
}

#[derive(Debug, Subcommand)]
enum Program {
    /// Works for one run until the operator says that it may leave.
    Executor(executor::executor::Options),
    /// Runs tasks, one at a time; a child of `executor`.
    #[command(hide = true)]
    Slot,
}

fn main() -> ExitCode {
    match Arguments::parse().program {
        Program::Executor(options) => executor::executor::main(&options),
        Program::Slot => executor::slot::main(),
    }
}
