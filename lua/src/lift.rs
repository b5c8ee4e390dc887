//! From a parsed function to native code: expressions, conditions and locals over Lua's pure library functions. What is not
//! plainly one of these stays with Lua, with the reason in words for `plan`.

mod call;
mod made;
mod prelude;

use std::collections::BTreeMap;

use crate::Role;
use crate::ast::{Block, Expr, Function, Head, Item, LocalId, Statement};
use crate::native::{Action, Arithmetic, Code, Lifted, Many, Returned};
use crate::pattern::Pattern;
use call::Library;
pub(crate) use prelude::Changes;

type Result<T> = std::result::Result<T, String>;

/// Lifts a function behind a prelude.
pub(crate) fn lift(function: &Function, role: Role, changes: Changes) -> Result<Lifted> {
    match role {
        Role::Split => return Err("it emits rows to several outputs".to_owned()),
        Role::Operate => return Err("it runs once".to_owned()),
        Role::Map | Role::FlatMap | Role::Filter | Role::ForEach | Role::Fold => {}
    }
    let assigned = assigned(&function.body);
    if function.vararg && role == Role::Fold {
        return Err("it takes '...'".to_owned());
    }
    let variadic = function.vararg.then_some(function.params.len());
    let inside = if role == Role::ForEach { Inside::Emitting } else { Inside::Function };
    let mut lifter = Lifter {
        role,
        changes,
        names: BTreeMap::new(),
        slots: 0,
        assigned,
        variadic,
        inside,
        loops: 0,
        list: None,
        makes: role == Role::ForEach,
    };
    let mut body = Vec::new();
    for (position, (_, id)) in function.params.iter().enumerate() {
        if lifter.assigned.contains(id) {
            let slot = lifter.slot(*id);
            body.push(Action::Set(slot, Code::Field(position)));
        } else {
            lifter.names.insert(*id, Meaning::Value(Code::Field(position)));
        }
    }
    lifter.block(&function.body, &mut body)?;
    Ok(Lifted { params: function.params.len(), slots: lifter.slots, makes: lifter.makes, body })
}

/// What a local variable stands for.
#[derive(Debug, Clone)]
enum Meaning {
    Value(Code),
    /// A function of the library, as in `local lower = string.lower`.
    Library(Library),
    /// What `gmatch` returned: the variables of its text and of its place in it, and the pattern.
    Iterator(usize, usize, Box<Pattern>),
    /// The list whose items a flatMap returns.
    List,
}

/// Whose statements are lifted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Inside {
    /// Those of a function that returns its results.
    Function,
    /// Those of one that emits them.
    Emitting,
    /// Those of a function inside it, from which a coroutine is made.
    Coroutine,
    /// Those of a function inside it, which it returns as an iterator.
    Iterator,
}

/// The values for some variables; the last so many of these may come from one call.
type Assigned = (Vec<Code>, Option<(usize, Many)>);

#[derive(Debug)]
struct Lifter {
    role: Role,
    changes: Changes,
    names: BTreeMap<LocalId, Meaning>,
    slots: usize,
    /// Variables that are assigned to after their declaration.
    assigned: Vec<LocalId>,
    /// The fields of `...` begin here, where there is one.
    variadic: Option<usize>,
    inside: Inside,
    /// So many loops are around.
    loops: usize,
    /// The list whose items it returns.
    list: Option<LocalId>,
    makes: bool,
}

impl Lifter {
    fn slot(&mut self, id: LocalId) -> usize {
        let slot = self.slots;
        self.slots += 1;
        self.names.insert(id, Meaning::Value(Code::Slot(slot)));
        slot
    }

    fn block(&mut self, block: &Block, out: &mut Vec<Action>) -> Result<()> {
        block.iter().try_for_each(|statement| self.statement(statement, out))
    }

