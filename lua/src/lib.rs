//! Function text: parsed, checked, and searched for what can run as native code. Runs nothing.

use std::collections::BTreeSet;

/// A parsed function expression, or a prelude.
#[derive(Debug, Clone)]
pub struct ParsedFunction {
    /// Names of the parameters.
    pub params: Vec<String>,
    /// Whether it takes `...`.
    pub vararg: bool,
}

/// Lua that does not compile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SyntaxError {
    /// 1-based, counted from the text's first line.
    pub line: u32,
    /// What is wrong, without the place.
    pub message: String,
}

/// What a function is used for: decides what its results mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Map,
    FlatMap,
    Filter,
    ForEach,
    Split,
    Fold,
    Operate,
}

/// How a function runs, and why not faster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tier {
    /// As native code with Lua's semantics.
    Native,
    /// In batches inside LuaJIT.
    Batched { why: String },
    /// One call per row.
    PerRow { why: String },
}

/// Parses a step's function: the text of one function expression.
///
/// # Errors
/// [`SyntaxError`] where it is not exactly that.
pub fn parse(_source: &str) -> Result<ParsedFunction, SyntaxError> {
    unimplemented!("helper lua")
}

/// Checks `spec.lua`: a chunk of statements.
///
/// # Errors
/// [`SyntaxError`] where it does not compile.
pub fn parse_prelude(_source: &str) -> Result<(), SyntaxError> {
    unimplemented!("helper lua")
}

/// The 0-based parameters (fields of the row) that the function reads; `None` where it could read any (`...`, debug tricks).
#[must_use]
pub fn reads(_function: &ParsedFunction) -> Option<BTreeSet<usize>> {
    unimplemented!("helper lua")
}

/// How the engine will run a function.
#[must_use]
pub fn tier(_function: &str, _role: Role, _prelude: &str) -> Tier {
    unimplemented!("helper lua")
}
