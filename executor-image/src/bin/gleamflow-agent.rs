//! `gleamflow-agent`: holds what tasks leave for other tasks, one on each node. A program of its own, for it idles on every node
//! of a cluster: with the engine linked in it would hold twice the memory.

use std::process::ExitCode;

use clap::Parser;

/// Holds the partitions of shuffles for the executors of its node. Started by the operator, not by hand.
#[derive(Debug, Parser)]
#[command(name = "gleamflow-agent", version)]
struct Arguments {}

fn main() -> ExitCode {
    let Arguments {} = Arguments::parse();
    executor::log::start(Vec::new());
    match executor::agent::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{:#}", anyhow::Error::from(error));
            ExitCode::FAILURE
        }
    }
}
