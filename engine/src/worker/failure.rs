//! What a failed task tells the master: the whole message, and whose fault it is.

use std::error::Error as _;

use plan::task::{Failed, Fault};

use crate::Error;
use crate::sink::SinkError;

/// Who is at fault in a step. What is in the way of an output stays there, however often it is tried.
fn blame(source: &(dyn std::error::Error + 'static)) -> Fault {
    match source.downcast_ref::<SinkError>() {
        Some(
            SinkError::AlreadyThere { .. }
            | SinkError::NotADirectory { .. }
            | SinkError::HoldsFlow { .. }
            | SinkError::Path { .. },
        ) => Fault::Hopeless,
        Some(_) | None => Fault::Flow,
    }
}

/// The report of an error.
#[must_use]
pub fn failed(error: &Error) -> Failed {
    let (step, fault) = match error {
        Error::Step { step, source, .. } => (Some(step.clone()), blame(source.as_ref())),
        Error::Interrupted => (None, Fault::Stopped),
        Error::Plan(_) => (None, Fault::Hopeless),
        Error::Exchange { lost, .. } if !lost.is_empty() => (None, Fault::Lost(lost.clone())),
        Error::Exchange { .. } | Error::Corrupt(_) => (None, Fault::Infrastructure),
        Error::Stdout(_) | Error::Spill { .. } | Error::System { .. } => (None, Fault::Infrastructure),
    };
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        message.push_str(": ");
        message.push_str(&source.to_string());
        cause = source.source();
    }
    Failed { step, message, fault }
}
