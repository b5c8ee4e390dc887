//! Rows as C cells, the form in which Lua's side of the crossing reads and writes them (`driver.lua` has the same layout).

use super::FunctionError;
use crate::{Origin, Result, Val, codec};

/// The largest magnitude of an integer that is a Lua number; beyond it is an `int64_t`.
pub(super) const MAX_EXACT: i64 = 1 << 53;

/// A value. What `bits` holds depends on the tag.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct Cell {
    pub(super) tag: u32,
    /// Bytes of a string, items of a list, pairs of a map, fields of a row; 1 for a number that is an integer outside Lua.
    pub(super) len: u32,
    pub(super) bits: u64,
}

pub(super) mod tag {
    pub(crate) const NIL: u32 = 0;
    pub(crate) const FALSE: u32 = 1;
    pub(crate) const TRUE: u32 = 2;
    pub(crate) const NUMBER: u32 = 3;
    pub(crate) const STRING: u32 = 4;
    pub(crate) const INT64: u32 = 5;
    pub(crate) const LIST: u32 = 6;
    pub(crate) const MAP: u32 = 7;
    pub(crate) const ROW: u32 = 8;
}

impl Cell {
    pub(super) const NIL: Cell = Cell { tag: tag::NIL, len: 0, bits: 0 };
}

/// Rows on their way into Lua, with where they came from.
#[derive(Debug, Default)]
pub(super) struct Input {
    pub(super) cells: Vec<Cell>,
    /// Items of lists and maps.
    pub(super) kids: Vec<Cell>,
    bytes: Vec<u8>,
    pub(super) starts: Vec<u32>,
    pub(super) widths: Vec<u32>,
    /// Cells of lists and maps, with their encoded form in `bytes`.
    encoded: Vec<(usize, usize, usize)>,
    marks: Vec<crate::task::Mark>,
    /// Rows are padded with nil to this many cells, so that every parameter has one.
    pub(super) params: usize,
    pointers: bool,
}

impl Input {
    pub(super) fn clear(&mut self) {
        self.cells.clear();
        self.kids.clear();
        self.bytes.clear();
        self.starts.clear();
        self.widths.clear();
        self.encoded.clear();
        self.marks.clear();
        self.pointers = false;
    }

    pub(super) fn rows(&self) -> usize {
        self.starts.len()
    }

    /// Bytes that the rows take up.
    pub(super) fn size(&self) -> usize {
        self.bytes.len() + (self.cells.len() + self.kids.len()) * size_of::<Cell>()
    }

