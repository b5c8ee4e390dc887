//! What a prelude may have done to the library that functions call.

use std::collections::BTreeSet;
use std::rc::Rc;

use crate::ast::{Block, Expr, Function, Item, Statement};
use crate::lex::Name;

/// The traces that a prelude leaves on globals.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Globals that it assigns to or passes around, or whose fields it assigns to.
    touched: BTreeSet<Name>,
    /// It uses something that could reach any global or metatable; what it is.
    reaches: Option<String>,
}

/// Globals through which everything can be changed.
const FAR_REACHING: [&str; 16] = [
    "_G",
    "debug",
    "dofile",
    "ffi",
    "getfenv",
    "getmetatable",
    "jit",
    "load",
    "loadfile",
    "loadstring",
    "module",
    "package",
    "rawset",
    "require",
    "setfenv",
    "setmetatable",
];

/// The tables of the library whose functions are known.
const LIBRARIES: [&str; 4] = ["coroutine", "math", "string", "table"];

impl Changes {
    /// The changes of a prelude.
    pub(crate) fn of(prelude: &Block) -> Changes {
        let mut changes = Changes::default();
        changes.block(prelude);
        changes
    }

    /// Why a global of the library may not be what it was; `None` where it surely is.
    pub(crate) fn to(&self, name: &str) -> Option<String> {
        if let Some(reach) = &self.reaches {
            return Some(format!("the prelude uses {reach}, which could change {name}"));
        }
        self.touched.contains(name).then(|| format!("the prelude may change {name}"))
    }

    fn block(&mut self, block: &Block) {
        block.iter().for_each(|statement| self.statement(statement));
    }

    fn statement(&mut self, statement: &Statement) {
        match statement {
            Statement::Local(_, values) | Statement::Return(values) => self.values(values),
            Statement::Assign(targets, values) => {
                targets.iter().for_each(|target| self.target(target));
                self.values(values);
            }
            Statement::Compound(target, _, value) => {
                self.target(target);
                self.value(value);
            }
            Statement::If(arms, otherwise) => {
                for (condition, block) in arms {
                    self.value(condition);
                    self.block(block);
                }
                otherwise.iter().for_each(|block| self.block(block));
            }
            Statement::Do(block) => self.block(block),
            Statement::Call(call) => self.value(call),
            Statement::Function(target, function) => {
                target.iter().for_each(|target| self.target(target));
                self.function(function);
            }
            Statement::Loop(_, heads, block) => {
                self.values(heads);
                self.block(block);
            }
            Statement::Jump => {}
        }
    }

    fn function(&mut self, function: &Rc<Function>) {
        self.block(&function.body);
    }

    fn target(&mut self, target: &Expr) {
        match target {
            Expr::Global(name) => self.touch(name),
            Expr::Index(table, key) => {
                self.target(table);
                self.value(key);
            }
            Expr::Local(_) => {}
            other => self.value(other),
        }
    }

    fn touch(&mut self, name: &Name) {
        if FAR_REACHING.contains(&&**name) {
            self.reaches = Some(name.to_string());
        }
        self.touched.insert(Name::clone(name));
    }

    fn values(&mut self, values: &[Expr]) {
        values.iter().for_each(|value| self.value(value));
    }

    fn value(&mut self, value: &Expr) {
        match value {
            // A library passed around as a whole could be changed under another name; a function could not.
            Expr::Global(name) if LIBRARIES.contains(&&**name) || FAR_REACHING.contains(&&**name) => self.touch(name),
            Expr::Index(table, key) => match (&**table, &**key) {
                (Expr::Global(name), Expr::Str(_)) if LIBRARIES.contains(&&**name) => {}
                _ => {
                    self.value(table);
                    self.value(key);
                }
            },
            Expr::Call(callee, arguments) => {
                self.value(callee);
                self.values(arguments);
            }
            Expr::Method(object, _, arguments) => {
                self.value(object);
                self.values(arguments);
            }
            Expr::Unary(_, operand) => self.value(operand),
            Expr::Binary(_, left, right) => {
                self.value(left);
                self.value(right);
            }
            Expr::Ternary(parts) => self.values(&**parts),
            Expr::Paren(inner) => self.value(inner),
            Expr::Function(function) => self.function(function),
            Expr::Table(items) => items.iter().for_each(|item| match item {
                Item::Positional(value) => self.value(value),
                Item::Keyed(key, value) => {
                    self.value(key);
                    self.value(value);
                }
            }),
            Expr::Opaque(what) => self.reaches = Some((*what).to_owned()),
            Expr::Nil
            | Expr::True
            | Expr::False
            | Expr::Number(_)
            | Expr::Str(_)
            | Expr::Vararg
            | Expr::Local(_)
            | Expr::Global(_) => {}
        }
    }
}
