//! Tier one: functions that `lua` lifted, run over borrowed values without Lua. The first value that they do not cover hands
//! the row to Lua; lifted functions have no state, so that nobody can tell.

mod eval;
mod library;
mod made;
mod number;

use bumpalo::Bump;
use lua::native::{Code, Lifted, Returned};
use lua::pattern::{Capture, Pattern};

use super::batched::{self, Batched};
use super::port::SharedOutputs;
use super::vm::Kind;
use super::{Plan, Step};
use crate::{Result, RowScratch, RowSink, Val};
use eval::{Exit, Frame, run};
use made::Made;

/// Fallbacks before it is asked whether there are too many.
const PATIENCE: u64 = 256;

/// Runs a lifted function.
pub(super) struct Native {
    lifted: Lifted,
    kind: Kind,
    outs: SharedOutputs,
    scratch: Scratches,
    lua: Fallback,
    rows: u64,
}

/// Reused allocations.
#[derive(Default)]
struct Scratches {
    /// Strings that a row's expressions make.
    arena: Bump,
    slots: RowScratch,
    row: RowScratch,
    made: RowScratch,
    ends: Vec<usize>,
}

impl Scratches {
    /// Forgets the strings.
    #[inline]
    fn reset(&mut self) {
        match self.arena.allocated_bytes() {
            0 => {}
            // Rows that make much seldom come one after the other.
            bytes if bytes > made::MOST_BYTES / 2 => self.arena = Bump::new(),
            _ => self.arena.reset(),
        }
    }
}

/// The same function in Lua, loaded when a row first needs it.
struct Fallback {
    step: Step,
    function: plan::Function,
    sides: Vec<super::Side>,
    kind: Kind,
    loaded: Option<Batched>,
    /// Rows that it got.
    rows: u64,
    /// It gets all rows from now on.
    takes_all: bool,
}

/// What became of a row.
enum Outcome {
    Done,
    Uncovered,
}

impl Native {
    /// Takes over a function. With a prelude or side inputs it is loaded in Lua too, so that errors in these are found.
    pub(super) fn new(lifted: Lifted, step: Step, plan: &Plan<'_>, outs: SharedOutputs) -> Result<Native> {
        let eager = !step.ctx.run.prelude.is_empty() || !plan.sides.is_empty();
        let lua = Fallback {
            step,
            function: plan.function.clone(),
            sides: plan.sides.to_vec(),
            kind: plan.kind,
            loaded: None,
            rows: 0,
            takes_all: false,
        };
        let mut native = Native { lifted, kind: plan.kind, outs, scratch: Scratches::default(), lua, rows: 0 };
        if eager {
            native.lua.load(&native.outs)?;
        }
        Ok(native)
    }

