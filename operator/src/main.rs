//! `gleamflow-operator`.

use std::process::ExitCode;

use anyhow::Context;
use operator::config::{Arguments, Config};
use operator::operate::LeaseLost;
use tokio::signal::unix::{SignalKind, signal};

/// Exit code for a configuration that cannot be used.
const USAGE: u8 = 64;

fn main() -> ExitCode {
    let arguments = Arguments::read(std::env::args(), |variable| std::env::var(variable).ok());
    let filter = tracing_subscriber::EnvFilter::new(&arguments.log);
    tracing_subscriber::fmt().with_env_filter(filter).event_format(operator::logging::JsonLines).init();
    let config = match Config::read(&arguments.config) {
        Ok(config) => config,
        Err(error) => {
            tracing::error!(error = format!("{:#}", anyhow::Error::from(error)), "the configuration cannot be used");
            return ExitCode::from(USAGE);
        }
    };
    // Who ends with the lease is started again by Kubernetes later each time: where the API server is slow, soon nobody would lead.
    loop {
        match run(arguments.clone(), config.clone()) {
            Ok(()) => return ExitCode::SUCCESS,
            Err(error) if error.is::<LeaseLost>() => {
                tracing::warn!(error = format!("{error:#}"), "the operator begins anew, and stands by");
            }
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "the operator ends");
                return ExitCode::FAILURE;
            }
        }
    }
}

/// One life of the operator; nothing of it is left when it is over. Two threads: one may encode a plan while the other answers.
fn run(arguments: Arguments, config: Config) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("could not listen for SIGTERM")?;
        let shutdown = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
        };
        operator::operate::operate(arguments, config, shutdown).await
    })
}