    fn statement(&mut self, statement: &Statement, out: &mut Vec<Action>) -> Result<()> {
        match statement {
            Statement::Local(ids, values) => self.local(ids, values, out),
            Statement::Assign(targets, values) => match self.appended(targets, values) {
                Some(item) => self.append(item, out),
                None => self.assign(targets, values, out),
            },
            Statement::Compound(target, operator, value) => {
                let slot = self.target(target)?;
                let value = self.binary(operator, target, value)?;
                out.push(Action::Set(slot, value));
                Ok(())
            }
            Statement::If(arms, otherwise) => {
                let mut lifted = Vec::new();
                for (condition, block) in arms {
                    let mut inner = Vec::new();
                    let condition = self.value(condition)?;
                    self.block(block, &mut inner)?;
                    lifted.push((condition, inner));
                }
                let mut last = Vec::new();
                if let Some(block) = otherwise {
                    self.block(block, &mut last)?;
                }
                out.push(Action::If(lifted, last));
                Ok(())
            }
            Statement::Do(block) => self.block(block, out),
            Statement::Return(values) if self.inside != Inside::Function => self.leave(values, out),
            Statement::Return(values) => {
                if let Some(function) = self.maker(values)? {
                    return self.make(function, out);
                }
                let returned = self.returned(values)?;
                out.push(Action::Return(returned));
                Ok(())
            }
            Statement::Call(call) => self.effect(call, out),
            Statement::Function(..) => Err("it makes a function".to_owned()),
            Statement::Loop(Head::Each(variables), heads, block) => self.each(variables, heads, block, out),
            Statement::Loop(Head::Counted, ..) => Err("it has a loop".to_owned()),
            Statement::Jump => Err("it jumps".to_owned()),
        }
    }

    fn local(&mut self, ids: &[LocalId], values: &[Expr], out: &mut Vec<Action>) -> Result<()> {
        if let ([id], [value]) = (ids, values)
            && !self.assigned.contains(id)
            && let Some(library) = self.library(value)?
        {
            self.names.insert(*id, Meaning::Library(library));
            return Ok(());
        }
        if let ([id], [value]) = (ids, values)
            && !self.assigned.contains(id)
            && self.keep(*id, value, out)?
        {
            return Ok(());
        }
        let set = self.values_for(ids.len(), values)?;
        self.set(set, |lifter, at| Ok(lifter.slot(ids[at])), out)
    }

    fn assign(&mut self, targets: &[Expr], values: &[Expr], out: &mut Vec<Action>) -> Result<()> {
        let set = self.values_for(targets.len(), values)?;
        let slots = targets.iter().map(|target| self.target(target)).collect::<Result<Vec<_>>>()?;
        // Which value stays is nothing that Lua promises, and is left to it.
        if (1..slots.len()).any(|at| slots[..at].contains(&slots[at])) {
            return Err("it sets a variable twice at once".to_owned());
        }
        self.set(set, |_, at| Ok(slots[at]), out)
    }

    fn target(&mut self, target: &Expr) -> Result<usize> {
        match target {
            Expr::Local(id) => match self.names.get(id) {
                Some(Meaning::Value(Code::Slot(slot))) => Ok(*slot),
                _ => Err("it keeps state in a variable of the prelude".to_owned()),
            },
            Expr::Global(name) => Err(format!("it keeps state in the global {name}")),
            _ => Err("it changes a table".to_owned()),
        }
    }

    /// The values for `count` variables: as many expressions, and perhaps a call for the last of them.
    fn values_for(&mut self, count: usize, values: &[Expr]) -> Result<Assigned> {
        let mut codes = Vec::new();
        for (at, value) in values.iter().enumerate() {
            let last = at + 1 == values.len() && at + 1 < count;
            if let (Some(first), Expr::Vararg, true) = (self.variadic, value, at + 1 == values.len()) {
                codes.extend((first..first + count.saturating_sub(at).max(1)).map(Code::Field));
                break;
            }
            if let Some(next) = self.next(value) {
                codes.push(next);
                continue;
            }
            if last && let Some(many) = self.many(value)? {
                return Ok((codes, Some((count - at, many))));
            }
            codes.push(self.value(value)?);
        }
        codes.resize(count.max(codes.len()), Code::Nil);
        // What has no place is computed all the same, and may fail.
        let is_plain = |code: &Code| {
            matches!(code, Code::Nil | Code::Bool(_) | Code::Number(_) | Code::Str(_) | Code::Field(_) | Code::Slot(_))
        };
        if !codes.split_off(count).iter().all(is_plain) {
            return Err("it drops a value that it computes".to_owned());
        }
        Ok((codes, None))
    }