    fn fall_back(&mut self, row: &[Val<'_>]) -> Result<()> {
        let lua = &mut self.lua;
        lua.rows += 1;
        let too_many = lua.rows > PATIENCE && lua.rows * 4 > self.rows;
        let inner = lua.load(&self.outs)?;
        inner.push(row)?;
        if too_many {
            inner.set_rows(batched::ROWS);
            lua.takes_all = true;
        }
        Ok(())
    }
}

impl Fallback {
    fn load(&mut self, outs: &SharedOutputs) -> Result<&mut Batched> {
        if self.loaded.is_none() {
            let plan = Plan {
                function: &self.function,
                kind: self.kind,
                names: &[],
                emits: self.kind == Kind::Emit,
                sides: &self.sides,
            };
            self.loaded = Some(Batched::new(self.step.clone(), &plan, SharedOutputs::clone(outs), 1)?);
        }
        match &mut self.loaded {
            Some(loaded) => Ok(loaded),
            None => unreachable!("loaded just above"),
        }
    }
}

impl RowSink for Native {
    fn push(&mut self, row: &[Val<'_>]) -> Result<()> {
        if self.lua.takes_all {
            return self.lua.load(&self.outs)?.push(row);
        }
        self.rows += 1;
        let mut outs = self.outs.borrow_mut();
        let outcome = apply(&self.lifted, self.kind, row, &mut self.scratch, &mut *outs[0])?;
        drop(outs);
        self.scratch.reset();
        match outcome {
            Outcome::Done => Ok(()),
            Outcome::Uncovered => self.fall_back(row),
        }
    }

    fn finish(&mut self) -> Result<()> {
        match &mut self.lua.loaded {
            Some(loaded) => loaded.finish(),
            None => self.outs.borrow_mut().iter_mut().try_for_each(|out| out.finish()),
        }
    }

    fn wants_more(&self) -> bool {
        self.outs.borrow().iter().any(|out| out.wants_more())
    }
}

/// Runs a lifted function over one row, whose results go to `out`.
#[inline]
fn apply(lifted: &Lifted, kind: Kind, row: &[Val<'_>], scratch: &mut Scratches, out: &mut dyn RowSink) -> Result<Outcome> {
    if lifted.makes {
        return apply_making(lifted, kind, row, scratch, out);
    }
    if lifted.slots == 0 {
        return apply_in(lifted, kind, &Frame::new(row, &mut [], &scratch.arena), &mut scratch.row, out);
    }
    let mut slots = scratch.slots.take();
    slots.resize(lifted.slots, Val::Nil);
    let outcome = apply_in(lifted, kind, &Frame::new(row, &mut slots, &scratch.arena), &mut scratch.row, out);
    scratch.slots.give(slots);
    outcome
}

/// The same for a function that makes rows on its way: they are passed on once it is through.
fn apply_making(lifted: &Lifted, kind: Kind, row: &[Val<'_>], scratch: &mut Scratches, out: &mut dyn RowSink) -> Result<Outcome> {
    let made = Made::new(scratch.made.take(), std::mem::take(&mut scratch.ends));
    let mut slots = scratch.slots.take();
    slots.resize(lifted.slots, Val::Nil);
    let frame = Frame::making(row, &mut slots, &scratch.arena, &made);
    let outcome = match run(&lifted.body, &frame) {
        Exit::Uncovered => Ok(Outcome::Uncovered),
        Exit::Return(Some(Returned::Made)) => made.pass_on(out),
        Exit::Return(None) if kind == Kind::Emit => made.pass_on(out),
        Exit::Return(None) => Ok(Outcome::Done),
        Exit::Return(Some(returned)) => flat_map(returned, &frame, &mut scratch.row, out),
    };
    let (values, ends) = made.into_parts();
    scratch.made.give(values);
    scratch.ends = ends;
    scratch.slots.give(slots);
    outcome
}

#[inline]
fn apply_in<'a>(
    lifted: &'a Lifted,
    kind: Kind,
    frame: &Frame<'a, '_>,
    scratch: &mut RowScratch,
    out: &mut dyn RowSink,
) -> Result<Outcome> {
    match run(&lifted.body, frame) {
        Exit::Uncovered => Ok(Outcome::Uncovered),
        Exit::Return(None) => Ok(Outcome::Done),
        Exit::Return(Some(returned)) => match kind {
            Kind::Map => map(returned, frame, scratch, out),
            Kind::Filter => filter(returned, frame, out),
            Kind::FlatMap => flat_map(returned, frame, scratch, out),
            Kind::Emit => Ok(Outcome::Uncovered),
        },
    }
}

/// Passes a value on, or leaves the row to Lua.
macro_rules! covered {
    ($value:expr) => {
        match $value {
            Some(value) => value,
            None => return Ok(Outcome::Uncovered),
        }
    };
}

fn map<'a>(returned: &'a Returned, frame: &Frame<'a, '_>, scratch: &mut RowScratch, out: &mut dyn RowSink) -> Result<Outcome> {
    if let Returned::Values(codes) = returned {
        match codes.as_slice() {
            [] => return Ok(Outcome::Done),
            [a] => {
                let row = [covered!(frame.field(a))];
                return out.push(&row).map(|()| Outcome::Done);
            }
            [a, b] => {
                let row = [covered!(frame.field(a)), covered!(frame.field(b))];
                return out.push(&row).map(|()| Outcome::Done);
            }
            _ => {}
        }
    }
    let mut row = scratch.take();
    let outcome = match frame.fields(returned, &mut row) {
        None => Ok(Outcome::Uncovered),
        Some(()) if row.is_empty() => Ok(Outcome::Done),
        Some(()) => out.push(&row).map(|()| Outcome::Done),
    };
    scratch.give(row);
    outcome
}

fn filter<'a>(returned: &'a Returned, frame: &Frame<'a, '_>, out: &mut dyn RowSink) -> Result<Outcome> {
    let mut keep = None;
    match returned {
        Returned::Values(codes) if codes.len() == 1 => keep = Some(covered!(frame.truth(&codes[0]))),
        Returned::Values(codes) => {
            for code in codes {
                let value = covered!(frame.value(code));
                keep.get_or_insert(value.truthy());
            }
        }
        Returned::Open(codes, many) => {
            for code in codes {
                let value = covered!(frame.value(code));
                keep.get_or_insert(value.truthy());
            }
            let first = covered!(frame.first(many));
            keep.get_or_insert(first.truthy());
        }
        Returned::Matches(..) | Returned::Items(_) | Returned::Made => return Ok(Outcome::Uncovered),
    }
    if keep == Some(true) {
        out.push(frame.row())?;
    }
    Ok(Outcome::Done)
}

fn flat_map<'a>(
    returned: &'a Returned,
    frame: &Frame<'a, '_>,
    scratch: &mut RowScratch,
    out: &mut dyn RowSink,
) -> Result<Outcome> {
    match returned {
        Returned::Values(_) => Ok(Outcome::Done),
        Returned::Open(..) | Returned::Made => Ok(Outcome::Uncovered),
        Returned::Matches(text, pattern) => match frame.value(text) {
            Some(Val::Str(text)) => {
                match pattern.run() {
                    Some(class) => runs(text, class, out),
                    None => matches(text, pattern, scratch, out),
                }?;
                Ok(Outcome::Done)
            }
            _ => Ok(Outcome::Uncovered),
        },
        Returned::Items(items) => list(items, frame, scratch, out),
    }
}

