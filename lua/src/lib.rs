//! Function text: parsed, checked, and searched for what can run as native code. Runs nothing.

mod ast;
mod kept;
mod lex;
mod lift;
pub mod native;
mod outside;
mod parse;
mod passed;
pub mod pattern;
mod total;

use std::collections::BTreeSet;

pub use outside::{Looks, looks};

/// A parsed function expression.
#[derive(Debug, Clone)]
pub struct ParsedFunction {
    /// Names of the parameters.
    pub params: Vec<String>,
    /// Whether it takes `...`.
    pub vararg: bool,
    /// Positions of the parameters that the text names, unless it could reach them otherwise.
    reads: Option<BTreeSet<usize>>,
    passed: passed::Passed,
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
    let (mut parser, prelude) = behind(prelude)?;
    let function = parser.function(source)?;
    let hidden = function.vararg || parser.scope.debug;
    Ok(ParsedFunction {
        passed: if hidden { passed::Passed::default() } else { passed::Passed::of(&function, &prelude, &parser.scope.read) },
        params: function.params.iter().map(|(name, _)| name.to_string()).collect(),
        vararg: function.vararg,
        reads: (!hidden).then(|| parser.scope.read.into_keys().collect()),
    })
}

/// A parser behind a prelude, and the prelude's tree.
fn behind<'s>(prelude: &'s str) -> Result<(parse::Parser<'s>, ast::Block), SyntaxError> {
    parse::Parser::prelude(prelude).or_else(|_| parse::Parser::prelude(""))
}

/// The texts of a prelude and of a function behind it, with a call of `check` around every computed table key (`t[check(k)]`),
/// on the same lines. Texts that do not parse come back as they are.
#[must_use]
pub fn check_keys(prelude: &str, source: &str, check: &str) -> (String, String) {
    let Ok((mut parser, _)) = parse::Parser::prelude(prelude) else { return (prelude.to_owned(), source.to_owned()) };
    let in_prelude = std::mem::take(&mut parser.keys);
    if parser.function(source).is_err() {
        return (prelude.to_owned(), source.to_owned());
    }
    let blank = lex::Lexer::of_chunk(prelude).offset();
    let checked = insert(prelude, &in_prelude, check);
    (checked[blank..].to_owned(), insert(source, &parser.keys, check))
}

fn insert(text: &str, keys: &[(usize, usize)], check: &str) -> String {
    let starts = keys.iter().map(|(start, _)| (*start, true));
    let mut places: Vec<(usize, bool)> = starts.chain(keys.iter().map(|(_, end)| (*end, false))).collect();
    places.sort_unstable();
    let (mut result, mut copied) = (String::with_capacity(text.len()), 0);
    for (place, opens) in places {
        result.push_str(&text[copied..place]);
        copied = place;
        if opens {
            result.push_str(check);
            result.push('(');
        } else {
            result.push(')');
        }
    }
    result.push_str(&text[copied..]);
    result
}

/// The number of lines of a text, as Lua counts them.
#[must_use]
pub fn lines(text: &str) -> u32 {
    let (mut count, mut bytes) = (1, text.bytes().peekable());
    while let Some(byte) = bytes.next() {
        if byte == b'\n' || byte == b'\r' {
            count += 1;
            bytes.next_if(|next| (*next == b'\n' || *next == b'\r') && *next != byte);
        }
    }
    count
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

/// The 0-based parameters that the function at most passes on as they are: their type is all that it can tell of a list or a map
/// in one of these.
#[must_use]
pub fn passes_on(function: &ParsedFunction, role: Role) -> &BTreeSet<usize> {
    match role {
        Role::FlatMap => &function.passed.unless_returned,
        Role::Map | Role::Filter | Role::ForEach | Role::Split | Role::Fold | Role::Operate => &function.passed.whole,
    }
}

/// The 0-based parameters (of `parse_behind(prelude, source)`) that the function moves into results as they are, and does nothing
/// else with: it cannot tell what they hold.
#[must_use]
pub fn moves(function: &ParsedFunction, role: Role, prelude: &str, source: &str) -> BTreeSet<usize> {
    let moved = match role {
        // What a filter returns is tested.
        Role::FlatMap | Role::Filter => false,
        Role::Map | Role::Fold => true,
        // Another `emit` could be put in its place.
        Role::ForEach | Role::Split | Role::Operate => {
            looks(prelude, source).outside.is_none() && ![prelude, source].iter().any(|text| text.contains("setfenv"))
        }
    };
    if moved { function.passed.moved.clone() } else { BTreeSet::new() }
}

/// A function as native code.
///
/// # Errors
/// Why it needs Lua, in words that continue "because".
pub fn lift(function: &str, role: Role, prelude: &str) -> Result<native::Lifted, String> {
    let (mut parser, prelude) = behind(prelude).map_err(|error| error.message)?;
    let function = parser.function(function).map_err(|error| error.message)?;
    lift::lift(&function, role, lift::Changes::of(&prelude))
}

/// For each place of the results of a `map`'s function the parameter that it passes on there, as it came, in every row that it makes;
/// as many places as every such row has. `None` where the function is not plain enough to tell.
#[must_use]
pub fn passed_results(function: &str, prelude: &str) -> Option<Vec<Option<usize>>> {
    kept::kept(&lift(function, Role::Map, prelude).ok()?.body)
}

/// Whether a function is plain enough to tell that it raises no error, whatever its parameters are, but that the ones at the places
/// `texts` are strings.
#[must_use]
pub fn never_raises(function: &str, role: Role, prelude: &str, texts: &BTreeSet<usize>) -> bool {
    lift(function, role, prelude).is_ok_and(|lifted| total::never_raises(&lifted.body, texts))
}

/// How the engine will run a function.
#[must_use]
pub fn tier(function: &str, role: Role, prelude: &str) -> Tier {
    match (lift(function, role, prelude), role) {
        (Ok(_), _) => Tier::Native,
        (Err(why), Role::Fold | Role::Operate) => Tier::PerRow { why },
        (Err(why), Role::Map | Role::FlatMap | Role::Filter | Role::ForEach | Role::Split) => Tier::Batched { why },
    }
}

/// Globals that Lua or the engine gives to functions: no side input may be called like one.
const GLOBALS: [&str; 48] = [
    "_G",
    "_VERSION",
    "assert",
    "bit",
    "collectgarbage",
    "coroutine",
    "debug",
    "dofile",
    "emit",
    "error",
    "ffi",
    "gcinfo",
    "getfenv",
    "getmetatable",
    "io",
    "ipairs",
    "jit",
    "load",
    "loadfile",
    "loadstring",
    "math",
    "module",
    "newproxy",
    "next",
    "os",
    "package",
    "pairs",
    "pcall",
    "print",
    "rawequal",
    "rawget",
    "rawlen",
    "rawset",
    "require",
    "select",
    "setfenv",
    "setmetatable",
    "string",
    "table",
    "tonumber",
    "tostring",
    "type",
    "unpack",
    "utf8",
    "xpcall",
    "__gleamflow_key",
    "arg",
    "gleamflow",
];

/// Whether a name is taken by Lua or the engine, so that a side input must not have it.
#[must_use]
pub fn is_global(name: &str) -> bool {
    GLOBALS.contains(&name)
}

/// Whether a name can be written as a global in Lua at all.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let mut lexer = lex::Lexer::new(name);
    matches!(lexer.next(), Ok(lex::Token::Name(found)) if *found == *name)
}

#[cfg(test)]
mod tests;
