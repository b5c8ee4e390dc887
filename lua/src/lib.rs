//! Function text: parsed, checked, and searched for what can run as native code. Runs nothing.

mod ast;
mod lex;
mod parse;

use std::collections::BTreeSet;

/// A parsed function expression.
#[derive(Debug, Clone)]
pub struct ParsedFunction {
    /// Names of the parameters.
    pub params: Vec<String>,
    /// Whether it takes `...`.
    pub vararg: bool,
    /// Positions of the parameters that the text names, unless it could reach them otherwise.
    reads: Option<BTreeSet<usize>>,
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

/// Parses a step's function: the text of one function expression, in any of the forms that LuaJIT knows.
///
/// # Errors
/// [`SyntaxError`] where it is not exactly that.
pub fn parse(source: &str) -> Result<ParsedFunction, SyntaxError> {
    parse_behind("", source)
}

/// Parses a step's function behind `spec.lua`, whose locals it sees (a `const` there may forbid what it does). A prelude
/// that does not parse is taken for an empty one: `parse_prelude` tells.
///
/// # Errors
/// [`SyntaxError`] as for `parse`, about `source`.
pub fn parse_behind(prelude: &str, source: &str) -> Result<ParsedFunction, SyntaxError> {
    let (function, scopes) = syntax(prelude, source)?.1;
    let hidden = function.vararg || scopes.debug;
    Ok(ParsedFunction {
        params: function.params.iter().map(|(name, _)| name.to_string()).collect(),
        vararg: function.vararg,
        reads: (!hidden).then_some(scopes.read),
    })
}

/// The trees of a prelude and of a function behind it.
fn syntax(
    prelude: &str,
    source: &str,
) -> Result<(ast::Block, (std::rc::Rc<ast::Function>, parse::Scopes)), SyntaxError> {
    let (parser, block) = match parse::Parser::prelude(prelude) {
        Ok(parsed) => parsed,
        Err(_) => parse::Parser::prelude("")?,
    };
    Ok((block, parser.function(source)?))
}

/// Checks `spec.lua`: a chunk of statements.
///
/// # Errors
/// [`SyntaxError`] where it does not compile.
pub fn parse_prelude(source: &str) -> Result<(), SyntaxError> {
    parse::Parser::prelude(source).map(drop)
}

/// The 0-based parameters (fields of the row) that the function reads; `None` where it could read any (`...`, `debug`).
#[must_use]
pub fn reads(function: &ParsedFunction) -> Option<BTreeSet<usize>> {
    function.reads.clone()
}

/// How the engine will run a function.
#[must_use]
pub fn tier(_function: &str, _role: Role, _prelude: &str) -> Tier {
    unimplemented!("helper lua")
}

#[cfg(test)]
mod tests;