    /// Sets variables, all of whose values are computed before the first one changes.
    fn set(
        &mut self,
        (mut codes, many): Assigned,
        mut slot: impl FnMut(&mut Self, usize) -> Result<usize>,
        out: &mut Vec<Action>,
    ) -> Result<()> {
        let count = codes.len();
        if count + many.as_ref().map_or(0, |(count, _)| *count) > 1 {
            for code in &mut codes {
                let held = self.slots;
                self.slots += 1;
                out.push(Action::Set(held, std::mem::replace(code, Code::Slot(held))));
            }
        }
        if let Some((more, many)) = many {
            let held: Vec<usize> = (self.slots..self.slots + more).collect();
            self.slots += more;
            out.push(Action::SetMany(held.clone(), many));
            codes.extend(held.into_iter().map(Code::Slot));
        }
        for (at, code) in codes.into_iter().enumerate() {
            let slot = slot(self, at)?;
            out.push(Action::Set(slot, code));
        }
        Ok(())
    }

    fn returned(&mut self, values: &[Expr]) -> Result<Returned> {
        if self.role == Role::FlatMap {
            return self.returned_items(values);
        }
        let Some((last, others)) = values.split_last() else { return Ok(Returned::Values(Vec::new())) };
        let mut codes = others.iter().map(|value| self.value(value)).collect::<Result<Vec<_>>>()?;
        if let Some(many) = self.many(last)? {
            return Ok(Returned::Open(codes, many));
        }
        codes.push(self.value(last)?);
        Ok(Returned::Values(codes))
    }

    fn returned_items(&mut self, values: &[Expr]) -> Result<Returned> {
        match values {
            [] => Ok(Returned::Values(Vec::new())),
            [Expr::Nil] => Ok(Returned::Values(vec![Code::Nil])),
            [Expr::Table(items)] => Ok(Returned::Items(items.iter().map(|item| self.item(item)).collect::<Result<_>>()?)),
            [Expr::Local(id)] if self.list == Some(*id) => Ok(Returned::Made),
            [Expr::Paren(_)] | [_, _, ..] => Err("it returns an iterator in its parts".to_owned()),
            [call] => match self.matches(call)? {
                Some((text, pattern)) => Ok(Returned::Matches(text, pattern)),
                None => Err("it returns an iterator or a list of its own making".to_owned()),
            },
        }
    }

    fn item(&mut self, item: &Item) -> Result<Vec<Code>> {
        match item {
            Item::Keyed(..) => Err("it makes a table with keys".to_owned()),
            Item::Positional(Expr::Table(fields)) if !fields.is_empty() => fields
                .iter()
                .map(|field| match field {
                    Item::Positional(value) => self.list_item(value),
                    Item::Keyed(..) => Err("it makes a table with keys".to_owned()),
                })
                .collect(),
            Item::Positional(value) => Ok(vec![self.list_item(value)?]),
        }
    }

    /// An item of a list, where a call at the end may give several.
    fn list_item(&mut self, value: &Expr) -> Result<Code> {
        match self.many(value)? {
            Some(_) => Err("it makes a list of all that a call gives".to_owned()),
            None => self.value(value),
        }
    }

