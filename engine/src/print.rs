//! Where the words of user code go (`print`, the standard error of pipes): to this process's standard error, unless the
//! program takes them.

use std::io::Write;
use std::sync::OnceLock;

/// Takes what a step's user code wrote; it need not end with a line.
pub type Taker = fn(step: &str, text: &[u8]);

static TAKER: OnceLock<Taker> = OnceLock::new();

/// From now on `taker` gets the words. The first one stays.
pub fn take(taker: Taker) {
    // A second taker of the same process would be one of the same program.
    let _ = TAKER.set(taker);
}

pub(crate) fn write(step: &str, text: &[u8]) {
    match TAKER.get() {
        Some(taker) => taker(step, text),
        // Where our own standard error is gone there is no one to tell; that is no reason to fail a flow.
        None => drop(std::io::stderr().lock().write_all(text)),
    }
}
