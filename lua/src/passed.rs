//! Which parameters a function only passes on, or even only moves: into its results, without a test. Every use of one that is not
//! plainly harmless counts as a look inside.

use std::collections::{BTreeMap, BTreeSet};

use crate::ast::{Block, Expr, Function, LocalId, Statement};
use crate::lift::Changes;

/// Parameters, by position, whose lists and maps the function does not look into.
#[derive(Debug, Clone, Default)]
pub(crate) struct Passed {
    /// Where what it returns becomes fields.
    pub(crate) whole: BTreeSet<usize>,
    /// Where what it returns is looked into.
    pub(crate) unless_returned: BTreeSet<usize>,
    /// Where what it returns becomes fields: those of which it cannot even tell what they are.
    pub(crate) moved: BTreeSet<usize>,
}

/// What a use of a parameter must not do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// Look into a table.
    Look,
    /// Likewise, and what is returned is looked into.
    LookOrReturn,
    /// Anything but become a field of a result.
    Touch,
}

impl Passed {
    /// Those of a function behind a prelude; `named` says how often the text names each parameter.
    pub(crate) fn of(function: &Function, prelude: &Block, named: &BTreeMap<usize, usize>) -> Passed {
        let (before, inside) = (Changes::of(prelude), Changes::of(&function.body));
        let changed = ["emit", "type"].iter().any(|name| before.to(name).or_else(|| inside.to(name)).is_some());
        if changed {
            return Passed::default();
        }
        let passed = |rule: Rule| {
            let mut uses = Uses { rule, harmless: BTreeMap::new() };
            uses.block(&function.body);
            let all_harmless = |(at, (_, id)): (usize, &(_, LocalId))| {
                (uses.harmless.get(id).unwrap_or(&0) == named.get(&at).unwrap_or(&0)).then_some(at)
            };
            function.params.iter().enumerate().filter_map(all_harmless).collect()
        };
        Passed { whole: passed(Rule::Look), unless_returned: passed(Rule::LookOrReturn), moved: passed(Rule::Touch) }
    }
}

/// Counts the uses of variables that a rule allows.
struct Uses {
    rule: Rule,
    harmless: BTreeMap<LocalId, usize>,
}

impl Uses {
    fn block(&mut self, block: &Block) {
        block.iter().for_each(|statement| self.statement(statement));
    }

    fn statement(&mut self, statement: &Statement) {
        match statement {
            Statement::Local(_, values) => self.anywhere_all(values),
            Statement::Assign(targets, values) => {
                // A variable that gets another value.
                targets.iter().for_each(|target| self.passed(target));
                self.anywhere_all(values);
            }
            Statement::If(arms, otherwise) => {
                for (condition, block) in arms {
                    self.passed(condition);
                    self.block(block);
                }
                otherwise.iter().for_each(|block| self.block(block));
            }
            Statement::Do(block) => self.block(block),
            Statement::Return(values) if self.rule == Rule::LookOrReturn => self.anywhere_all(values),
            Statement::Return(values) => values.iter().for_each(|value| self.field(value)),
            Statement::Call(call) => self.anywhere(call),
            Statement::Loop(_, heads, block) => {
                self.anywhere_all(heads);
                self.block(block);
            }
            Statement::Compound(_, _, value) => self.anywhere(value),
            // What another function does with a variable, and when, is not followed.
            Statement::Function(..) | Statement::Jump => {}
        }
    }

    /// A value that becomes a field.
    fn field(&mut self, value: &Expr) {
        match value {
            Expr::Paren(inner) => self.field(inner),
            Expr::Local(id) => *self.harmless.entry(*id).or_default() += 1,
            other => self.passed(other),
        }
    }

    /// A value that becomes a field, or is only tested or compared.
    fn passed(&mut self, value: &Expr) {
        match value {
            other if self.rule == Rule::Touch => self.anywhere(other),
            Expr::Local(id) => *self.harmless.entry(*id).or_default() += 1,
            Expr::Paren(inner) => self.passed(inner),
            Expr::Binary("and" | "or" | "??", left, right) => {
                self.passed(left);
                self.passed(right);
            }
            Expr::Ternary(parts) => parts.iter().for_each(|part| self.passed(part)),
            other => self.anywhere(other),
        }
    }

    fn anywhere_all(&mut self, values: &[Expr]) {
        values.iter().for_each(|value| self.anywhere(value));
    }

    /// A value that may end up anywhere.
    fn anywhere(&mut self, value: &Expr) {
        match value {
            Expr::Paren(inner) => self.anywhere(inner),
            Expr::Unary("not" | "-", operand) => self.passed(operand),
            // Tables raise in all of these but the equalities, whatever they hold.
            Expr::Binary("==" | "~=" | "<" | "<=" | ">" | ">=" | "+" | "-" | "*" | "/" | "%" | "^" | "..", left, right) => {
                self.passed(left);
                self.passed(right);
            }
            Expr::Binary("and", left, right) => {
                self.passed(left);
                self.anywhere(right);
            }
            Expr::Unary(_, operand) => self.anywhere(operand),
            Expr::Binary(_, left, right) => {
                self.anywhere(left);
                self.anywhere(right);
            }
            Expr::Ternary(parts) => {
                let [condition, then, otherwise] = &**parts;
                self.passed(condition);
                self.anywhere(then);
                self.anywhere(otherwise);
            }
            Expr::Call(callee, arguments) if is_emit(callee) => arguments.iter().for_each(|argument| self.field(argument)),
            Expr::Call(callee, arguments) if is_type(callee) => arguments.iter().for_each(|argument| self.passed(argument)),
            Expr::Call(callee, arguments) => {
                self.anywhere(callee);
                self.anywhere_all(arguments);
            }
            Expr::Method(object, _, arguments) => {
                self.anywhere(object);
                self.anywhere_all(arguments);
            }
            Expr::Index(table, key) => {
                self.anywhere(table);
                self.anywhere(key);
            }
            // A table's items are looked at where a flatMap returns it.
            Expr::Table(_)
            | Expr::Nil
            | Expr::True
            | Expr::False
            | Expr::Number(_)
            | Expr::Str(_)
            | Expr::Vararg
            | Expr::Function(_)
            | Expr::Local(_)
            | Expr::Global(_)
            | Expr::Opaque(_) => {}
        }
    }
}

/// Whether a function is `emit` or `emit.output`, whose arguments become fields.
fn is_emit(callee: &Expr) -> bool {
    match callee {
        Expr::Global(name) => **name == *"emit",
        Expr::Index(table, key) => matches!((&**table, &**key), (Expr::Global(name), Expr::Str(_)) if **name == *"emit"),
        Expr::Paren(inner) => is_emit(inner),
        _ => false,
    }
}

/// Whether a function is `type`, which does not look into its argument.
fn is_type(callee: &Expr) -> bool {
    match callee {
        Expr::Global(name) => **name == *"type",
        Expr::Paren(inner) => is_type(inner),
        _ => false,
    }
}
