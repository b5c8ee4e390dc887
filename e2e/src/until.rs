//! Waiting for what no command can wait for: a process that has just been started, a file that it makes.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

const PAUSE: Duration = Duration::from_millis(50);

/// Tries again until it works; past the deadline, the last error is the answer.
pub(crate) fn until<T>(limit: Duration, what: &str, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        match attempt() {
            Ok(value) => return Ok(value),
            Err(error) if Instant::now() > deadline => {
                return Err(error).with_context(|| format!("{what}: not within {} s", limit.as_secs()));
            }
            Err(_) => thread::sleep(PAUSE),
        }
    }
}
