//! What can go wrong with a function of a flow.

use thiserror::Error;

/// Why a function could not be used, or failed on a row.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FunctionError {
    /// The text is no function that LuaJIT can compile.
    #[error("{place} does not compile: {message}")]
    Compile { place: Place, message: String },
    /// Something raised while `spec.lua` ran.
    #[error("{place} failed: {message}")]
    Prelude { place: Place, message: String },
    /// The function raised, or gave what cannot be a row.
    #[error("{place} failed: {message}")]
    Raised { place: Place, message: String },
    /// A side input is not what its `as` says.
    #[error("the side input {name:?} {message}")]
    Side { name: String, message: String },
    /// A fold gave another number of values than it was given.
    #[error("{place} must return {expected} values, as many as each side has, but returned {found}")]
    FoldWidth { place: Place, expected: usize, found: usize },
    /// A value is too long to be handed over.
    #[error("a value of {bytes} bytes is too long for a function")]
    TooLong { bytes: usize },
    /// LuaJIT itself could not be set up.
    #[error("failed to set up Lua: {0}")]
    Setup(String),
}

/// Where in Lua text something happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Where the function stands in the flow file, empty where unknown.
    pub file: String,
    /// Whether it is `spec.lua` and not the step's own function.
    pub prelude: bool,
    /// 1-based, from the first line of the function or of `spec.lua`.
    pub line: Option<u32>,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let what = if self.prelude { "spec.lua" } else { "the function" };
        write!(f, "{what}")?;
        if !self.prelude && !self.file.is_empty() {
            write!(f, " at {}", self.file)?;
        }
        match self.line {
            Some(line) => write!(f, ", line {line},"),
            None => Ok(()),
        }
    }
}
