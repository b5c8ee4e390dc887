//! What commands print: results on standard output, where failing to is an error, and everything else on standard error.

use std::io::{self, Write};
use std::process::ExitCode;

use crate::failure::Failure;

/// Prints a result, all of it, now.
pub(crate) fn print(text: impl AsRef<[u8]>) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_ref()).and_then(|()| stdout.flush()).map_err(Failure::Stdout)
}

/// Says something on standard error. Where that is closed there is nobody to tell, and the exit code has to do.
pub(crate) fn tell(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Shows what clap has to say instead of a request: help and version on standard output, errors (exit 2) on standard error.
pub(crate) fn clap_told(told: &clap::Error) -> ExitCode {
    match told.print().and_then(|()| io::stdout().flush()) {
        Ok(()) => u8::try_from(told.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from),
        Err(error) => Failure::Stdout(error).tell(),
    }
}
