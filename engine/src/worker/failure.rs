//! What a failed task tells the master: the whole message, and whose fault it is.

use plan::task::{Failed, Fault};

use crate::Error;
use crate::cache::CacheError;
use crate::sink::SinkError;
use crate::source::SourceError;
use crate::store::StoreError;

/// Who is at fault in a step.
fn blame(source: &(dyn std::error::Error + 'static)) -> Fault {
    if let Some(error) = source.downcast_ref::<SinkError>() {
        return blame_sink(error);
    }
    let storage = source.is::<SourceError>() || source.is::<StoreError>() || source.is::<CacheError>();
    if storage { Fault::Storage } else { Fault::Flow }
}

fn blame_sink(error: &SinkError) -> Fault {
    match error {
        // What is in the way of an output stays there, however often it is tried.
        SinkError::AlreadyThere { .. }
        | SinkError::NotADirectory { .. }
        | SinkError::HoldsFlow { .. }
        | SinkError::Shared { .. }
        | SinkError::Store(StoreError::ElsewhereFile { .. }) => Fault::Hopeless,
        SinkError::File { .. }
        | SinkError::Gone { .. }
        | SinkError::Contended { .. }
        | SinkError::Taken { .. }
        | SinkError::Store(_)
        | SinkError::Parquet { .. } => Fault::Storage,
        SinkError::Format(_)
        | SinkError::Mixed { .. }
        | SinkError::Widths { .. }
        | SinkError::NoLines { .. }
        | SinkError::Row(_) => Fault::Flow,
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
        Error::Spill { step, .. } => (step.clone(), Fault::Infrastructure),
        Error::Stdout(_) | Error::System { .. } => (None, Fault::Infrastructure),
    };
    Failed { step, message: plan::in_full(error), fault }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn a_storage_that_refuses_is_told_from_a_function_that_fails() {
        #[track_caller]
        fn check(source: impl Into<Box<dyn std::error::Error + Send + Sync>>, expected: &Fault) {
            let failed = failed(&Error::in_step("a", source));
            assert_eq!((&failed.fault, failed.step.as_deref()), (expected, Some("a")), "{}", failed.message);
        }
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        check(SinkError::File { attempt: "write", path: PathBuf::from("out"), source: full() }, &Fault::Storage);
        check(SinkError::Store(StoreError::NoBucketNamed { url: "s3://".to_owned() }), &Fault::Storage);
        check(SourceError::NothingFound { path: "in".to_owned() }, &Fault::Storage);
        check(SourceError::Read { file: "in".into(), source: full() }, &Fault::Storage);
        check(SinkError::Widths { a: 1, b: 2 }, &Fault::Flow);
        check("the function raised", &Fault::Flow);
        check(SinkError::AlreadyThere { place: "out".to_owned(), name: "a".to_owned() }, &Fault::Hopeless);
    }
}
