//! The log: on standard error, warnings and worse unless `GLEAMFLOW_LOG` says otherwise (`info`, `engine=debug`, ...).

use std::io::{self, IsTerminal as _};

use tracing_subscriber::filter::{EnvFilter, LevelFilter};

/// Starts it. A filter that makes no sense is told and left out.
pub(crate) fn start() {
    let filter =
        EnvFilter::builder().with_env_var("GLEAMFLOW_LOG").with_default_directive(LevelFilter::WARN.into()).from_env_lossy();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .init();
}
