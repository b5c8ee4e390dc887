//! groupBy and coGroup: key fields, then one list of items per leg. A list must fit into the budget.

use plan::{Key, Order, Values};

use super::gather::{Collector, Gather, KeyShape};
use super::groups::{leads, rest, write_columns, write_rest};
use super::sort_buffer::SortBuffer;
use super::sorted_run::{RowOrder, Ties};
use super::{Allowance, Emitter};
use crate::{Error, Result, RowScratch, RowSink, Val, codec, key};

/// groupBy over raw rows: key fields, then the list of the group's items.
#[derive(Debug)]
pub struct Grouper {
    key: Key,
    values: Values,
    order_by: Vec<Order>,
    gather: Gather,
    marked: bool,
}

impl Grouper {
    /// No rows yet; the arguments are those of a [`plan::Group::ByKey`].
    #[must_use]
    pub fn new(key: Key, values: Values, order_by: Vec<Order>, allowance: Allowance) -> Grouper {
        let shape = match &key {
            Key::Columns(columns) => KeyShape::Fields(columns.len()),
            Key::Row => KeyShape::List,
        };
        Grouper { key, values, order_by, gather: Gather::new(1, shape, allowance), marked: false }
    }

    /// The same, whose items of several fields can be told from values that are lists: for who takes the lists apart again.
    #[must_use]
    pub fn with_marked_rows(self, marked: bool) -> Grouper {
        Grouper { marked, ..self }
    }

    /// Adds a row.
    ///
    /// # Errors
    /// [`Error::Step`] for a row without a key or order field, [`Error::Spill`].
    pub fn push(&mut self, row: &[Val<'_>]) -> Result<()> {
        let Grouper { key, values, order_by, gather, .. } = self;
        gather.chains.probe.set_key(row, key).map_err(|error| gather.allowance.no_column(row, error))?;
        for order in &*order_by {
            key::column(row, order.column).map_err(|error| gather.allowance.no_column(row, error))?;
        }
        let fields = |out: &mut Vec<u8>| match &*key {
            Key::Row => codec::write_row(out, row),
            Key::Columns(columns) => write_columns(row, columns, out),
        };
        gather.chains.push(0, fields, |out| match (&order_by[..], *values, &*key) {
            // Ties are broken by the whole row.
            ([_, ..], ..) | ([], Values::Row, _) => codec::write_row(out, row),
            ([], Values::Rest, Key::Row) => codec::write_row(out, &[]),
            ([], Values::Rest, Key::Columns(columns)) => write_rest(row, columns, out),
        });
        if gather.is_full() { gather.spill() } else { Ok(()) }
    }

    /// Pushes a row per key.
    ///
    /// # Errors
    /// [`Error::Step`] with [`super::OperatorError::ListTooLarge`], and what the sink returns.
    pub fn finish(self, sink: &mut dyn RowSink) -> Result<()> {
        let columns = match (self.values, self.key) {
            (Values::Row, _) => Some(Vec::new()),
            (Values::Rest, Key::Columns(columns)) => Some(columns),
            (Values::Rest, Key::Row) => None,
        };
        let ordered = (!self.order_by.is_empty()).then(|| Ordered::new(self.order_by, columns));
        let mut lists = Lists::new(1, ordered, self.gather.allowance.clone(), sink);
        lists.marked = self.marked;
        self.gather.finish(&mut lists)
    }
}

/// coGroup over tagged rows (leg, key fields, values): key fields, then one list per leg.
#[derive(Debug)]
pub struct CoGrouper {
    legs: Legs,
    gather: Gather,
}

impl CoGrouper {
    /// No rows yet.
    #[must_use]
    pub fn new(legs: usize, key_fields: usize, allowance: Allowance) -> CoGrouper {
        let gather = Gather::new(legs, KeyShape::Fields(key_fields), allowance);
        CoGrouper { legs: Legs { legs, key_fields }, gather }
    }

    /// Adds a tagged row.
    ///
    /// # Errors
    /// [`Error::Spill`]; [`Error::Corrupt`] for a row that is not tagged.
    pub fn push(&mut self, row: &[Val<'_>]) -> Result<()> {
        self.legs.push(row, &mut self.gather)?;
        if self.gather.is_full() { self.gather.spill() } else { Ok(()) }
    }

    /// Pushes a row per key.
    ///
    /// # Errors
    /// [`Error::Step`] with [`super::OperatorError::ListTooLarge`], and what the sink returns.
    pub fn finish(self, sink: &mut dyn RowSink) -> Result<()> {
        let mut lists = Lists::new(self.legs.legs, None, self.gather.allowance.clone(), sink);
        self.gather.finish(&mut lists)
    }
}

/// The shape of tagged rows: leg, key fields, values.
#[derive(Clone, Copy, Debug)]
pub(super) struct Legs {
    pub(super) legs: usize,
    pub(super) key_fields: usize,
}

impl Legs {
    /// Takes a tagged row apart.
    pub(super) fn split<'r, 'v>(self, row: &'r [Val<'v>]) -> Result<(usize, &'r [Val<'v>], &'r [Val<'v>])> {
        if let [Val::Int(leg), keyed @ ..] = row
            && let Some((fields, values)) = keyed.split_at_checked(self.key_fields)
            && (0..self.legs as i64).contains(leg)
        {
            return Ok((*leg as usize, fields, values));
        }
        Err(Error::Corrupt("a row of a join is not tagged"))
    }

    /// Adds a tagged row to the chains in memory.
    pub(super) fn push(self, row: &[Val<'_>], gather: &mut Gather) -> Result<()> {
        let (leg, fields, values) = self.split(row)?;
        gather.chains.probe.set_fields(fields);
        gather.chains.push(leg, |out| codec::write_row(out, fields), |out| codec::write_row(out, values));
        Ok(())
    }
}