    /// Adds a row that stands where `origin` says.
    pub(super) fn push(&mut self, row: &[Val<'_>], origin: &Origin) -> Result<(), FunctionError> {
        debug_assert!(!self.pointers, "a batch takes no rows once it was handed to Lua");
        self.starts.push(self.cells.len() as u32);
        self.widths.push(row.len() as u32);
        self.marks.push(origin.mark());
        for value in row {
            let cell = self.cell(*value)?;
            self.cells.push(cell);
        }
        for _ in row.len()..self.params {
            self.cells.push(Cell::NIL);
        }
        Ok(())
    }

    fn cell(&mut self, value: Val<'_>) -> Result<Cell, FunctionError> {
        Ok(match value {
            Val::Nil => Cell::NIL,
            Val::Bool(false) => Cell { tag: tag::FALSE, len: 0, bits: 0 },
            Val::Bool(true) => Cell { tag: tag::TRUE, len: 0, bits: 0 },
            Val::Int(i) if i.unsigned_abs() <= MAX_EXACT as u64 => Cell { tag: tag::NUMBER, len: 1, bits: (i as f64).to_bits() },
            Val::Int(i) => Cell { tag: tag::INT64, len: 0, bits: i as u64 },
            // One bit pattern for NaN: another one could look like something else inside LuaJIT.
            Val::Float(f) => Cell { tag: tag::NUMBER, len: 0, bits: (if f.is_nan() { f64::NAN } else { f }).to_bits() },
            Val::Str(s) => {
                let (start, _) = self.keep(s)?;
                Cell { tag: tag::STRING, len: s.len() as u32, bits: start as u64 }
            }
            Val::List(encoded) | Val::Map(encoded) => {
                let (start, end) = self.keep(encoded)?;
                self.encoded.push((self.cells.len(), start, end));
                self.table(value)?
            }
        })
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(usize, usize), FunctionError> {
        if bytes.len() > u32::MAX as usize {
            return Err(FunctionError::TooLong { bytes: bytes.len() });
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        Ok((start, self.bytes.len()))
    }

    /// The cell of a list or map; its items go to `kids`, side by side.
    fn table(&mut self, value: Val<'_>) -> Result<Cell, FunctionError> {
        let damaged = |_| FunctionError::Setup("a list or map is damaged".to_owned());
        let (tag, mut rest, len, cells) = match value {
            Val::List(mut rest) => {
                let len = codec::read_array_header(&mut rest).map_err(damaged)?;
                (tag::LIST, rest, len, len)
            }
            Val::Map(mut rest) => {
                let len = codec::read_map_header(&mut rest).map_err(damaged)?;
                (tag::MAP, rest, len, 2 * len)
            }
            Val::Nil | Val::Bool(_) | Val::Int(_) | Val::Float(_) | Val::Str(_) => return self.cell(value),
        };
        let first = self.kids.len();
        self.kids.resize(first + cells, Cell::NIL);
        for at in first..first + cells {
            let item = codec::read_val(&mut rest).map_err(damaged)?;
            self.kids[at] = self.table(item)?;
        }
        Ok(Cell { tag, len: len as u32, bits: (first as f64).to_bits() })
    }

    /// Turns offsets of strings into addresses, now that nothing moves any more.
    pub(super) fn point(&mut self) {
        if std::mem::replace(&mut self.pointers, true) {
            return;
        }
        let base = self.bytes.as_ptr() as u64;
        for cell in self.cells.iter_mut().chain(&mut self.kids) {
            if cell.tag == tag::STRING {
                cell.bits += base;
            }
        }
    }

    /// A row as it came in.
    pub(super) fn row<'a>(&'a self, at: usize, row: &mut Vec<Val<'a>>) {
        let start = self.starts[at] as usize;
        row.extend((start..start + self.widths[at] as usize).map(|at| self.value(at)));
    }

    fn value(&self, at: usize) -> Val<'_> {
        let Cell { tag, len, bits } = self.cells[at];
        match tag {
            tag::FALSE => Val::Bool(false),
            tag::TRUE => Val::Bool(true),
            tag::NUMBER if len == 1 => Val::Int(f64::from_bits(bits) as i64),
            tag::NUMBER => Val::Float(f64::from_bits(bits)),
            tag::INT64 => Val::Int(bits as i64),
            tag::STRING => {
                let base = if self.pointers { self.bytes.as_ptr() as u64 } else { 0 };
                let start = (bits - base) as usize;
                Val::Str(&self.bytes[start..start + len as usize])
            }
            tag::LIST => Val::List(self.encoded(at)),
            tag::MAP => Val::Map(self.encoded(at)),
            _ => Val::Nil,
        }
    }

    fn encoded(&self, at: usize) -> &[u8] {
        match self.encoded.binary_search_by_key(&at, |(cell, ..)| *cell) {
            Ok(found) => &self.bytes[self.encoded[found].1..self.encoded[found].2],
            Err(_) => unreachable!("every list and map of a row was noted by `cell`"),
        }
    }

    /// Lets `origin` say again where a row came from.
    pub(super) fn restore(&self, at: usize, origin: &Origin) {
        origin.restore(&self.marks[at]);
    }
}

/// A number as Lua gives it back: integral and within ±2^53 is an integer (so -0.0 is 0), all else a float.
#[inline]
pub(super) fn number(n: f64) -> Val<'static> {
    let i = n as i64;
    if i as f64 == n && i.unsigned_abs() <= MAX_EXACT as u64 { Val::Int(i) } else { Val::Float(n) }
}
