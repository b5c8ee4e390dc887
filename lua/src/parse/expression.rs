//! Expressions.

use std::rc::Rc;

use super::{Parser, Result};
use crate::ast::{Expr, Function, Item};
use crate::lex::{Literal, Name, Token};

/// Trees deeper than this are kept from the rest of the crate.
const MAX_DEPTH: u32 = 300;

/// How an expression stands in its surroundings.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Flags {
    /// It begins a statement: `name ->` is no function here.
    pub(super) statement: bool,
    /// Inside `a ? b : c`, where a colon is no method call.
    pub(super) no_colon: bool,
    /// A further target of an assignment, where `?.` is not allowed.
    pub(super) no_navigation: bool,
}

/// An expression and how deep its tree is.
pub(super) struct Sized {
    pub(super) expr: Expr,
    depth: u32,
}

/// What an expression could be used for as a statement.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Kind {
    Target,
    Call,
    Value,
}

impl Sized {
    fn leaf(expr: Expr) -> Sized {
        Sized { expr, depth: 1 }
    }

    /// Builds a tree over some others.
    fn over<const N: usize>(parts: [Sized; N], build: impl FnOnce([Expr; N]) -> Expr) -> Sized {
        let depth = 1 + parts.iter().map(|part| part.depth).max().unwrap_or(0);
        if depth > MAX_DEPTH {
            return Sized::leaf(Expr::Opaque("an expression that nests too deeply"));
        }
        Sized { expr: build(parts.map(|part| part.expr)), depth }
    }
}

/// The priority of a binary operator on its left and right, and its usual spelling.
fn binary(token: &Token) -> Option<(u32, u32, &'static str)> {
    let Token::Sign(sign) = token else { return None };
    Some(match *sign {
        "+" | "-" => (10, 10, sign),
        "*" | "/" | "%" => (11, 11, sign),
        "^" => (14, 13, sign),
        "&" => (6, 6, sign),
        "|" => (4, 4, sign),
        "~" => (5, 5, sign),
        "<<" | ">>" | "~>>" => (7, 7, sign),
        ".." => (9, 8, sign),
        "==" | "~=" | "<" | "<=" | ">" | ">=" => (3, 3, sign),
        "!=" => (3, 3, "~="),
        "and" | "&&" => (2, 2, "and"),
        "or" | "||" => (1, 1, "or"),
        "??" => (1, 1, sign),
        _ => return None,
    })
}

/// The operator of a compound assignment (`+=`) that could begin with a token.
pub(super) fn compound(token: &Token) -> Option<&'static str> {
    let (_, _, sign) = binary(token)?;
    let allowed = ["+", "-", "*", "/", "%", "&", "|", "~", "<<", ">>", "~>>", "..", "~="];
    allowed.contains(&sign).then_some(sign)
}

const UNARY_PRIORITY: u32 = 12;