    fn value(&mut self, expr: &Expr) -> Result<Code> {
        Ok(match expr {
            Expr::Nil => Code::Nil,
            Expr::True => Code::Bool(true),
            Expr::False => Code::Bool(false),
            Expr::Number(number) => Code::Number(*number),
            Expr::Str(text) => Code::Str((**text).into()),
            Expr::Local(id) => match self.names.get(id) {
                Some(Meaning::Value(code)) => code.clone(),
                Some(Meaning::Library(_) | Meaning::Iterator(..)) => return Err("it uses a function as a value".to_owned()),
                Some(Meaning::List) => return Err("it uses a list of its own making".to_owned()),
                None => return Err("it uses a local of the prelude".to_owned()),
            },
            Expr::Global(name) => return Err(format!("it uses the global {name}")),
            Expr::Paren(inner) => self.value(inner)?,
            Expr::Unary(operator, operand) => self.unary(operator, operand)?,
            Expr::Binary(operator, left, right) => self.binary(operator, left, right)?,
            Expr::Ternary(parts) => {
                let [condition, then, otherwise] = &**parts;
                Code::Pick(Box::new([self.value(condition)?, self.value(then)?, self.value(otherwise)?]))
            }
            Expr::Call(..) | Expr::Method(..) => self.call(expr)?,
            Expr::Index(..) => return Err("it looks into a table".to_owned()),
            Expr::Table(_) => return Err("it makes a table".to_owned()),
            Expr::Function(_) => return Err("it makes a function".to_owned()),
            Expr::Vararg => return Err("it takes '...'".to_owned()),
            Expr::Opaque(what) => return Err(format!("it has {what}")),
        })
    }

    fn boxed(&mut self, expr: &Expr) -> Result<Box<Code>> {
        self.value(expr).map(Box::new)
    }

    fn unary(&mut self, operator: &str, operand: &Expr) -> Result<Code> {
        Ok(match operator {
            "not" => Code::Not(self.boxed(operand)?),
            "-" => Code::Negate(self.boxed(operand)?),
            "#" => Code::Len(self.boxed(operand)?),
            _ => return Err(format!("it uses the operator {operator}")),
        })
    }

    fn binary(&mut self, operator: &str, left: &Expr, right: &Expr) -> Result<Code> {
        let arithmetic = match operator {
            "+" => Some(Arithmetic::Add),
            "-" => Some(Arithmetic::Subtract),
            "*" => Some(Arithmetic::Multiply),
            "/" => Some(Arithmetic::Divide),
            "%" => Some(Arithmetic::Modulo),
            "^" => Some(Arithmetic::Power),
            _ => None,
        };
        if let Some(operator) = arithmetic {
            return Ok(Code::Arithmetic(operator, self.boxed(left)?, self.boxed(right)?));
        }
        Ok(match operator {
            "==" => Code::Equal(self.boxed(left)?, self.boxed(right)?),
            "~=" => Code::Not(Box::new(Code::Equal(self.boxed(left)?, self.boxed(right)?))),
            "<" => Code::Less(self.boxed(left)?, self.boxed(right)?),
            "<=" => Code::LessOrEqual(self.boxed(left)?, self.boxed(right)?),
            ">" => Code::Less(self.boxed(right)?, self.boxed(left)?),
            ">=" => Code::LessOrEqual(self.boxed(right)?, self.boxed(left)?),
            "and" => Code::And(self.boxed(left)?, self.boxed(right)?),
            "or" => Code::Or(self.boxed(left)?, self.boxed(right)?),
            "??" => Code::Coalesce(self.boxed(left)?, self.boxed(right)?),
            ".." => {
                let mut parts = vec![self.value(left)?];
                match self.value(right)? {
                    Code::Concat(more) => parts.extend(more),
                    one => parts.push(one),
                }
                Code::Concat(parts)
            }
            _ => return Err(format!("it uses the operator {operator}")),
        })
    }
}

/// The variables that a block assigns to after their declaration, those inside it included.
fn assigned(block: &Block) -> Vec<LocalId> {
    let mut found = Vec::new();
    for statement in block {
        let mut note = |target: &Expr| {
            if let Expr::Local(id) = target {
                found.push(*id);
            }
        };
        match statement {
            Statement::Assign(targets, _) => targets.iter().for_each(note),
            Statement::Compound(target, ..) | Statement::Function(Some(target), _) => note(target),
            Statement::If(arms, otherwise) => {
                arms.iter().map(|(_, block)| block).chain(otherwise).for_each(|block| found.extend(assigned(block)));
            }
            Statement::Do(block) | Statement::Loop(_, _, block) => found.extend(assigned(block)),
            Statement::Local(..) | Statement::Return(_) | Statement::Call(_) | Statement::Function(None, _) | Statement::Jump => {
            }
        }
    }
    found
}
