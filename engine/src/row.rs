//! Rows on their way: the push interface, an owned row, and a trick that saves an allocation per row.

use crate::{Result, Val};

/// A consumer of rows: one fused step, a shuffle writer, a sink. Single-threaded; owned by the chain before it.
pub trait RowSink {
    /// Takes one row. The values live only for the call.
    ///
    /// # Errors
    /// Whatever went wrong here or further down; the task is over then.
    fn push(&mut self, row: &[Val<'_>]) -> Result<()>;

    /// No more rows: pass on what is buffered, then finish what comes after. Called exactly once, on success only.
    ///
    /// # Errors
    /// As for `push`.
    fn finish(&mut self) -> Result<()>;

    /// Whether more rows can change anything. Sources ask now and then (per block, not per row) and stop early if not.
    fn wants_more(&self) -> bool {
        true
    }
}

impl RowSink for Box<dyn RowSink> {
    fn push(&mut self, row: &[Val<'_>]) -> Result<()> {
        self.as_mut().push(row)
    }

    fn finish(&mut self) -> Result<()> {
        self.as_mut().finish()
    }

    fn wants_more(&self) -> bool {
        self.as_ref().wants_more()
    }
}

/// Reuses one allocation for `Vec<Val<'a>>`s of different lifetimes.
#[derive(Debug, Default)]
pub struct RowScratch(Vec<Val<'static>>);

impl RowScratch {
    /// An empty vector with the capacity of the last one given back.
    #[must_use]
    pub fn take<'a>(&mut self) -> Vec<Val<'a>> {
        recycle(std::mem::take(&mut self.0))
    }

    /// Gives the vector back for the next `take`.
    pub fn give(&mut self, row: Vec<Val<'_>>) {
        self.0 = recycle(row);
    }
}

/// An empty vector in the same allocation: collecting in place keeps it, since both element types have one layout.
fn recycle<'b>(mut row: Vec<Val<'_>>) -> Vec<Val<'b>> {
    row.clear();
    row.into_iter().map(|_| Val::Nil).collect()
}

/// An owned row, built value by value without an allocation per value.
#[derive(Debug, Default, Clone)]
pub struct RowBuf {
    cells: Vec<Cell>,
    bytes: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
enum Cell {
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(usize, usize),
    List(usize, usize),
    Map(usize, usize),
}

impl RowBuf {
    /// Makes it the empty row; keeps the allocations.
    pub fn clear(&mut self) {
        self.cells.clear();
        self.bytes.clear();
    }

    /// The number of fields.
    #[must_use]
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// Whether it has no fields.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// Bytes that its values take up outside their cells.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// Adds a copy of a value as the last field.
    pub fn push(&mut self, value: Val<'_>) {
        let cell = match value {
            Val::Nil => Cell::Nil,
            Val::Bool(b) => Cell::Bool(b),
            Val::Int(i) => Cell::Int(i),
            Val::Float(f) => Cell::Float(f),
            Val::Str(s) => self.keep(s, Cell::Str),
            Val::List(l) => self.keep(l, Cell::List),
            Val::Map(m) => self.keep(m, Cell::Map),
        };
        self.cells.push(cell);
    }

    /// Adds copies of several values.
    pub fn extend(&mut self, row: &[Val<'_>]) {
        for value in row {
            self.push(*value);
        }
    }

    /// The field at a 0-based position, which must exist.
    #[must_use]
    pub fn get(&self, at: usize) -> Val<'_> {
        match self.cells[at] {
            Cell::Nil => Val::Nil,
            Cell::Bool(b) => Val::Bool(b),
            Cell::Int(i) => Val::Int(i),
            Cell::Float(f) => Val::Float(f),
            Cell::Str(start, end) => Val::Str(&self.bytes[start..end]),
            Cell::List(start, end) => Val::List(&self.bytes[start..end]),
            Cell::Map(start, end) => Val::Map(&self.bytes[start..end]),
        }
    }

    /// All fields.
    pub fn iter(&self) -> impl Iterator<Item = Val<'_>> {
        (0..self.cells.len()).map(|at| self.get(at))
    }

    /// Hands the row to `f` as a slice.
    pub fn with<R>(&self, scratch: &mut RowScratch, f: impl FnOnce(&[Val<'_>]) -> R) -> R {
        let mut row = scratch.take();
        row.extend(self.iter());
        let result = f(&row);
        scratch.give(row);
        result
    }

    fn keep(&mut self, bytes: &[u8], cell: fn(usize, usize) -> Cell) -> Cell {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        cell(start, self.bytes.len())
    }
}