impl Parser<'_> {
    /// A whole expression.
    pub(super) fn expr(&mut self, flags: Flags) -> Result<Sized> {
        let condition = self.operators(0, flags)?;
        if !self.skip("?")? {
            return Ok(condition);
        }
        self.deeper(|parser| {
            let then = parser.expr(Flags { no_colon: true, ..Flags::default() })?;
            parser.require(":")?;
            let otherwise = parser.expr(Flags::default())?;
            Ok(Sized::over([condition, then, otherwise], |parts| Expr::Ternary(Box::new(parts))))
        })
    }

    pub(super) fn value(&mut self) -> Result<Expr> {
        Ok(self.expr(Flags::default())?.expr)
    }

    pub(super) fn values(&mut self) -> Result<Vec<Expr>> {
        let mut list = vec![self.value()?];
        while self.skip(",")? {
            list.push(self.value()?);
        }
        Ok(list)
    }

    fn operators(&mut self, limit: u32, flags: Flags) -> Result<Sized> {
        self.deeper(|parser| {
            let mut left = parser.unary(flags)?;
            while let Some((priority, right_limit, sign)) = binary(&parser.token).filter(|(left, ..)| *left > limit) {
                debug_assert!(priority > limit);
                parser.advance()?;
                let right = parser.operators(right_limit, flags)?;
                left = Sized::over([left, right], |[left, right]| Expr::Binary(sign, Box::new(left), Box::new(right)));
            }
            Ok(left)
        })
    }

    fn unary(&mut self, flags: Flags) -> Result<Sized> {
        let sign = match &self.token {
            Token::Sign("not" | "!") => "not",
            Token::Sign(sign @ ("-" | "#" | "~")) => sign,
            _ => return self.simple(flags),
        };
        self.advance()?;
        let operand = self.operators(UNARY_PRIORITY, flags)?;
        Ok(Sized::over([operand], |[operand]| Expr::Unary(sign, Box::new(operand))))
    }

    fn simple(&mut self, flags: Flags) -> Result<Sized> {
        let line = self.line();
        let leaf = match &self.token {
            Token::Number(Literal::Number(number)) => Expr::Number(*number),
            Token::Number(Literal::Opaque) => Expr::Opaque("a number that only LuaJIT reads"),
            Token::Str(content) => Expr::Str(Rc::clone(content)),
            Token::Sign("nil") => Expr::Nil,
            Token::Sign("true") => Expr::True,
            Token::Sign("false") => Expr::False,
            Token::Sign("...") if self.scope.is_vararg() => Expr::Vararg,
            Token::Sign("...") => return self.near("cannot use '...' outside a vararg function"),
            Token::Sign("{") => return self.table(),
            Token::Sign("function") => {
                self.advance()?;
                return Ok(Sized::leaf(Expr::Function(self.body(None, line)?)));
            }
            Token::Sign("|" | "||") => return self.short_function(None, flags, line),
            _ => return Ok(self.primary(flags)?.0),
        };
        self.advance()?;
        Ok(Sized::leaf(leaf))
    }

    /// A name or a parenthesised expression with what follows it: fields, indices, calls.
    pub(super) fn primary(&mut self, flags: Flags) -> Result<(Sized, Kind)> {
        let line = self.line();
        let (mut value, mut kind) = match &self.token {
            Token::Sign("(") => {
                self.advance()?;
                let inner = self.expr(Flags::default())?;
                self.close(")", "(", line)?;
                (Sized::over([inner], |[inner]| Expr::Paren(Box::new(inner))), Kind::Value)
            }
            Token::Name(_) => {
                let name = self.take_name()?;
                if !flags.statement && self.is("->") {
                    return Ok((self.short_function(Some(name), flags, line)?, Kind::Value));
                }
                (Sized::leaf(self.scope.look_up(&name, line)?), Kind::Target)
            }
            _ => return self.near("unexpected symbol"),
        };
        loop {
            let navigates = !flags.no_navigation && self.skip("?.")?;
            let colon = self.is(":");
            if colon && flags.no_colon && !navigates {
                break;
            }
            let next = if self.is("[") {
                (self.bracket()?, Kind::Target)
            } else if colon && !flags.no_colon {
                (self.method()?, Kind::Call)
            } else if self.is("(") || self.is("{") || matches!(self.token, Token::Str(_)) {
                (Suffix::Call(self.arguments()?), Kind::Call)
            } else if navigates || self.skip(".")? {
                if colon {
                    return self.near("unexpected symbol");
                }
                let name = self.take_name()?;
                (Suffix::Index(Sized::leaf(Expr::Str(name.as_bytes().into()))), Kind::Target)
            } else {
                break;
            };
            kind = next.1;
            value = next.0.on(value, navigates);
        }
        Ok((value, kind))
    }

    fn bracket(&mut self) -> Result<Suffix> {
        Ok(Suffix::Index(self.key()?))
    }

    /// A key in brackets; computed ones are noted for `check_keys`.
    fn key(&mut self) -> Result<Sized> {
        let start = self.lexer.offset();
        self.advance()?;
        let key = self.expr(Flags::default())?;
        let end = self.lexer.offset().saturating_sub(1);
        if !matches!(key.expr, Expr::Str(_) | Expr::Number(_) | Expr::True | Expr::False) {
            self.keys.push((start, end));
        }
        self.require("]")?;
        Ok(key)
    }

    fn method(&mut self) -> Result<Suffix> {
        self.advance()?;
        let name = self.take_name()?;
        let navigates = self.skip("?.")?;
        Ok(Suffix::Method(name, self.arguments()?, navigates))
    }

    fn arguments(&mut self) -> Result<Vec<Sized>> {
        let line = self.line();
        if let Token::Str(content) = &self.token {
            let only = Expr::Str(Rc::clone(content));
            self.advance()?;
            return Ok(vec![Sized::leaf(only)]);
        }
        if self.is("{") {
            return Ok(vec![self.table()?]);
        }
        if !self.is("(") {
            return self.near("function arguments expected");
        }
        if line != self.last_line {
            return self.near("ambiguous syntax (function call x new statement)");
        }
        self.advance()?;
        let mut arguments = Vec::new();
        if !self.is(")") {
            arguments.push(self.expr(Flags::default())?);
            while self.skip(",")? {
                arguments.push(self.expr(Flags::default())?);
            }
        }
        self.close(")", "(", line)?;
        Ok(arguments)
    }

    fn table(&mut self) -> Result<Sized> {
        let line = self.line();
        let (mut items, mut depth) = (Vec::new(), 1);
        self.advance()?;
        while !self.is("}") {
            let mut add = |part: Sized| {
                depth = depth.max(part.depth + 1);
                part.expr
            };
            if self.is("[") {
                let key = add(self.key()?);
                self.require("=")?;
                items.push(Item::Keyed(key, add(self.expr(Flags::default())?)));
            } else if matches!(self.token, Token::Name(_)) && *self.lookahead()? == Token::Sign("=") {
                let key = Expr::Str(self.take_name()?.as_bytes().into());
                self.advance()?;
                items.push(Item::Keyed(key, add(self.expr(Flags::default())?)));
            } else {
                items.push(Item::Positional(add(self.expr(Flags::default())?)));
            }
            if !self.skip(",")? && !self.skip(";")? {
                break;
            }
        }
        self.close("}", "{", line)?;
        Ok(Sized { expr: Expr::Table(items), depth }.bounded())
    }

    /// A function from its parameters on.
    pub(super) fn body(&mut self, method_self: Option<Name>, line: u32) -> Result<Rc<Function>> {
        self.scope.open_function();
        self.require("(")?;
        let (params, vararg) = self.params(method_self, ")")?;
        self.require(")")?;
        let body = self.block_statements()?;
        if !self.is("end") {
            self.close("end", "function", line)?;
        }
        self.scope.close_function()?;
        self.advance()?;
        Ok(Rc::new(Function { params, vararg, body }))
    }

    fn params(&mut self, method_self: Option<Name>, end: &str) -> Result<(Vec<(Name, u32)>, bool)> {
        let mut names: Vec<Name> = method_self.into_iter().collect();
        let mut vararg = false;
        if !self.is(end) {
            loop {
                if self.skip("...")? {
                    self.scope.set_vararg();
                    vararg = true;
                    break;
                }
                if !matches!(self.token, Token::Name(_)) {
                    return self.near("<name> or '...' expected");
                }
                let name = self.take_name()?;
                self.scope.check_declared(&name, names.len(), self.line())?;
                names.push(name);
                if !self.skip(",")? {
                    break;
                }
            }
        }
        let params: Vec<_> = names.into_iter().map(|name| (Name::clone(&name), self.scope.declare(name, false))).collect();
        self.scope.params_done(&params);
        Ok((params, vararg))
    }

    /// `x -> x + 1`, `|x, y| -> x + y`, `|| -> do ... end`; with a name, that is read already.
    fn short_function(&mut self, name: Option<Name>, flags: Flags, line: u32) -> Result<Sized> {
        self.scope.open_function();
        let (params, vararg) = match name {
            Some(name) => {
                self.scope.check_declared(&name, 0, line)?;
                let params = vec![(Name::clone(&name), self.scope.declare(name, false))];
                self.scope.params_done(&params);
                (params, false)
            }
            None if self.skip("||")? => {
                self.scope.params_done(&[]);
                (Vec::new(), false)
            }
            None => {
                self.require("|")?;
                let params = self.params(None, "|")?;
                self.require("|")?;
                params
            }
        };
        self.require("->")?;
        let body = if self.skip("do")? {
            let body = self.block_statements()?;
            self.close("end", "do", line)?;
            body
        } else {
            vec![crate::ast::Statement::Return(vec![self.expr(flags)?.expr])]
        };
        self.scope.close_function()?;
        Ok(Sized::leaf(Expr::Function(Rc::new(Function { params, vararg, body }))))
    }
}

