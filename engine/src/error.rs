//! Why a run failed: one error type at the engine's surface, made of the steps' own.

use thiserror::Error;

/// The result of engine work.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a run failed.
#[derive(Debug, Error)]
pub enum Error {
    /// Something went wrong in a step of the flow; `source` says what.
    #[error("step {step:?} failed{}{}", at_clause(.origin.as_ref()), row_clause(.row.as_ref()))]
    Step {
        /// The user's step.
        step: String,
        /// The input it was at: file and line, where known.
        origin: Option<String>,
        /// A preview of the row it was at.
        row: Option<String>,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The run was told to stop (a signal, or another task's failure).
    #[error("the run was interrupted")]
    Interrupted,
    /// Standard output cannot take rows.
    #[error("failed to write rows to standard output")]
    Stdout(#[source] std::io::Error),
    /// Spilled rows or intermediate results cannot be written or read back.
    #[error("{}failed to {attempt} rows that do not fit into memory, in {dir:?}", step_clause(.step.as_ref()))]
    Spill {
        /// The step that made the rows, where they are one step's.
        step: Option<String>,
        attempt: &'static str,
        dir: std::path::PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// Bytes that should be rows are not: a damaged spill file or message.
    #[error("damaged rows: {0}")]
    Corrupt(&'static str),
    /// The plan itself cannot be run; a bug in the planner, not in the flow.
    #[error("invalid plan: {0}")]
    Plan(String),
    /// Pieces cannot be handed on or fetched; `lost`: those whose makers must run again.
    #[error("failed to {attempt}")]
    Exchange {
        attempt: String,
        lost: Vec<plan::task::Attempt>,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The machine refused something that the engine needs.
    #[error("failed to {attempt}")]
    System {
        attempt: String,
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    /// An error of a step, without a row.
    pub fn in_step(step: &str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        Error::Step { step: step.to_owned(), origin: None, row: None, source: source.into() }
    }
}

fn step_clause(step: Option<&String>) -> String {
    step.map_or_else(String::new, |step| format!("step {step:?} "))
}

fn at_clause(origin: Option<&String>) -> String {
    origin.map_or_else(String::new, |origin| format!(" at {origin}"))
}

fn row_clause(row: Option<&String>) -> String {
    row.map_or_else(String::new, |row| format!(" on row {row}"))
}
