//! Accumulators: what the rows of a group are folded into. Numbers that a shortcut folds are cells in place; all else are
//! encoded rows in an arena.

use std::fmt;

use super::slots::Slots;
use crate::fold::{Folder, Shortcut};
use crate::{Error, Result, RowBuf, RowScratch, Val, codec, key};

/// A piece of an accumulator.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cell {
    Int(i64),
    Float(f64),
    /// The whole accumulator, an encoded row in the arena; in its first cell only.
    Row(u32),
    /// The group's cells are elsewhere, from this index on (only in a table with more than one cell per group).
    Many(u32),
    /// Nothing yet.
    Empty,
}

/// How values are folded.
pub(super) enum Method {
    Lua(Box<dyn Folder>),
    Count,
    Smallest,
}

/// One fold and the cells that it has in each group.
pub(super) struct Fold {
    pub(super) method: Method,
    pub(super) first: usize,
    pub(super) cells: usize,
    /// One per value; empty where there are none.
    shortcuts: Vec<Shortcut>,
}

/// What a fold is given.
#[derive(Clone, Copy, Debug)]
pub(super) enum Item<'r> {
    /// The values of a row, or those of another accumulator.
    Values(&'r [Val<'r>]),
    /// So many rows.
    Count(i64),
}

/// What folding needs beside the cells.
#[derive(Debug, Default)]
pub(super) struct Arena {
    pub(super) rows: Slots,
    folded: RowBuf,
    encoded: Vec<u8>,
    scratch: RowScratch,
}

impl fmt::Debug for Fold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let method = match self.method {
            Method::Lua(_) => "lua",
            Method::Count => "count",
            Method::Smallest => "smallest",
        };
        f.debug_struct("Fold").field("method", &method).field("shortcuts", &self.shortcuts).finish_non_exhaustive()
    }
}

impl Fold {
    pub(super) fn new(method: Method, first: usize) -> Fold {
        let shortcuts = match &method {
            Method::Lua(folder) => folder.shortcuts().map_or_else(Vec::new, <[Shortcut]>::to_vec),
            Method::Count | Method::Smallest => Vec::new(),
        };
        Fold { method, first, cells: shortcuts.len().max(1), shortcuts }
    }

    /// Folds an item into the fold's cells of a group, of which it may be the first.
    #[inline]
    pub(super) fn absorb(&mut self, cells: &mut [Cell], item: Item<'_>, arena: &mut Arena) -> Result<()> {
        match (&self.method, item) {
            (Method::Lua(_), Item::Values(values)) => self.absorb_values(cells, values, arena),
            (Method::Count, Item::Count(more)) => {
                let count = if let Cell::Int(count) = cells[0] { count } else { 0 };
                cells[0] = Cell::Int(count.saturating_add(more));
                Ok(())
            }
            (Method::Smallest, Item::Values(row)) => {
                arena.keep_smaller(&mut cells[0], row);
                Ok(())
            }
            (Method::Count, Item::Values(_)) | (Method::Lua(_) | Method::Smallest, Item::Count(_)) => {
                Err(Error::Corrupt("an accumulator of another kind than its fold"))
            }
        }
    }

