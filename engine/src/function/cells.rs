//! Rows on their way into Lua, kept until their function is through with them.

use super::FunctionError;
use crate::{Origin, Result, Val, codec};

/// The largest magnitude of an integer that is a Lua number; beyond it is an `int64_t`.
pub(super) const MAX_EXACT: i64 = 1 << 53;

/// A value; bytes are a range of those of its batch.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cell {
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(usize, usize),
    /// A list or map, encoded.
    Table(usize, usize),
}

/// What a function sees of a row.
#[derive(Debug, Default)]
pub(super) enum Layout {
    /// All fields, however many there are.
    #[default]
    Whole,
    /// A parameter's worth of each; missing ones are nil.
    Params(Vec<Use>),
}

/// What a function does with a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// It has no name for it.
    Unread,
    /// It gives it on, and cannot tell what it is.
    Moved,
    /// It does not look into its lists and maps.
    Passed,
    Read,
}

/// A batch of rows, with where they came from.
#[derive(Debug, Default)]
pub(super) struct Input {
    cells: Vec<Cell>,
    bytes: Vec<u8>,
    starts: Vec<usize>,
    marks: Vec<crate::task::Mark>,
    pub(super) layout: Layout,
}

impl Input {
    pub(super) fn clear(&mut self) {
        self.cells.clear();
        self.bytes.clear();
        self.starts.clear();
        self.marks.clear();
    }

    pub(super) fn rows(&self) -> usize {
        self.starts.len()
    }

    /// Bytes that the rows take up.
    pub(super) fn size(&self) -> usize {
        self.bytes.len() + self.cells.len() * size_of::<Cell>()
    }

    /// Adds a row that stands where `origin` says.
    pub(super) fn push(&mut self, row: &[Val<'_>], origin: &Origin) -> Result<(), FunctionError> {
        self.starts.push(self.cells.len());
        self.marks.push(origin.mark());
        for value in row {
            let cell = match *value {
                Val::Nil => Cell::Nil,
                Val::Bool(flag) => Cell::Bool(flag),
                Val::Int(i) => Cell::Int(i),
                Val::Float(f) => Cell::Float(f),
                Val::Str(text) => {
                    let (start, end) = self.keep(text)?;
                    Cell::Str(start, end)
                }
                Val::List(encoded) | Val::Map(encoded) => {
                    let (start, end) = self.keep(encoded)?;
                    Cell::Table(start, end)
                }
            };
            self.cells.push(cell);
        }
        Ok(())
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(usize, usize), FunctionError> {
        if bytes.len() > u32::MAX as usize {
            return Err(FunctionError::TooLong { bytes: bytes.len() });
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        Ok((start, self.bytes.len()))
    }

    /// Where a row's fields are.
    #[inline]
    pub(super) fn fields(&self, at: usize) -> std::ops::Range<usize> {
        self.starts[at]..self.starts.get(at + 1).copied().unwrap_or(self.cells.len())
    }

    /// A row as it came in.
    pub(super) fn row<'a>(&'a self, at: usize, row: &mut Vec<Val<'a>>) {
        row.extend(self.fields(at).map(|at| self.value(at)));
    }

    /// A field as it came in.
    #[inline]
    pub(super) fn value(&self, at: usize) -> Val<'_> {
        match self.cells[at] {
            Cell::Nil => Val::Nil,
            Cell::Bool(flag) => Val::Bool(flag),
            Cell::Int(i) => Val::Int(i),
            Cell::Float(f) => Val::Float(f),
            Cell::Str(start, end) => Val::Str(&self.bytes[start..end]),
            Cell::Table(start, end) => codec::table(&self.bytes[start..end]),
        }
    }

    /// A field of a row as Lua gives it back that was not looked at: a missing one is nil.
    pub(super) fn returned(&self, row: usize, field: usize) -> Val<'_> {
        let fields = self.fields(row);
        if field >= fields.len() {
            return Val::Nil;
        }
        match self.value(fields.start + field) {
            Val::Float(f) if f.is_nan() => Val::Float(f64::NAN),
            Val::Float(f) => number(f),
            other => other,
        }
    }

    /// Lets `origin` say again where a row came from.
    pub(super) fn restore(&self, at: usize, origin: &Origin) {
        origin.restore(&self.marks[at]);
    }
}

/// Whether an item of a list or map would not come back as it is: nil leaves no trace in a table, 4.0 becomes 4.
pub(super) fn is_odd(item: Val<'_>) -> bool {
    match item {
        Val::Nil => true,
        Val::Float(f) => matches!(number(f), Val::Int(_)),
        Val::Bool(_) | Val::Int(_) | Val::Str(_) | Val::List(_) | Val::Map(_) => false,
    }
}

/// A number as Lua gives it back: integral and within ±2^53 is an integer (so -0.0 is 0), all else a float.
#[inline]
pub(super) fn number(n: f64) -> Val<'static> {
    let i = n as i64;
    if i as f64 == n && i.unsigned_abs() <= MAX_EXACT as u64 { Val::Int(i) } else { Val::Float(n) }
}