/// Every run of bytes of a class.
fn runs(text: &[u8], class: &lua::pattern::ByteSet, out: &mut dyn RowSink) -> Result<()> {
    let mut rest = text;
    loop {
        let Some(start) = rest.iter().position(|byte| class[usize::from(*byte)]) else { return Ok(()) };
        let word = &rest[start..];
        let end = word.iter().position(|byte| !class[usize::from(*byte)]).unwrap_or(word.len());
        out.push(&[Val::Str(&word[..end])])?;
        rest = &word[end..];
    }
}

/// Every match of a pattern, as `gmatch` steps from one to the next.
fn matches(text: &[u8], pattern: &Pattern, scratch: &mut RowScratch, out: &mut dyn RowSink) -> Result<()> {
    let (mut row, mut at) = (scratch.take(), 0);
    while at <= text.len()
        && let Some(found) = pattern.find(text, at)
    {
        row.clear();
        row.extend(found.captures().iter().map(|capture| captured(text, *capture)));
        out.push(&row)?;
        at = if found.end == found.start { found.end + 1 } else { found.end };
    }
    scratch.give(row);
    Ok(())
}

/// The value of a capture.
fn captured(text: &[u8], capture: Capture) -> Val<'_> {
    match capture {
        Capture::Text(start, end) => Val::Str(&text[start..end]),
        Capture::Position(at) => Val::Int(at as i64),
    }
}

/// The items of a list; none is passed on before all are computed. A nil would end the list, or make it none, and a table that is
/// an item gives several fields: Lua knows.
fn list<'a>(items: &'a [Vec<Code>], frame: &Frame<'a, '_>, scratch: &mut RowScratch, out: &mut dyn RowSink) -> Result<Outcome> {
    let mut values = scratch.take();
    for item in items {
        for code in item {
            match frame.field(code) {
                Some(Val::Nil) | None => return Ok(Outcome::Uncovered),
                Some(Val::List(_) | Val::Map(_)) if item.len() == 1 => return Ok(Outcome::Uncovered),
                Some(value) => values.push(value),
            }
        }
    }
    let mut rest = values.as_slice();
    for item in items {
        let (row, behind) = rest.split_at(item.len());
        out.push(row)?;
        rest = behind;
    }
    scratch.give(values);
    Ok(Outcome::Done)
}

/// Runs lifted folds.
pub(super) struct NativeFold {
    pub(super) lifted: Lifted,
    scratch: Scratches,
}

impl NativeFold {
    pub(super) fn new(lifted: Lifted) -> NativeFold {
        NativeFold { lifted, scratch: Scratches::default() }
    }

    /// Folds two rows that stand side by side; false, and nothing written, where Lua must.
    pub(super) fn fold(&mut self, both: &[Val<'_>], width: usize, out: &mut crate::RowBuf) -> bool {
        let (mut slots, mut row) = (self.scratch.slots.take(), self.scratch.row.take());
        slots.resize(self.lifted.slots, Val::Nil);
        let frame = Frame::new(both, &mut slots, &self.scratch.arena);
        let covered = match run(&self.lifted.body, &frame) {
            Exit::Return(Some(returned)) => frame.fields(returned, &mut row).is_some() && row.len() == width,
            Exit::Return(None) | Exit::Uncovered => false,
        };
        if covered {
            out.extend(&row);
        }
        self.scratch.row.give(row);
        self.scratch.slots.give(slots);
        self.scratch.reset();
        covered
    }
}

impl std::fmt::Debug for Native {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Native").field("lifted", &self.lifted).field("rows", &self.rows).finish_non_exhaustive()
    }
}
