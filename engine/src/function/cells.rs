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
    /// A list or map of a row that the function only passes on: its encoded bytes, as a string has them.
    pub(crate) const PASSED: u32 = 9;
    /// A list or map that would come back from Lua as another one (it holds nil or 4.0, say). The cell behind its items has its
    /// encoded bytes.
    pub(crate) const ODD_LIST: u32 = 10;
    pub(crate) const ODD_MAP: u32 = 11;
    /// In a result: the encoded bytes of a list or map.
    pub(crate) const ENCODED: u32 = 12;
    /// In a result: the `PASSED` cell with this index.
    pub(crate) const FIELD: u32 = 13;
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
    /// Parameters whose lists and maps need not be read.
    pub(super) passed: Vec<bool>,
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
        for (at, value) in row.iter().enumerate() {
            let cell = match *value {
                Val::List(encoded) | Val::Map(encoded) => self.field(at, *value, encoded)?,
                Val::Str(text) => Cell { tag: tag::STRING, len: text.len() as u32, bits: self.keep(text)? as u64 },
                scalar => number_or_flag(scalar),
            };
            self.cells.push(cell);
        }
        for _ in row.len()..self.params {
            self.cells.push(Cell::NIL);
        }
        Ok(())
    }

    /// The cell of a field that is a list or a map.
    fn field(&mut self, at: usize, value: Val<'_>, encoded: &[u8]) -> Result<Cell, FunctionError> {
        let start = self.keep(encoded)?;
        if self.passed.get(at) == Some(&true) {
            return Ok(Cell { tag: tag::PASSED, len: encoded.len() as u32, bits: start as u64 });
        }
        self.encoded.push((self.cells.len(), start, start + encoded.len()));
        self.table(value, &Kept { encoded, start })
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<usize, FunctionError> {
        if bytes.len() > u32::MAX as usize {
            return Err(FunctionError::TooLong { bytes: bytes.len() });
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        Ok(start)
    }

    /// The cell of a value inside a field; the items of lists and maps go to `kids`, side by side, and one more cell behind them.
    fn table(&mut self, value: Val<'_>, kept: &Kept<'_>) -> Result<Cell, FunctionError> {
        let damaged = |_| FunctionError::Setup("a list or map is damaged".to_owned());
        let (encoded, mut rest, is_list) = match value {
            Val::List(encoded) => (encoded, encoded, true),
            Val::Map(encoded) => (encoded, encoded, false),
            Val::Str(text) => return Ok(Cell { tag: tag::STRING, len: text.len() as u32, bits: kept.place_of(text) }),
            Val::Nil | Val::Bool(_) | Val::Int(_) | Val::Float(_) => return Ok(number_or_flag(value)),
        };
        let header = if is_list { codec::read_array_header } else { codec::read_map_header };
        let len = header(&mut rest).map_err(damaged)?;
        let (first, cells) = (self.kids.len(), if is_list { len } else { 2 * len });
        self.kids.resize(first + cells + 1, Cell::NIL);
        // A map with the keys 1 to n, n being 0 or more, comes back as a list.
        let (mut odd, mut like_list) = (false, !is_list);
        for at in 0..cells {
            let item = codec::read_val(&mut rest).map_err(damaged)?;
            odd |= is_odd(item);
            if !is_list && at % 2 == 0 {
                like_list &= item == Val::Int(at as i64 / 2 + 1);
            }
            let cell = self.table(item, kept)?;
            odd |= matches!(cell.tag, tag::ODD_LIST | tag::ODD_MAP);
            self.kids[first + at] = cell;
        }
        let odd = odd || like_list;
        if odd {
            self.kids[first + cells] = Cell { tag: tag::STRING, len: encoded.len() as u32, bits: kept.place_of(encoded) };
        }
        let tag = match (is_list, odd) {
            (true, false) => tag::LIST,
            (true, true) => tag::ODD_LIST,
            (false, false) => tag::MAP,
            (false, true) => tag::ODD_MAP,
        };
        Ok(Cell { tag, len: len as u32, bits: (first as f64).to_bits() })
    }

    /// Turns offsets of strings into addresses, now that nothing moves any more.
    pub(super) fn point(&mut self) {
        if std::mem::replace(&mut self.pointers, true) {
            return;
        }
        let base = self.bytes.as_ptr() as u64;
        for cell in self.cells.iter_mut().chain(&mut self.kids) {
            if matches!(cell.tag, tag::STRING | tag::PASSED) {
                cell.bits += base;
            }
        }
    }

    /// A row as it came in.
    pub(super) fn row<'a>(&'a self, at: usize, row: &mut Vec<Val<'a>>) {
        let start = self.starts[at] as usize;
        row.extend((start..start + self.widths[at] as usize).map(|at| self.value(at)));
    }

    /// The value of a cell of `cells`, as it came in.
    pub(super) fn value(&self, at: usize) -> Val<'_> {
        let Cell { tag, len, bits } = self.cells[at];
        match tag {
            tag::FALSE => Val::Bool(false),
            tag::TRUE => Val::Bool(true),
            tag::NUMBER if len == 1 => Val::Int(f64::from_bits(bits) as i64),
            tag::NUMBER => Val::Float(f64::from_bits(bits)),
            tag::INT64 => Val::Int(bits as i64),
            tag::STRING => Val::Str(self.kept(bits, len)),
            tag::PASSED => codec::table(self.kept(bits, len)),
            tag::LIST | tag::MAP | tag::ODD_LIST | tag::ODD_MAP => codec::table(self.encoded(at)),
            _ => Val::Nil,
        }
    }

    /// Bytes that a cell points to, be it by their offset or by their address.
    fn kept(&self, bits: u64, len: u32) -> &[u8] {
        let base = if self.pointers { self.bytes.as_ptr() as u64 } else { 0 };
        let start = (bits - base) as usize;
        &self.bytes[start..start + len as usize]
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

/// A field's encoded bytes, and where they were copied to.
struct Kept<'a> {
    encoded: &'a [u8],
    start: usize,
}

impl Kept<'_> {
    /// Where a part of the field stands among the copied bytes.
    fn place_of(&self, part: &[u8]) -> u64 {
        (self.start + (part.as_ptr() as usize - self.encoded.as_ptr() as usize)) as u64
    }
}

/// The cell of a value that keeps no bytes.
fn number_or_flag(value: Val<'_>) -> Cell {
    match value {
        Val::Bool(false) => Cell { tag: tag::FALSE, len: 0, bits: 0 },
        Val::Bool(true) => Cell { tag: tag::TRUE, len: 0, bits: 0 },
        Val::Int(i) if i.unsigned_abs() <= MAX_EXACT as u64 => Cell { tag: tag::NUMBER, len: 1, bits: (i as f64).to_bits() },
        Val::Int(i) => Cell { tag: tag::INT64, len: 0, bits: i as u64 },
        // One bit pattern for NaN: another one could look like something else inside LuaJIT.
        Val::Float(f) => Cell { tag: tag::NUMBER, len: 0, bits: (if f.is_nan() { f64::NAN } else { f }).to_bits() },
        Val::Nil | Val::Str(_) | Val::List(_) | Val::Map(_) => Cell::NIL,
    }
}

/// Whether an item of a list or map would not come back as it is: nil leaves no trace in a table, 4.0 becomes 4.
fn is_odd(item: Val<'_>) -> bool {
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
