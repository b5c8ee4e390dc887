//! A Lua program as a tree, its names resolved: what `lift` walks.

use std::rc::Rc;

use crate::lex::Name;

/// A local variable or parameter; unique in the program.
pub(crate) type LocalId = u32;

/// A list of statements.
pub(crate) type Block = Vec<Statement>;

/// One statement.
#[derive(Debug)]
pub(crate) enum Statement {
    Local(Vec<LocalId>, Vec<Expr>),
    Assign(Vec<Expr>, Vec<Expr>),
    /// Conditions with their blocks, then the `else` block.
    If(Vec<(Expr, Block)>, Option<Block>),
    Do(Block),
    Return(Vec<Expr>),
    Call(Expr),
    /// `local function`, `function name`: what it assigns to (`None` for a local), and the function.
    Function(Option<Expr>, Rc<Function>),
    /// A loop; its expressions and its block.
    Loop(Head, Vec<Expr>, Block),
    /// A jump or a label.
    Jump,
    /// An assignment such as `x += 1`: the target, the operator and the value.
    Compound(Expr, &'static str, Expr),
}

/// What kind of loop it is.
#[derive(Debug)]
pub(crate) enum Head {
    /// `for a, b in`, with its variables.
    Each(Vec<LocalId>),
    /// `for i =`, `while` or `repeat`.
    Counted,
}

/// A function's parameters and body.
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) params: Vec<(Name, LocalId)>,
    pub(crate) vararg: bool,
    pub(crate) body: Block,
}

/// An expression.
#[derive(Debug)]
pub(crate) enum Expr {
    Nil,
    True,
    False,
    Number(f64),
    Str(Rc<[u8]>),
    Vararg,
    Function(Rc<Function>),
    Table(Vec<Item>),
    Local(LocalId),
    Global(Name),
    Index(Box<Expr>, Box<Expr>),
    Call(Box<Expr>, Vec<Expr>),
    Method(Box<Expr>, Name, Vec<Expr>),
    /// `not`, `-`, `#`, `~`.
    Unary(&'static str, Box<Expr>),
    /// By its usual spelling (`&&` is `and`).
    Binary(&'static str, Box<Expr>, Box<Expr>),
    Ternary(Box<[Expr; 3]>),
    /// Parentheses: one value of several.
    Paren(Box<Expr>),
    /// What only LuaJIT looks into, with the reason.
    Opaque(&'static str),
}

/// One item of a table constructor.
#[derive(Debug)]
pub(crate) enum Item {
    Positional(Expr),
    Keyed(Expr, Expr),
}
