//! Calls of Lua's library that native code knows.

use super::{Lifter, Meaning, Result};
use crate::ast::Expr;
use crate::native::{Builtin, Code, Many};
use crate::pattern::Pattern;

/// A function of the library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Library {
    /// One value, from this many arguments.
    Plain(Builtin, usize, usize),
    Find,
    Match,
    Matches,
    Replace,
}

/// The functions that are known, by their table (empty for globals) and name.
fn known(table: &str, name: &str) -> Option<Library> {
    use Builtin::*;
    Some(match (table, name) {
        ("string", "lower") => Library::Plain(Lower, 1, 1),
        ("string", "upper") => Library::Plain(Upper, 1, 1),
        ("string", "reverse") => Library::Plain(Reverse, 1, 1),
        ("string", "len") => Library::Plain(Length, 1, 1),
        ("string", "sub") => Library::Plain(Sub, 2, 3),
        ("string", "byte") => Library::Plain(Byte, 1, 2),
        ("string", "rep") => Library::Plain(Rep, 2, 2),
        ("string", "find") => Library::Find,
        ("string", "match") => Library::Match,
        ("string", "gmatch") => Library::Matches,
        ("string", "gsub") => Library::Replace,
        ("math", "floor") => Library::Plain(Floor, 1, 1),
        ("math", "ceil") => Library::Plain(Ceil, 1, 1),
        ("math", "abs") => Library::Plain(Abs, 1, 1),
        ("math", "sqrt") => Library::Plain(Sqrt, 1, 1),
        ("math", "min") => Library::Plain(Min, 1, 8),
        ("math", "max") => Library::Plain(Max, 1, 8),
        ("", "tostring") => Library::Plain(ToString, 1, 1),
        ("", "tonumber") => Library::Plain(ToNumber, 1, 1),
        ("", "type") => Library::Plain(Type, 1, 1),
        _ => return None,
    })
}

impl Lifter {
    /// The library function that an expression names; an error where the prelude may have changed it.
    pub(super) fn library(&self, expr: &Expr) -> Result<Option<Library>> {
        let (global, found) = match expr {
            Expr::Paren(inner) => return self.library(inner),
            Expr::Local(id) => {
                return Ok(match self.names.get(id) {
                    Some(Meaning::Library(library)) => Some(*library),
                    Some(Meaning::Value(_) | Meaning::Iterator(..) | Meaning::List) | None => None,
                });
            }
            Expr::Global(name) => (name, known("", name)),
            Expr::Index(table, key) => match (&**table, &**key) {
                (Expr::Global(table), Expr::Str(name)) => {
                    (table, std::str::from_utf8(name).ok().and_then(|name| known(table, name)))
                }
                _ => return Ok(None),
            },
            _ => return Ok(None),
        };
        match (found, self.changes.to(global)) {
            (Some(_), Some(why)) => Err(why),
            (found, _) => Ok(found),
        }
    }

    /// The library function that a call calls, with the arguments; for a method the first one is the object.
    fn callee<'e>(&self, call: &'e Expr) -> Result<(Library, Vec<&'e Expr>)> {
        match call {
            Expr::Call(callee, arguments) => match self.library(callee)? {
                Some(library) => Ok((library, arguments.iter().collect())),
                None => Err(format!("it calls {}", name_of(callee))),
            },
            Expr::Method(object, name, arguments) => match known("string", name) {
                Some(library) => match self.changes.to("string") {
                    None => Ok((library, std::iter::once(&**object).chain(arguments).collect())),
                    Some(why) => Err(why),
                },
                None => Err(format!("it calls the method {name}")),
            },
            _ => Err("it calls something unknown".to_owned()),
        }
    }

    /// A call for its first result.
    pub(super) fn call(&mut self, call: &Expr) -> Result<Code> {
        if let Some(many) = self.many(call)? {
            return Ok(Code::First(Box::new(many)));
        }
        let (library, arguments) = self.callee(call)?;
        let Library::Plain(builtin, least, most) = library else {
            return Err("it keeps an iterator as a value".to_owned());
        };
        if !(least..=most).contains(&arguments.len()) {
            return Err(format!("it calls {builtin:?} with {} arguments", arguments.len()).to_lowercase());
        }
        if let Some((last, _)) = arguments.split_last()
            && self.many(last)?.is_some()
        {
            return Err("it passes on all that a call gives".to_owned());
        }
        let arguments = arguments.into_iter().map(|argument| self.value(argument)).collect::<Result<_>>()?;
        Ok(Code::Call(builtin, arguments))
    }

    /// A call that may give another number of results than one.
    pub(super) fn many(&mut self, call: &Expr) -> Result<Option<Many>> {
        if !matches!(call, Expr::Call(..) | Expr::Method(..)) {
            return Ok(None);
        }
        let (library, arguments) = self.callee(call)?;
        Ok(match (library, arguments.as_slice()) {
            (Library::Plain(..) | Library::Matches, _) => None,
            (Library::Match, [text, pattern]) => Some(Many::Match(self.value(text)?, literal(pattern)?)),
            (Library::Find, [text, pattern]) => Some(Many::Find(self.value(text)?, literal(pattern)?)),
            (Library::Find, [text, Expr::Str(plain), Expr::Number(1.0), Expr::True]) => {
                let pattern = Pattern::of_text(plain);
                Some(Many::Find(self.value(text)?, Box::new(pattern)))
            }
            (Library::Replace, [text, pattern, Expr::Str(by)]) if !by.contains(&b'%') => {
                Some(Many::Replace(self.value(text)?, literal(pattern)?, (**by).into()))
            }
            _ => return Err("it searches a text in an unusual way".to_owned()),
        })
    }

    /// `gmatch`: the text and the pattern.
    pub(super) fn matches(&mut self, call: &Expr) -> Result<Option<(Code, Box<Pattern>)>> {
        if !matches!(call, Expr::Call(..) | Expr::Method(..)) {
            return Ok(None);
        }
        let (library, arguments) = self.callee(call)?;
        match (library, arguments.as_slice()) {
            (Library::Matches, [text, pattern]) => {
                let pattern = literal(pattern)?;
                if pattern.is_anchored() {
                    return Err("it has a pattern that only Lua matches".to_owned());
                }
                Ok(Some((self.value(text)?, pattern)))
            }
            _ => Ok(None),
        }
    }
}

fn literal(pattern: &Expr) -> Result<Box<Pattern>> {
    match pattern {
        Expr::Paren(inner) => literal(inner),
        Expr::Str(text) => Pattern::new(text).map(Box::new).ok_or_else(|| "it has a pattern that only Lua matches".to_owned()),
        _ => Err("it has a pattern that is not a plain text in it".to_owned()),
    }
}

/// What a callee is called, for a reason.
fn name_of(callee: &Expr) -> String {
    match callee {
        Expr::Global(name) => name.to_string(),
        Expr::Index(table, key) => match &**key {
            Expr::Str(name) => format!("{}.{}", name_of(table), String::from_utf8_lossy(name)),
            _ => format!("a function in {}", name_of(table)),
        },
        Expr::Local(_) => "a local function".to_owned(),
        _ => "a function".to_owned(),
    }
}
