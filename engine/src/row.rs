//! Rows on their way: the push interface, an owned row, and a trick that saves an allocation per row.
#![allow(unsafe_code, reason = "the trick takes a vector apart; the safe way to keep one is much slower (see `RowScratch`)")]

use std::mem::ManuallyDrop;
use std::ptr::NonNull;

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

    /// No more rows come with any of the keys pushed so far: what was kept of them may be passed on.
    ///
    /// # Errors
    /// As for `push`.
    fn settle(&mut self) -> Result<()> {
        Ok(())
    }

    /// No more rows come, and `finish` will be called once others have finished: to be told to what takes its time.
    ///
    /// # Errors
    /// As for `push`.
    fn close(&mut self) -> Result<()> {
        Ok(())
    }

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

    fn settle(&mut self) -> Result<()> {
        self.as_mut().settle()
    }

    fn close(&mut self) -> Result<()> {
        self.as_mut().close()
    }

    fn wants_more(&self) -> bool {
        self.as_ref().wants_more()
    }
}

/// Reuses one allocation for `Vec<Val<'a>>`s of different lifetimes.
///
/// It is taken and given back for every row, at once after each other. Two words side by side are read with one instruction, which has
/// to wait until the two that wrote them are through with all that was written before, and that is often far away (a tenth of
/// the time of a flow). So they do not stand side by side.
#[derive(Debug)]
#[repr(C)]
pub struct RowScratch {
    start: NonNull<Val<'static>>,
    _between: u64,
    /// 0: there is no allocation.
    capacity: usize,
}

// SAFETY: it owns an allocation without values in it, as an empty vector does.
unsafe impl Send for RowScratch {}
// SAFETY: as above; what is behind a shared reference cannot be changed.
unsafe impl Sync for RowScratch {}

impl Default for RowScratch {
    fn default() -> RowScratch {
        RowScratch { start: NonNull::dangling(), _between: 0, capacity: 0 }
    }
}

impl Drop for RowScratch {
    fn drop(&mut self) {
        drop(self.take());
    }
}

impl RowScratch {
    /// An empty vector with the capacity of the last one given back.
    #[must_use]
    #[inline]
    pub fn take<'a>(&mut self) -> Vec<Val<'a>> {
        let capacity = std::mem::take(&mut self.capacity);
        // SAFETY: where the capacity is not 0, start and capacity are those of a vector that was taken apart in `give`, whose
        // values had the same layout, and nothing else has them now; where it is 0, any aligned start is right.
        unsafe { Vec::from_raw_parts(self.start.as_ptr().cast(), 0, capacity) }
    }

    /// Gives the vector back for the next `take`.
    #[inline]
    pub fn give(&mut self, row: Vec<Val<'_>>) {
        if self.capacity > 0 {
            drop(self.take());
        }
        // Values need not be dropped.
        let mut row = ManuallyDrop::new(row);
        self.capacity = row.capacity();
        self.start = NonNull::new(row.as_mut_ptr()).unwrap_or(NonNull::dangling()).cast();
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allocation_is_used_again_and_a_second_one_is_dropped() {
        let mut scratch = RowScratch::default();
        let text = b"short-lived".to_vec();
        let mut row = scratch.take();
        assert_eq!((row.len(), row.capacity()), (0, 0));
        row.extend([Val::Str(&text), Val::Int(1), Val::Nil]);
        let (start, capacity) = (row.as_ptr() as usize, row.capacity());
        scratch.give(row);
        let again: Vec<Val<'static>> = scratch.take();
        assert_eq!((again.len(), again.as_ptr() as usize, again.capacity()), (0, start, capacity));
        let other: Vec<Val<'static>> = scratch.take();
        assert_eq!(other.capacity(), 0, "it was taken");
        scratch.give(again);
        scratch.give(vec![Val::Bool(true); 100]);
        assert!(scratch.take().capacity() >= 100, "the last one is kept");
        scratch.give(Vec::new());
        assert_eq!(scratch.take().capacity(), 0);
    }
}