/// What follows a primary expression.
enum Suffix {
    Index(Sized),
    Call(Vec<Sized>),
    /// Name, arguments, and whether it navigates (`s:trim?.()`).
    Method(Name, Vec<Sized>, bool),
}

impl Suffix {
    /// The whole; `navigates` if it stands behind `?.`.
    fn on(self, value: Sized, navigates: bool) -> Sized {
        let opaque = navigates || matches!(self, Suffix::Method(_, _, true));
        if opaque {
            return Sized::leaf(Expr::Opaque("safe navigation"));
        }
        match self {
            Suffix::Index(key) => Sized::over([value, key], |[value, key]| Expr::Index(Box::new(value), Box::new(key))),
            Suffix::Call(arguments) => {
                Sized::with_list(value, arguments, |value, arguments| Expr::Call(Box::new(value), arguments))
            }
            Suffix::Method(name, arguments, _) => {
                Sized::with_list(value, arguments, |value, arguments| Expr::Method(Box::new(value), name, arguments))
            }
        }
    }
}

impl Sized {
    fn with_list(value: Sized, list: Vec<Sized>, build: impl FnOnce(Expr, Vec<Expr>) -> Expr) -> Sized {
        let depth = 1 + list.iter().map(|part| part.depth).fold(value.depth, u32::max);
        let list = list.into_iter().map(|part| part.expr).collect();
        Sized { expr: build(value.expr, list), depth }.bounded()
    }

    /// The tree, unless it is too deep to be walked.
    fn bounded(self) -> Sized {
        if self.depth > MAX_DEPTH { Sized::leaf(Expr::Opaque("an expression that nests too deeply")) } else { self }
    }
}