    #[inline]
    fn absorb_values(&mut self, cells: &mut [Cell], values: &[Val<'_>], arena: &mut Arena) -> Result<()> {
        let covered = match (&self.shortcuts[..], &mut *cells, values) {
            (&[shortcut], [cell], &[value]) => fold_one(shortcut, cell, value),
            (shortcuts, cells, values) => fold_several(shortcuts, cells, values),
        };
        if covered { Ok(()) } else { self.absorb_general(cells, values, arena) }
    }

    fn absorb_general(&mut self, cells: &mut [Cell], values: &[Val<'_>], arena: &mut Arena) -> Result<()> {
        if let Cell::Empty = cells[0] {
            arena.store(self.shortcuts.len(), cells, values);
            return Ok(());
        }
        self.call(cells, values, arena)
    }

    fn call(&mut self, cells: &mut [Cell], values: &[Val<'_>], arena: &mut Arena) -> Result<()> {
        let Method::Lua(folder) = &mut self.method else { unreachable!("only Lua folds have functions") };
        let mut folded = std::mem::take(&mut arena.folded);
        folded.clear();
        let mut old = arena.scratch.take();
        read(cells, self.shortcuts.len(), &arena.rows, &mut old)?;
        folder.fold(&old, values, &mut folded)?;
        arena.scratch.give(old);
        let mut new = arena.scratch.take();
        new.extend(folded.iter());
        arena.store(self.shortcuts.len(), cells, &new);
        arena.scratch.give(new);
        arena.folded = folded;
        Ok(())
    }

    /// Appends the fold's accumulator, value by value.
    pub(super) fn read<'a>(&self, cells: &[Cell], rows: &'a Slots, out: &mut Vec<Val<'a>>) -> Result<()> {
        read(cells, self.shortcuts.len(), rows, out)
    }
}

/// The most values that are folded on the stack; there are seldom more.
const FEW: usize = 16;

/// Folds a value by a shortcut, or is the first one; false, and nothing is changed, if that is not covered.
#[inline]
fn fold_one(shortcut: Shortcut, cell: &mut Cell, value: Val<'_>) -> bool {
    match cell {
        Cell::Empty => cell.set_number(value),
        _ => cell.value().and_then(|old| shortcut.apply(old, value)).is_some_and(|folded| cell.set_number(folded)),
    }
}

/// As `fold_one`, for several values: all of them or none.
#[inline]
fn fold_several(shortcuts: &[Shortcut], cells: &mut [Cell], values: &[Val<'_>]) -> bool {
    let len = shortcuts.len();
    if len == 0 || len > FEW || len != values.len() || len != cells.len() {
        return false;
    }
    let mut folded = [Cell::Empty; FEW];
    for ((next, shortcut), (cell, value)) in folded.iter_mut().zip(shortcuts).zip(cells.iter().zip(values)) {
        *next = *cell;
        if !fold_one(*shortcut, next, *value) {
            return false;
        }
    }
    cells.copy_from_slice(&folded[..len]);
    true
}

fn read<'a>(cells: &[Cell], numbers: usize, rows: &'a Slots, out: &mut Vec<Val<'a>>) -> Result<()> {
    if let Cell::Row(id) = cells[0] {
        return codec::read_row(&mut rows.get(id), out);
    }
    out.extend(cells[..numbers.max(1)].iter().filter_map(|cell| cell.value()));
    Ok(())
}

impl Cell {
    /// The number in it.
    #[inline]
    pub(super) fn value(&self) -> Option<Val<'static>> {
        match self {
            Cell::Int(i) => Some(Val::Int(*i)),
            Cell::Float(f) => Some(Val::Float(*f)),
            Cell::Row(_) | Cell::Many(_) | Cell::Empty => None,
        }
    }

    /// Puts a number in; false, and nothing is changed, if it is none.
    #[inline]
    fn set_number(&mut self, value: Val<'_>) -> bool {
        *self = match value {
            Val::Int(i) => Cell::Int(i),
            Val::Float(f) => Cell::Float(f),
            Val::Nil | Val::Bool(_) | Val::Str(_) | Val::List(_) | Val::Map(_) => return false,
        };
        true
    }
}

impl Arena {
    /// Makes values the accumulator: in cells if there are as many `numbers` as shortcuts for them, else as a row.
    fn store(&mut self, numbers: usize, cells: &mut [Cell], values: &[Val<'_>]) {
        let old = cells[0];
        if numbers > 0 && numbers == values.len() && cells.iter_mut().zip(values).all(|(cell, value)| cell.set_number(*value)) {
            return;
        }
        self.encoded.clear();
        codec::write_row(&mut self.encoded, values);
        self.keep(old, &mut cells[0]);
    }

    /// Keeps the encoded row in the place of the old one, if there was one.
    fn keep(&mut self, old: Cell, cell: &mut Cell) {
        *cell = match old {
            Cell::Row(id) => {
                self.rows.set(id, &self.encoded);
                old
            }
            Cell::Int(_) | Cell::Float(_) | Cell::Many(_) | Cell::Empty => Cell::Row(self.rows.add(&self.encoded)),
        };
    }

    fn keep_smaller(&mut self, cell: &mut Cell, row: &[Val<'_>]) {
        if let Cell::Row(id) = *cell {
            let mut old = self.scratch.take();
            let kept = codec::read_row(&mut self.rows.get(id), &mut old);
            kept.expect("the row was written by this operator");
            let smaller = key::compare_rows_exact(row, &old).is_lt();
            self.scratch.give(old);
            if !smaller {
                return;
            }
        }
        self.encoded.clear();
        codec::write_row(&mut self.encoded, row);
        self.keep(*cell, cell);
    }

    /// Forgets all rows; keeps the allocations.
    pub(super) fn clear(&mut self) {
        self.rows.clear();
    }
}
