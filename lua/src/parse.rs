//! Tokens to a tree, accepting what LuaJIT accepts: its grammar, its scopes and its limits on nesting and locals.
//!
//! Recursion is bounded by the same 200 levels as in LuaJIT, and trees deeper than that become [`Expr::Opaque`], so that no
//! text overflows the stack, here or when a tree is dropped.

mod expression;
mod scope;
mod statement;

use std::rc::Rc;

use crate::SyntaxError;
use crate::ast::{Block, Expr, Function};
use crate::lex::{Lexer, Name, Token};
use scope::Frame;
pub(crate) use scope::Scopes;

/// Levels of syntax that LuaJIT allows.
const MAX_LEVEL: u32 = 200;

pub(crate) type Result<T> = std::result::Result<T, SyntaxError>;

/// Parses a prelude, or a function behind it.
#[derive(Debug)]
pub(crate) struct Parser<'s> {
    lexer: Lexer<'s>,
    token: Token,
    ahead: Option<Token>,
    /// The line on which the token before `token` ended.
    last_line: u32,
    level: u32,
    pub(crate) scope: Scopes,
    /// Where in the text keys in brackets stand that are computed.
    pub(crate) keys: Vec<(usize, usize)>,
}

impl<'s> Parser<'s> {
    /// Parses `spec.lua`; its locals stay visible for `function`.
    pub(crate) fn prelude(text: &'s str) -> Result<(Parser<'s>, Block)> {
        let mut parser = Parser {
            lexer: Lexer::of_chunk(text),
            token: Token::End,
            ahead: None,
            last_line: 1,
            level: 0,
            scope: Scopes::new(Frame::new(true)),
            keys: Vec::new(),
        };
        parser.advance()?;
        let block = parser.block_statements()?;
        if parser.token != Token::End {
            return parser.expected("<eof>");
        }
        if let Some(crate::ast::Statement::Return(_)) = block.last() {
            return parser.fail("a prelude must not return: the functions of the steps stand behind it");
        }
        parser.scope.check_gotos_end()?;
        Ok((parser, block))
    }

    /// Parses a text that must be one function.
    pub(crate) fn function(&mut self, text: &'s str) -> Result<Rc<Function>> {
        self.lexer = Lexer::new(text);
        self.advance()?;
        self.last_line = 1;
        self.scope.watch_params();
        let mut expr = self.expr(expression::Flags::default())?.expr;
        if self.token != Token::End {
            return self.expected("<eof>");
        }
        while let Expr::Paren(inner) = expr {
            expr = *inner;
        }
        match expr {
            Expr::Function(function) => Ok(function),
            _ => Err(SyntaxError { line: 1, message: "one function is expected: function(...) ... end".to_owned() }),
        }
    }

    fn advance(&mut self) -> Result<()> {
        self.last_line = self.lexer.line;
        self.token = match self.ahead.take() {
            Some(token) => token,
            None => self.lexer.next()?,
        };
        Ok(())
    }

    fn lookahead(&mut self) -> Result<&Token> {
        if self.ahead.is_none() {
            self.ahead = Some(self.lexer.next()?);
        }
        Ok(self.ahead.as_ref().unwrap_or(&Token::End))
    }

    fn line(&self) -> u32 {
        self.lexer.line
    }

    fn is(&self, sign: &str) -> bool {
        matches!(self.token, Token::Sign(found) if found == sign)
    }

    fn is_name(&self, name: &str) -> bool {
        matches!(&self.token, Token::Name(found) if **found == *name)
    }

    /// Skips the sign if it comes next.
    fn skip(&mut self, sign: &str) -> Result<bool> {
        let found = self.is(sign);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    fn require(&mut self, sign: &str) -> Result<()> {
        if self.skip(sign)? { Ok(()) } else { self.expected(sign) }
    }

    /// Like `require`, for the end of what `opening` began on `line`.
    fn close(&mut self, sign: &str, opening: &str, line: u32) -> Result<()> {
        if self.skip(sign)? {
            Ok(())
        } else if line == self.line() {
            self.expected(sign)
        } else {
            self.near(&format!("'{sign}' expected (to close '{opening}' at line {line})"))
        }
    }

    fn take_name(&mut self) -> Result<Name> {
        match &self.token {
            Token::Name(name) => {
                let name = Name::clone(name);
                self.advance()?;
                Ok(name)
            }
            Token::Sign(_) | Token::Number(_) | Token::Str(_) | Token::Odd(_) | Token::End => self.expected("<name>"),
        }
    }

    fn expected<T>(&self, what: &str) -> Result<T> {
        self.near(&format!("'{what}' expected"))
    }

    fn near<T>(&self, message: &str) -> Result<T> {
        let token = match &self.token {
            Token::Name(name) => name.to_string(),
            Token::Sign(sign) => (*sign).to_owned(),
            Token::Number(_) => "<number>".to_owned(),
            Token::Str(content) => String::from_utf8_lossy(&content[..content.len().min(40)]).into_owned(),
            Token::Odd(byte) => (*byte as char).escape_default().to_string(),
            Token::End => "<eof>".to_owned(),
        };
        self.fail(&format!("{message} near '{token}'"))
    }

    fn fail<T>(&self, message: &str) -> Result<T> {
        Err(SyntaxError { line: self.line(), message: message.to_owned() })
    }

    /// Runs `inner` one syntactic level deeper.
    fn deeper<T>(&mut self, inner: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.level += 1;
        if self.level >= MAX_LEVEL {
            return self.fail("chunk has too many syntax levels");
        }
        let result = inner(self)?;
        self.level -= 1;
        Ok(result)
    }
}
