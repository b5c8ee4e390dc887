//! `gleamflow-executor agent|executor|slot`.

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

/// What runs on Gleamflow's nodes.
#[derive(Parser)]
#[command(name = "gleamflow-executor", version)]
enum Command {
    /// Holds what tasks leave for other tasks, one on each node.
    Agent,
}

fn main() -> ExitCode {
    let command = Command::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    let ended = match command {
        Command::Agent => executor::agent::run().map_err(anyhow::Error::from),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
