//! Functions that make several rows of one: by `emit`, as a list, as an iterator of their own or as a coroutine. They are lifted
//! where their loops go over `gmatch`, which LuaJIT cannot compile; it is good at all others.

use super::{Inside, Lifter, Meaning, Result};
use crate::Role;
use crate::ast::{Block, Expr, Function, Item, LocalId};
use crate::native::{Action, Builtin, Code, Returned, Row, RowKind};

/// A function inside a function that makes its rows.
pub(super) enum Maker<'e> {
    Iterator(&'e Function),
    Coroutine(&'e Function),
}

impl Lifter {
    /// A loop over the matches of a pattern.
    pub(super) fn each(&mut self, ids: &[LocalId], heads: &[Expr], block: &Block, out: &mut Vec<Action>) -> Result<()> {
        let [head] = heads else { return Err("it has a loop".to_owned()) };
        let Some((text, pattern)) = self.matches(head).ok().flatten() else { return Err("it has a loop".to_owned()) };
        let slots = ids.iter().map(|id| self.slot(*id)).collect();
        let mut inner = Vec::new();
        self.loops += 1;
        self.block(block, &mut inner)?;
        self.loops -= 1;
        out.push(Action::Each(slots, text, pattern, inner));
        Ok(())
    }

    /// Whether a variable that is set only once is an iterator over matches, or the list that is returned: kept as such.
    pub(super) fn keep(&mut self, id: LocalId, value: &Expr, out: &mut Vec<Action>) -> Result<bool> {
        if let Expr::Table(items) = value
            && items.is_empty()
            && self.role == Role::FlatMap
            && (self.inside, self.loops, self.list) == (Inside::Function, 0, None)
        {
            (self.list, self.makes) = (Some(id), true);
            self.names.insert(id, Meaning::List);
            return Ok(true);
        }
        // What is not plain is reported where it is used as a value.
        let Ok(Some((text, pattern))) = self.matches(value) else { return Ok(false) };
        if pattern.has_captures() {
            return Ok(false);
        }
        let (held, at) = (self.slots, self.slots + 1);
        self.slots += 2;
        // What is no text has no part either, and is left to Lua.
        out.push(Action::Set(held, Code::Call(Builtin::Sub, vec![text, Code::Number(1.0)])));
        out.push(Action::Set(at, Code::Number(0.0)));
        self.names.insert(id, Meaning::Iterator(held, at, pattern));
        Ok(true)
    }

    /// The next match, where a call asks a kept iterator for it.
    pub(super) fn next(&self, call: &Expr) -> Option<Code> {
        let Expr::Call(callee, arguments) = call else { return None };
        match (&**callee, arguments.as_slice()) {
            (Expr::Local(id), []) => match self.names.get(id) {
                Some(Meaning::Iterator(text, at, pattern)) => Some(Code::Next(*text, *at, pattern.clone())),
                _ => None,
            },
            _ => None,
        }
    }

    /// A call for its effect: `emit`, `coroutine.yield` or `table.insert`, where these make rows.
    pub(super) fn effect(&mut self, call: &Expr, out: &mut Vec<Action>) -> Result<()> {
        let Expr::Call(callee, arguments) = call else { return Err("it calls something for its effect".to_owned()) };
        let kind = match &**callee {
            Expr::Global(name) if &**name == "emit" && self.inside == Inside::Emitting => RowKind::Emitted,
            callee if names(callee, "coroutine", "yield") && self.inside == Inside::Coroutine => RowKind::Yielded,
            callee if names(callee, "table", "insert") && self.is_list(arguments.first()) => RowKind::Item,
            _ => return Err("it calls something for its effect".to_owned()),
        };
        self.check_unchanged(match kind {
            RowKind::Emitted => "emit",
            RowKind::Yielded => "coroutine",
            RowKind::Item => "table",
        })?;
        match (kind, arguments.as_slice()) {
            (RowKind::Item, [_, item]) => self.append(item, out),
            (RowKind::Item, _) => Err("it puts an item into the middle of a list".to_owned()),
            (RowKind::Yielded, [Expr::Table(items)]) => {
                let row = self.list_row(items)?;
                out.push(Action::Give(row));
                Ok(())
            }
            (RowKind::Yielded | RowKind::Emitted, values) => {
                let row = self.row(values, kind)?;
                out.push(Action::Give(row));
                Ok(())
            }
        }
    }

    fn check_unchanged(&self, name: &str) -> Result<()> {
        self.changes.to(name).map_or(Ok(()), Err)
    }

    fn is_list(&self, value: Option<&Expr>) -> bool {
        matches!(value, Some(Expr::Local(id)) if self.list == Some(*id))
    }

    /// A row of all of these values, the last of which may be a call that gives several.
    fn row(&mut self, values: &[Expr], kind: RowKind) -> Result<Row> {
        let (mut fields, mut rest) = (Vec::new(), None);
        if let Some((last, others)) = values.split_last() {
            fields = others.iter().map(|value| self.value(value)).collect::<Result<Vec<Code>>>()?;
            rest = self.many(last)?;
            if rest.is_none() {
                fields.push(self.value(last)?);
            }
        }
        Ok(Row { fields, rest, kind })
    }

    /// A row of a list's items.
    fn list_row(&mut self, items: &[Item]) -> Result<Row> {
        if items.is_empty() {
            return Err("it makes a table".to_owned());
        }
        let fields = items.iter().map(|item| match item {
            Item::Positional(value) => self.list_item(value),
            Item::Keyed(..) => Err("it makes a table with keys".to_owned()),
        });
        let fields = fields.collect::<Result<Vec<Code>>>()?;
        Ok(Row { fields, rest: None, kind: RowKind::Item })
    }

    /// The item of `list[#list + 1] = item`.
    pub(super) fn appended<'e>(&self, targets: &[Expr], values: &'e [Expr]) -> Option<&'e Expr> {
        let ([Expr::Index(list, key)], [value]) = (targets, values) else { return None };
        let Expr::Binary("+", length, one) = &**key else { return None };
        let Expr::Unary("#", counted) = &**length else { return None };
        let appends = self.is_list(Some(list)) && self.is_list(Some(counted)) && matches!(**one, Expr::Number(1.0));
        appends.then_some(value)
    }

    pub(super) fn append(&mut self, item: &Expr, out: &mut Vec<Action>) -> Result<()> {
        let row = match item {
            Expr::Table(items) => self.list_row(items)?,
            value => Row { fields: vec![self.list_item(value)?], rest: None, kind: RowKind::Item },
        };
        out.push(Action::Give(row));
        Ok(())
    }

    /// The function inside, where one is returned that makes the rows.
    pub(super) fn maker<'e>(&self, values: &'e [Expr]) -> Result<Option<Maker<'e>>> {
        if self.role != Role::FlatMap {
            return Ok(None);
        }
        let maker = match values {
            [Expr::Function(function)] => Maker::Iterator(function),
            [Expr::Call(callee, arguments)] if names(callee, "coroutine", "wrap") => {
                self.check_unchanged("coroutine")?;
                let [Expr::Function(function)] = arguments.as_slice() else { return Ok(None) };
                Maker::Coroutine(function)
            }
            _ => return Ok(None),
        };
        let (Maker::Iterator(function) | Maker::Coroutine(function)) = &maker;
        if !function.params.is_empty() || function.vararg {
            return Err("it returns an iterator that asks for its state".to_owned());
        }
        Ok((self.list.is_none() && self.loops == 0).then_some(maker))
    }

    pub(super) fn make(&mut self, maker: Maker<'_>, out: &mut Vec<Action>) -> Result<()> {
        let (function, inside) = match maker {
            Maker::Iterator(function) => (function, Inside::Iterator),
            Maker::Coroutine(function) => (function, Inside::Coroutine),
        };
        self.assigned.extend(super::assigned(&function.body));
        (self.variadic, self.makes) = (None, true);
        let before = std::mem::replace(&mut self.inside, inside);
        let mut body = Vec::new();
        self.block(&function.body, &mut body)?;
        self.inside = before;
        if inside == Inside::Iterator {
            out.push(Action::Repeat(body));
        } else {
            out.extend(body);
        }
        out.push(Action::Return(Returned::Made));
        Ok(())
    }

    /// A return from where rows are made.
    pub(super) fn leave(&mut self, values: &[Expr], out: &mut Vec<Action>) -> Result<()> {
        let returned = match (self.inside, values) {
            (Inside::Iterator, [Expr::Table(_)]) => return Err("it makes a table".to_owned()),
            (Inside::Iterator, values) => {
                let row = self.row(values, RowKind::Yielded)?;
                match row.rest {
                    Some(rest) => Returned::Open(row.fields, rest),
                    None => Returned::Values(row.fields),
                }
            }
            (_, []) => Returned::Made,
            _ => return Err("it emits rows, and returns something".to_owned()),
        };
        out.push(Action::Return(returned));
        Ok(())
    }
}

/// Whether an expression is a function of a library's table.
fn names(callee: &Expr, library: &str, function: &str) -> bool {
    match callee {
        Expr::Index(table, key) => {
            matches!((&**table, &**key), (Expr::Global(table), Expr::Str(name)) if **table == *library && **name == *function.as_bytes())
        }
        _ => false,
    }
}
