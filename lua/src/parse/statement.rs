//! Statements.

use super::expression::{Flags, Kind, compound};
use super::{MAX_LEVEL, Parser, Result};
use crate::ast::{Block, Expr, Head, LocalId, Statement};
use crate::lex::{Name, Token};

impl Parser<'_> {
    /// The statements up to the end of a block, in the scope that is open.
    pub(super) fn block_statements(&mut self) -> Result<Block> {
        self.deeper(|parser| {
            let mut block = Block::new();
            while !parser.at_block_end() {
                let (statement, last) = parser.statement()?;
                block.push(statement);
                parser.skip(";")?;
                if last {
                    break;
                }
            }
            Ok(block)
        })
    }

    fn at_block_end(&self) -> bool {
        matches!(self.token, Token::End | Token::Sign("else" | "elseif" | "end" | "until"))
    }

    fn scoped(&mut self, breakable: bool, inner: impl FnOnce(&mut Self) -> Result<Block>) -> Result<Block> {
        self.scope.open_block(breakable);
        let block = inner(self)?;
        self.scope.close_block();
        Ok(block)
    }

    fn block(&mut self) -> Result<Block> {
        self.scoped(false, Self::block_statements)
    }

    /// A statement, and whether it must be the last of its block.
    fn statement(&mut self) -> Result<(Statement, bool)> {
        let line = self.line();
        let statement = match &self.token {
            Token::Sign("if") => self.if_statement(line)?,
            Token::Sign("while") => self.while_statement(line)?,
            Token::Sign("do") => {
                self.advance()?;
                let block = self.block()?;
                self.close("end", "do", line)?;
                Statement::Do(block)
            }
            Token::Sign("for") => self.for_statement(line)?,
            Token::Sign("repeat") => self.repeat_statement(line)?,
            Token::Sign("function") => self.function_statement(line)?,
            Token::Sign("local") => self.local_statement(false)?,
            Token::Sign("return") => return Ok((self.return_statement()?, true)),
            Token::Sign("break") => {
                self.scope.check_break(line)?;
                self.advance()?;
                return Ok((Statement::Jump, true));
            }
            Token::Sign("::") => self.label_statement()?,
            Token::Name(_) => return self.named_statement(line),
            Token::Sign(_) | Token::Number(_) | Token::Str(_) | Token::Odd(_) | Token::End => self.call_or_assignment()?,
        };
        Ok((statement, false))
    }

    /// A statement that begins with a name, some of which are keywords depending on what follows.
    fn named_statement(&mut self, line: u32) -> Result<(Statement, bool)> {
        let next_is_name = matches!(self.lookahead_for_keyword()?, Some(Token::Name(_)));
        let next_ends = match self.lookahead_for_keyword()? {
            Some(token) => matches!(token, Token::End | Token::Sign("else" | "elseif" | "end" | "until")),
            None => false,
        };
        let next_is_function = self.lookahead_for_keyword()? == Some(&Token::Sign("function"));
        if self.is_name("const") && (next_is_name || next_is_function) {
            return Ok((self.local_statement(true)?, false));
        }
        if self.is_name("continue") && next_ends {
            self.scope.add_continue(line)?;
            self.advance()?;
            return Ok((Statement::Jump, true));
        }
        if self.is_name("goto") && next_is_name {
            self.advance()?;
            let label = self.take_name()?;
            self.scope.add_goto(label, line);
            return Ok((Statement::Jump, false));
        }
        Ok((self.call_or_assignment()?, false))
    }

    /// The token behind a soft keyword. LuaJIT reads ahead only there, which shows in the line of an ambiguous call.
    fn lookahead_for_keyword(&mut self) -> Result<Option<&Token>> {
        if self.is_name("const") || self.is_name("continue") || self.is_name("goto") {
            return self.lookahead().map(Some);
        }
        Ok(None)
    }

    fn if_statement(&mut self, line: u32) -> Result<Statement> {
        let mut arms = Vec::new();
        while arms.is_empty() || self.is("elseif") {
            self.advance()?;
            let condition = self.value()?;
            self.require("then")?;
            arms.push((condition, self.block()?));
        }
        let otherwise = if self.skip("else")? { Some(self.block()?) } else { None };
        self.close("end", "if", line)?;
        Ok(Statement::If(arms, otherwise))
    }

    fn while_statement(&mut self, line: u32) -> Result<Statement> {
        self.advance()?;
        let condition = self.value()?;
        let body = self.scoped(true, |parser| {
            parser.require("do")?;
            let body = parser.block()?;
            parser.close("end", "while", line)?;
            Ok(body)
        })?;
        Ok(Statement::Loop(Head::Counted, vec![condition], body))
    }

    fn repeat_statement(&mut self, line: u32) -> Result<Statement> {
        self.advance()?;
        let mut condition = Expr::Nil;
        let body = self.scoped(true, |parser| {
            parser.scoped(false, |parser| {
                let body = parser.block_statements()?;
                parser.close("until", "repeat", line)?;
                parser.scope.land_continues()?;
                condition = parser.value()?;
                Ok(body)
            })
        })?;
        Ok(Statement::Loop(Head::Counted, vec![condition], body))
    }

    fn for_statement(&mut self, line: u32) -> Result<Statement> {
        let (mut heads, mut head) = (Vec::new(), Head::Counted);
        let body = self.scoped(true, |parser| {
            parser.advance()?;
            let mut names = vec![parser.take_name()?];
            let hidden = 3;
            if parser.skip("=")? {
                parser.scope.check_declared(&names[0], hidden, line)?;
                heads = parser.range()?;
            } else if parser.is(",") || parser.is("in") {
                while parser.skip(",")? {
                    parser.scope.check_declared(names.last().unwrap_or(&"".into()), hidden + names.len() - 1, line)?;
                    names.push(parser.take_name()?);
                }
                parser.scope.check_declared(names.last().unwrap_or(&"".into()), hidden + names.len() - 1, line)?;
                parser.require("in")?;
                heads = parser.values()?;
                head = Head::Each(Vec::new());
            } else {
                return parser.near("'=' or 'in' expected");
            }
            parser.scope.declare_hidden(hidden, line)?;
            parser.require("do")?;
            let body = parser.scoped(false, |parser| {
                let ids: Vec<LocalId> = names.into_iter().map(|name| parser.scope.declare(name, false)).collect();
                if let Head::Each(variables) = &mut head {
                    *variables = ids;
                }
                parser.block()
            })?;
            parser.close("end", "for", line)?;
            Ok(body)
        })?;
        Ok(Statement::Loop(head, heads, body))
    }

    fn range(&mut self) -> Result<Vec<Expr>> {
        let mut bounds = vec![self.value()?];
        self.require(",")?;
        bounds.push(self.value()?);
        if self.skip(",")? {
            bounds.push(self.value()?);
        }
        Ok(bounds)
    }

    fn function_statement(&mut self, line: u32) -> Result<Statement> {
        self.advance()?;
        let name = self.take_name()?;
        let mut target = self.scope.look_up(&name, line)?;
        let mut method_self = None;
        while self.is(".") || self.is(":") {
            let colon = self.is(":");
            self.advance()?;
            let field = Expr::Str(self.take_name()?.as_bytes().into());
            // A name of a hundred thousand fields must not become a tree that deep.
            target = match target {
                Expr::Local(_) | Expr::Global(_) => Expr::Index(Box::new(target), Box::new(field)),
                inner => Expr::Index(Box::new(root(inner)), Box::new(field)),
            };
            if colon {
                method_self = Some("self".into());
                break;
            }
        }
        self.scope.check_assignable(&target, line)?;
        let function = self.body(method_self, line)?;
        Ok(Statement::Function(Some(target), function))
    }

    fn local_statement(&mut self, constant: bool) -> Result<Statement> {
        self.advance()?;
        if self.skip("function")? {
            let name = self.take_name()?;
            self.scope.check_declared(&name, 0, self.line())?;
            self.scope.declare(name, constant);
            let line = self.line();
            return Ok(Statement::Function(None, self.body(None, line)?));
        }
        let mut names: Vec<Name> = Vec::new();
        loop {
            let name = self.take_name()?;
            self.scope.check_declared(&name, names.len(), self.line())?;
            if constant && names.contains(&name) {
                return self.fail(&format!("attempt to re-declare const variable '{name}'"));
            }
            names.push(name);
            if !self.skip(",")? {
                break;
            }
        }
        let values = if self.skip("=")? { self.values()? } else { Vec::new() };
        let ids: Vec<LocalId> = names.into_iter().map(|name| self.scope.declare(name, constant)).collect();
        Ok(Statement::Local(ids, values))
    }

    fn return_statement(&mut self) -> Result<Statement> {
        self.advance()?;
        if self.at_block_end() || self.is(";") {
            return Ok(Statement::Return(Vec::new()));
        }
        Ok(Statement::Return(self.values()?))
    }

    /// A label and those behind it, which LuaJIT reads recursively.
    fn label_statement(&mut self) -> Result<Statement> {
        let line = self.line();
        self.advance()?;
        let name = self.take_name()?;
        self.scope.open_label(&name, line)?;
        self.require("::")?;
        if self.is("::") {
            self.deeper(Self::label_statement)?;
        }
        let last = self.at_block_end() && !self.is("until");
        self.scope.land_gotos(name, last)?;
        Ok(Statement::Jump)
    }

    fn call_or_assignment(&mut self) -> Result<Statement> {
        let (first, kind) = self.primary(Flags { statement: true, ..Flags::default() })?;
        let first = first.expr;
        if kind == Kind::Call {
            return Ok(Statement::Call(first));
        }
        if kind == Kind::Target
            && let Some(operator) = compound(&self.token)
            && (operator == "~=" || self.lexer_at_equals())
        {
            return self.compound_assignment(first, operator);
        }
        let navigates = matches!(first, Expr::Opaque("safe navigation"));
        if kind != Kind::Target || (navigates && self.is(",")) {
            return self.near("syntax error");
        }
        let mut targets = vec![first];
        loop {
            self.scope.check_assignable(targets.last().unwrap_or(&Expr::Nil), self.line())?;
            if !self.skip(",")? {
                break;
            }
            let (target, kind) = self.primary(Flags { no_navigation: true, ..Flags::default() })?;
            if self.level as usize + targets.len() >= MAX_LEVEL as usize {
                return self.fail("function has more than 200 variable names");
            }
            if kind != Kind::Target {
                return self.near("syntax error");
            }
            targets.push(target.expr);
        }
        self.require("=")?;
        Ok(Statement::Assign(targets, self.values()?))
    }

    fn lexer_at_equals(&self) -> bool {
        self.ahead.is_none() && self.lexer.at_byte(b'=')
    }

    fn compound_assignment(&mut self, target: Expr, operator: &'static str) -> Result<Statement> {
        self.scope.check_assignable(&target, self.line())?;
        if self.is("!=") {
            return self.near("'=' expected");
        }
        if operator != "~=" {
            self.advance()?;
        }
        self.advance()?;
        Ok(Statement::Compound(target, operator, self.value()?))
    }
}

/// The variable at the root of a chain of fields.
fn root(expr: Expr) -> Expr {
    match expr {
        Expr::Index(inner, _) => root(*inner),
        other => other,
    }
}