/// A tagged row of leg `leg`: its key columns, then the others. Appends to `out`, which is empty.
///
/// # Errors
/// [`key::ColumnError`] if the row lacks a key column.
pub fn tag<'v>(leg: u32, columns: &[u32], row: &[Val<'v>], out: &mut Vec<Val<'v>>) -> Result<(), key::ColumnError> {
    out.push(Val::Int(i64::from(leg)));
    if leads(columns) && columns.len() <= row.len() {
        out.extend_from_slice(row);
        return Ok(());
    }
    for column in columns {
        out.push(key::column(row, *column)?);
    }
    out.extend(rest(row, columns));
    Ok(())
}

/// Builds the lists of a key and pushes them.
struct Lists<'s> {
    legs: Vec<List>,
    ordered: Option<Ordered>,
    /// Whether items of several fields are marked.
    marked: bool,
    allowance: Allowance,
    emitter: Emitter<'s>,
}

/// Whole rows, to be put in order and made items of.
struct Ordered {
    order: RowOrder,
    rows: SortBuffer,
    /// What of a row is its item: all but these columns, or nothing.
    without: Option<Vec<u32>>,
    scratch: RowScratch,
}

/// The items of one leg.
#[derive(Default)]
struct List {
    /// Room for the longest header, then the items.
    bytes: Vec<u8>,
    items: usize,
    /// Bytes of the items, also of those that were too much to keep.
    len: usize,
}

/// The longest header of a list.
const HEADER: usize = 5;

impl<'s> Lists<'s> {
    fn new(legs: usize, ordered: Option<Ordered>, allowance: Allowance, sink: &'s mut dyn RowSink) -> Lists<'s> {
        let legs = (0..legs).map(|_| List::default()).collect();
        Lists { legs, ordered, marked: false, allowance, emitter: Emitter::new(sink) }
    }
}

impl Collector for Lists<'_> {
    fn add(&mut self, leg: usize, values: &[u8]) -> Result<()> {
        let list = self.legs.get_mut(leg).ok_or(Error::Corrupt("a row of an unknown leg"))?;
        list.items += 1;
        if list.len > self.allowance.budget {
            list.len += values.len();
        } else if let Some(ordered) = &mut self.ordered {
            ordered.add(values, &self.allowance)?;
            list.len = ordered.rows.content_bytes();
        } else {
            let mut fields = values;
            let width = codec::read_array_header(&mut fields)?;
            list.len += if width == 1 { fields.len() } else { values.len() };
            if list.len <= self.allowance.budget {
                let out = list.open();
                write_item_header(out, width, self.marked)?;
                out.extend_from_slice(fields);
            }
        }
        Ok(())
    }

    fn end(&mut self, key: &[Val<'_>]) -> Result<bool> {
        if let Some(list) = self.legs.iter().find(|list| list.len > self.allowance.budget) {
            return Err(self.allowance.list_too_large(key, list.len));
        }
        let mut row = key.to_vec();
        for list in &mut self.legs {
            if let Some(ordered) = &mut self.ordered {
                ordered.move_into(list, self.marked)?;
            }
            row.push(Val::List(list.close()));
        }
        let more = self.emitter.push(&row)?;
        self.legs.iter_mut().for_each(List::clear);
        Ok(more)
    }
}

/// What stands before the values of an item: nothing before one value, else the header of a list.
fn write_item_header(out: &mut Vec<u8>, values: usize, marked: bool) -> Result<()> {
    match values {
        1 => Ok(()),
        _ if marked => codec::write_row_item_header(out, values),
        _ => {
            codec::write_array_header(out, values);
            Ok(())
        }
    }
}

impl Ordered {
    fn new(by: Vec<Order>, without: Option<Vec<u32>>) -> Ordered {
        let order = RowOrder { by, ties: Ties::Row };
        Ordered { order, rows: SortBuffer::new(), without, scratch: RowScratch::default() }
    }

    /// Adds an encoded row. Missing columns were found when it was pushed.
    fn add(&mut self, mut encoded: &[u8], allowance: &Allowance) -> Result<()> {
        let mut row = self.scratch.take();
        codec::read_row(&mut encoded, &mut row)?;
        self.rows.push(&row, &self.order, None).map_err(|error| allowance.no_column(&row, error))?;
        self.scratch.give(row);
        Ok(())
    }

    /// Moves all rows, in order, into the list as items.
    fn move_into(&mut self, list: &mut List, marked: bool) -> Result<()> {
        self.rows.sort(self.order.ties)?;
        let out = list.open();
        self.rows.for_each(|row| {
            let Some(columns) = &self.without else { return write_item_header(out, 0, marked).map(|()| true) };
            write_item_header(out, rest(row, columns).count(), marked)?;
            rest(row, columns).for_each(|value| codec::write_val(out, value));
            Ok(true)
        })?;
        self.rows.clear();
        Ok(())
    }
}

impl List {
    /// Where items are appended.
    fn open(&mut self) -> &mut Vec<u8> {
        if self.bytes.is_empty() {
            self.bytes.resize(HEADER, 0);
        }
        &mut self.bytes
    }

    /// The list, encoded.
    fn close(&mut self) -> &[u8] {
        self.bytes.resize(self.bytes.len().max(HEADER), 0);
        let mut header = Vec::with_capacity(HEADER);
        codec::write_array_header(&mut header, self.items);
        let start = HEADER - header.len();
        self.bytes[start..HEADER].copy_from_slice(&header);
        &self.bytes[start..]
    }

    fn clear(&mut self) {
        self.bytes.clear();
        (self.items, self.len) = (0, 0);
    }
}

#[cfg(test)]
mod tests;
