//! Why rows cannot be had from a source, in words that name the file.

use std::io;
use std::sync::Arc;

use thiserror::Error;

use crate::store::StoreError;

/// Why a source has no rows to give.
#[derive(Debug, Error)]
pub enum SourceError {
    #[error("nothing found at {path:?}; say allowEmpty: true if that is right")]
    NothingFound { path: String },
    #[error("a result in the cache has no files to list")]
    Cached,
    #[error("no step gave any path to read; say allowEmpty: true if that is right")]
    NoPaths,
    #[error("{path:?} is not a valid pattern")]
    Pattern {
        path: String,
        #[source]
        source: glob::PatternError,
    },
    #[error("{url:?} has a wildcard, but what is behind http cannot be listed; name each file")]
    WildcardOverHttp { url: String },
    #[error("{path:?} is no path: a URL must be text in UTF-8")]
    NotText { path: String },
    #[error(
        "the name of the file {path:?} is not UTF-8, and a pattern cannot name it; rename it, or read the directory as a whole"
    )]
    Nameless { path: String },
    #[error("failed to look for {path:?}")]
    Look {
        path: String,
        #[source]
        source: io::Error,
    },
    #[error("failed to read {file}")]
    Read {
        file: Arc<str>,
        #[source]
        source: io::Error,
    },
    #[error("failed to decompress {file}: it is damaged or cut off")]
    Decompress {
        file: Arc<str>,
        #[source]
        source: io::Error,
    },
    #[error("failed to read {file}: it was cut off while the flow ran")]
    Shrunk { file: Arc<str> },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{place} is malformed: {problem}")]
    Malformed { place: String, problem: String },
    #[error("{file} is malformed")]
    Damaged {
        file: Arc<str>,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("{file} has other columns than {first}, the first file of this source: ({found}), not ({expected})")]
    OtherColumns { file: Arc<str>, first: Arc<str>, found: String, expected: String },
    #[error("{file} has no column {column:?}; it has ({found})")]
    NoColumn { file: Arc<str>, column: String, found: String },
    #[error("column {column:?} of {file} has a type that a flow cannot read: {kind}")]
    ColumnType { file: Arc<str>, column: String, kind: String },
    #[error("{place} takes {bytes} bytes or more; a single row must fit into the memory of {limit} bytes (--memory)")]
    TooLarge { place: String, bytes: u64, limit: usize },
}
