//! A sorted run: rows in order in a batch log, with the place of each batch's first row, so that a range of it can be read alone.

use plan::Order;

use super::Allowance;
use crate::key::{self, ColumnError};
use crate::{Batch, BatchLog, Result, RowScratch, Val};

/// By what the rows of a run are ordered.
#[derive(Clone, Debug)]
pub(super) struct RowOrder {
    pub(super) by: Vec<Order>,
    pub(super) ties: Ties,
}

/// What happens among rows with equal sort keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ties {
    /// They stand in any order.
    Any,
    /// By the whole row ascending, then by the representation of its values.
    Row,
}

/// The longest place that is kept per batch; a longer one is cut, which only makes ranges less even.
const PLACE: usize = 1 << 10;

/// Rows in order.
#[derive(Debug)]
pub struct SortedRun {
    pub(super) log: BatchLog,
    /// The place of the first row of each batch, cut to [`PLACE`] bytes.
    pub(super) firsts: Vec<Vec<u8>>,
}

impl SortedRun {
    /// Bytes of its rows.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.log.bytes()
    }

    /// The number of its rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.log.rows()
    }

    /// How many batches it has.
    pub(crate) fn batches(&self) -> usize {
        self.firsts.len()
    }

    /// Its batches in order, each with the place of its first row.
    pub(crate) fn frames(&self) -> impl Iterator<Item = Result<(Batch, &[u8])>> {
        let mut reader = self.log.reader();
        self.firsts
            .iter()
            .map_while(move |first| Some(reader.next_batch().transpose()?.map(|batch| (Batch::clone(&batch), &first[..]))))
    }
}

impl RowOrder {
    /// Ascending by the first `columns` columns, ties in any order: how keyed rows are spilled.
    pub(super) fn by_leading(columns: usize) -> RowOrder {
        let by = (0..columns as u32).map(|column| Order { column, descending: false }).collect();
        RowOrder { by, ties: Ties::Any }
    }

    /// Appends a row's place: its sort key, and what breaks its ties.
    pub(super) fn place(&self, row: &[Val<'_>], out: &mut Vec<u8>) -> Result<(), ColumnError> {
        key::encode_order(row, &self.by, out)?;
        if self.ties == Ties::Row {
            key::encode_row(row, out);
        }
        Ok(())
    }
}

/// Whether every row whose place begins with `first`, a place perhaps cut, lies before `bound`.
pub(super) fn surely_before(first: &[u8], bound: &[u8]) -> bool {
    first < bound && !bound.starts_with(first)
}

/// Writes rows, which must come in order, into a run.
pub(super) struct RunWriter<'a> {
    order: &'a RowOrder,
    allowance: &'a Allowance,
    log: BatchLog,
    batch: Batch,
    /// A batch of so many bytes is full.
    full: usize,
    firsts: Vec<Vec<u8>>,
}

impl<'a> RunWriter<'a> {
    pub(super) fn new(order: &'a RowOrder, allowance: &'a Allowance) -> RunWriter<'a> {
        let full = allowance.batch_bytes();
        RunWriter { order, allowance, log: allowance.log(), batch: Batch::default(), full, firsts: Vec::new() }
    }

    /// With batches no larger than that, and a row: places in the run that a range can begin at.
    pub(super) fn with_batches_of(self, bytes: usize) -> RunWriter<'a> {
        RunWriter { full: self.full.min(bytes), ..self }
    }

    /// Appends a row.
    pub(super) fn push(&mut self, row: &[Val<'_>]) -> Result<()> {
        self.mark_first(row)?;
        self.batch.push(row);
        self.close_full()
    }

    /// Appends a row that is encoded already; `row` is it, decoded, if it is the first of a batch.
    pub(super) fn push_encoded<'r>(&mut self, encoded: &[u8], row: impl FnOnce() -> Result<Vec<Val<'r>>>) -> Result<()> {
        if self.batch.rows == 0 {
            self.mark_first(&row()?)?;
        }
        self.batch.bytes.extend_from_slice(encoded);
        self.batch.rows += 1;
        self.close_full()
    }

    /// Appends a batch of rows as it is; the batches that come must be in order too.
    pub(super) fn append(&mut self, batch: Batch, scratch: &mut RowScratch) -> Result<()> {
        let mut first = true;
        batch.for_each(scratch, |row| if std::mem::take(&mut first) { self.mark_first(row) } else { Ok(()) })?;
        self.log.append(batch)
    }

    fn mark_first(&mut self, row: &[Val<'_>]) -> Result<()> {
        if self.batch.rows == 0 {
            let mut place = Vec::new();
            self.order.place(row, &mut place).map_err(|error| self.allowance.no_column(row, error))?;
            place.truncate(PLACE);
            place.shrink_to_fit();
            self.firsts.push(place);
        }
        Ok(())
    }

    fn close_full(&mut self) -> Result<()> {
        if self.batch.bytes.len() < self.full {
            return Ok(());
        }
        self.log.append(std::mem::take(&mut self.batch))
    }

    pub(super) fn finish(mut self) -> Result<SortedRun> {
        if self.batch.rows > 0 {
            self.log.append(self.batch)?;
        }
        self.allowance.seal(&mut self.log)?;
        Ok(SortedRun { log: self.log, firsts: self.firsts })
    }
}
