//! Rows that a function makes on its way, and its loops over `gmatch`. Nothing is passed on before the function is through: until
//! then Lua can still take the whole row over, and does where there would be too much to keep.

use std::cell::RefCell;

use lua::native::{Action, Code, Returned, Row, RowKind};
use lua::pattern::Pattern;

use super::eval::{Frame, actions};
use super::{Outcome, captured};
use crate::{Result, RowSink, Val};

/// A row that makes more fields than this is for Lua, which passes rows on as it goes.
const MOST_FIELDS: usize = 1 << 16;
/// Likewise for bytes of strings, those included that it only needs on its way: Lua frees them.
pub(super) const MOST_BYTES: usize = 4 << 20;

/// The rows made so far.
pub(super) struct Made<'a> {
    values: RefCell<Vec<Val<'a>>>,
    /// Where each row ends.
    ends: RefCell<Vec<usize>>,
}

impl<'a> Made<'a> {
    /// No rows, in allocations that had others.
    pub(super) fn new(mut values: Vec<Val<'a>>, mut ends: Vec<usize>) -> Made<'a> {
        values.clear();
        ends.clear();
        Made { values: RefCell::new(values), ends: RefCell::new(ends) }
    }

    pub(super) fn into_parts(self) -> (Vec<Val<'a>>, Vec<usize>) {
        (self.values.into_inner(), self.ends.into_inner())
    }

    pub(super) fn pass_on(&self, out: &mut dyn RowSink) -> Result<Outcome> {
        let (values, mut start) = (self.values.borrow(), 0);
        for end in self.ends.borrow().iter() {
            out.push(&values[start..*end])?;
            start = *end;
        }
        Ok(Outcome::Done)
    }
}

/// Makes a row; whether the function goes on.
pub(super) fn give<'a>(row: &'a Row, frame: &Frame<'a, '_>) -> Option<bool> {
    make(row.kind, frame, |values| {
        for code in &row.fields {
            frame.push_field(code, values)?;
        }
        row.rest.as_ref().map_or(Some(()), |many| frame.push_fields(many, values))
    })
}

/// Runs a block that returns a row each time until it returns none.
pub(super) fn repeat<'a>(block: &'a [Action], frame: &Frame<'a, '_>) -> Option<()> {
    while let Some(returned) = actions(block, frame)?
        && make(RowKind::Yielded, frame, |values| frame.fields(returned, values))?
    {}
    Some(())
}

fn make<'a>(kind: RowKind, frame: &Frame<'a, '_>, fill: impl FnOnce(&mut Vec<Val<'a>>) -> Option<()>) -> Option<bool> {
    let made = frame.made?;
    let mut values = made.values.borrow_mut();
    let from = values.len();
    fill(&mut values)?;
    let row = &values[from..];
    match (kind, row) {
        (RowKind::Emitted, []) => return Some(true),
        (RowKind::Yielded, [] | [Val::Nil, ..]) => {
            values.truncate(from);
            return Some(false);
        }
        // A list gives several fields.
        (RowKind::Yielded | RowKind::Item, [Val::List(_) | Val::Map(_)]) => return None,
        (RowKind::Item, row) if row.contains(&Val::Nil) => return None,
        (RowKind::Emitted | RowKind::Yielded | RowKind::Item, _) => {}
    }
    made.ends.borrow_mut().push(values.len());
    (values.len() <= MOST_FIELDS && fits(frame)).then_some(true)
}

fn fits(frame: &Frame<'_, '_>) -> bool {
    frame.arena.allocated_bytes() <= MOST_BYTES
}

/// Runs a block for each match, as `gmatch` steps from one to the next, until it returns.
pub(super) fn each<'a>(
    variables: &[usize],
    (text, pattern): (&'a Code, &'a Pattern),
    block: &'a [Action],
    frame: &Frame<'a, '_>,
) -> Option<Option<&'a Returned>> {
    let (text, mut from) = (frame.text(text)?, 0);
    let plain = !pattern.has_captures();
    loop {
        let (start, end);
        if let ([variable], true) = (variables, plain) {
            let Some(found) = next_match(text, from, pattern) else { return Some(None) };
            (start, end) = found;
            frame.set(*variable, Val::Str(&text[start..end]));
        } else {
            let Some(found) = (from <= text.len()).then(|| pattern.find(text, from)).flatten() else { return Some(None) };
            (start, end) = (found.start, found.end);
            for (at, variable) in variables.iter().enumerate() {
                frame.set(*variable, found.captures().get(at).map_or(Val::Nil, |capture| captured(text, *capture)));
            }
        }
        if let Some(returned) = actions(block, frame)? {
            return Some(Some(returned));
        }
        if !fits(frame) {
            return None;
        }
        from = if end == start { end + 1 } else { end };
    }
}

/// Where the next match begins and ends.
#[inline]
pub(super) fn next_match(text: &[u8], from: usize, pattern: &Pattern) -> Option<(usize, usize)> {
    let rest = text.get(from..)?;
    let Some(class) = pattern.run() else {
        return pattern.find(text, from).map(|found| (found.start, found.end));
    };
    let start = rest.iter().position(|byte| class[usize::from(*byte)])?;
    let word = &rest[start..];
    let len = word.iter().position(|byte| !class[usize::from(*byte)]).unwrap_or(word.len());
    Some((from + start, from + start + len))
}
