//! Why a sink failed.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::store::StoreError;

/// Why a sink failed.
#[derive(Debug, Error)]
pub enum SinkError {
    #[error("{place:?} already holds data ({name:?}); choose another path, or mode: replace or append")]
    AlreadyThere { place: String, name: String },
    #[error("another run is writing to {place:?}; wait for its end, or choose another path, or mode: replace or append")]
    Taken { place: String },
    #[error("it writes to {place:?}, where the sink of step {other:?} writes too; give each a directory of its own")]
    Shared { place: String, other: String },
    #[error("{path:?} is not a directory, which a sink writes into")]
    NotADirectory { path: PathBuf },
    #[error("replacing {path:?} would remove the directory of the flow itself; choose another path")]
    HoldsFlow { path: PathBuf },
    #[error("failed to {attempt} {path:?}")]
    File {
        attempt: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("what was staged in {path:?} is gone")]
    Gone { path: PathBuf },
    #[error("others changed {path:?} again and again while it was replaced")]
    Contended { path: PathBuf },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("failed to write {name:?}")]
    Parquet {
        name: String,
        #[source]
        source: parquet::errors::ParquetError,
    },
    #[error(transparent)]
    Format(#[from] crate::printf::FormatError),
    #[error("column {column:?} holds both {a} and {b}, but a Parquet column has one type; convert the values in a map before")]
    Mixed { column: String, a: &'static str, b: &'static str },
    #[error("tasks made rows of {a} and of {b} fields, which have no common header; name them with fields")]
    Widths { a: usize, b: usize },
    #[error("the files in {place:?} are not made of lines")]
    NoLines { place: String },
    #[error(transparent)]
    Row(#[from] RowError),
}

/// Why a row does not fit its sink.
#[derive(Debug, Error)]
pub enum RowError {
    #[error("field {field} has a tab or a line end, which tsv cannot carry")]
    Separator {
        /// 1-based.
        field: usize,
    },
    #[error("the row has {fields} fields, but only {names} are named")]
    Unnamed { fields: usize, names: usize },
    #[error("the row has {fields} fields, but the header, made from the first row, has {names}; name them with fields")]
    Uneven { fields: usize, names: usize },
    #[error("field {field} has no JSON form")]
    Json {
        /// 1-based.
        field: usize,
        #[source]
        source: crate::text::JsonError,
    },
    #[error(transparent)]
    Misfit(#[from] crate::printf::MisfitError),
    #[error("field {field} is larger than a Parquet file can hold")]
    TooLarge {
        /// 1-based.
        field: usize,
    },
}

/// Makes an error of an attempt on a file.
pub(super) fn on<'a>(attempt: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> SinkError + 'a {
    move |source| SinkError::File { attempt, path: path.to_path_buf(), source }
}
