//! groupBy and coGroup: key fields, then one list of items per leg. A list must fit into the budget.

use std::ops::Range;

use plan::{Key, Order, Values};

use super::gather::{Collector, Gather, KeyShape};
use super::groups::{leads, rest, write_columns, write_rest};
use super::{Allowance, Emitter};
use crate::{Error, Result, RowSink, Val, codec, key};

/// groupBy over raw rows: key fields, then the list of the group's items.
#[derive(Debug)]
pub struct Grouper {
    key: Key,
    values: Values,
    order_by: Vec<Order>,
    gather: Gather,
    sort_key: Vec<u8>,
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
        Grouper { key, values, order_by, gather: Gather::new(1, shape, allowance), sort_key: Vec::new(), marked: false }
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
        let Grouper { key, values, order_by, gather, sort_key, .. } = self;
        gather.chains.probe.set_key(row, key).map_err(|error| gather.allowance.no_column(row, error))?;
        sort_key.clear();
        key::encode_order(row, order_by, sort_key).map_err(|error| gather.allowance.no_column(row, error))?;
        let fields = |out: &mut Vec<u8>| match &*key {
            Key::Row => codec::write_row(out, row),
            Key::Columns(columns) => write_columns(row, columns, out),
        };
        gather.chains.push(0, fields, |out| match (&order_by[..], *values, &*key) {
            // Ties are broken by the whole row.
            ([_, ..], ..) => {
                codec::write_array_header(out, 1 + row.len());
                codec::write_val(out, Val::Str(sort_key));
                row.iter().for_each(|value| codec::write_val(out, *value));
            }
            ([], Values::Row, _) => codec::write_row(out, row),
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
        let ordered = (!self.order_by.is_empty()).then_some(Items { without: columns });
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
    ordered: Option<Items>,
    /// Whether items of several fields are marked.
    marked: bool,
    allowance: Allowance,
    emitter: Emitter<'s>,
}

/// What of an ordered row is its item.
struct Items {
    /// All but these columns, or nothing.
    without: Option<Vec<u32>>,
}

/// The items of one leg.
#[derive(Default)]
struct List {
    /// Room for the longest header, then the items.
    bytes: Vec<u8>,
    items: usize,
    /// Bytes of the items, also of those that were too much to keep.
    len: usize,
    /// Where ordered rows lie in `bytes`, each an encoded row that begins with its sort key.
    rows: Vec<Range<usize>>,
}

/// The longest header of a list.
const HEADER: usize = 5;

impl<'s> Lists<'s> {
    fn new(legs: usize, ordered: Option<Items>, allowance: Allowance, sink: &'s mut dyn RowSink) -> Lists<'s> {
        let legs = (0..legs).map(|_| List::default()).collect();
        Lists { legs, ordered, marked: false, allowance, emitter: Emitter::new(sink) }
    }
}

impl Collector for Lists<'_> {
    fn add(&mut self, leg: usize, values: &[u8]) -> Result<()> {
        let list = self.legs.get_mut(leg).ok_or(Error::Corrupt("a row of an unknown leg"))?;
        let (header, rest) = if self.ordered.is_some() { (Vec::new(), values) } else { item_of(values, self.marked)? };
        list.items += 1;
        list.len += header.len() + rest.len();
        if list.len <= self.allowance.budget {
            list.add(&header, rest);
        }
        Ok(())
    }

    fn end(&mut self, key: &[Val<'_>]) -> Result<bool> {
        if let Some(list) = self.legs.iter().find(|list| list.len > self.allowance.budget) {
            return Err(self.allowance.list_too_large(key, list.len));
        }
        let mut row = key.to_vec();
        for list in &mut self.legs {
            if let Some(items) = &self.ordered {
                list.sort(items, self.marked)?;
            }
            row.push(Val::List(list.close()));
        }
        let more = self.emitter.push(&row)?;
        self.legs.iter_mut().for_each(List::clear);
        Ok(more)
    }
}

/// An encoded row as an item: the one value itself, else a list, which is what an encoded row is; its header and the rest.
fn item_of(values: &[u8], marked: bool) -> Result<(Vec<u8>, &[u8])> {
    let (mut rest, mut header) = (values, Vec::new());
    Ok(match codec::read_array_header(&mut rest)? {
        1 => (header, rest),
        len if marked => {
            codec::write_row_item_header(&mut header, len)?;
            (header, rest)
        }
        _ => (header, values),
    })
}

impl List {
    fn add(&mut self, header: &[u8], rest: &[u8]) {
        if self.bytes.is_empty() {
            self.bytes.resize(HEADER, 0);
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(header);
        self.bytes.extend_from_slice(rest);
        self.rows.push(start..self.bytes.len());
    }

    /// Puts ordered rows in order, ties by the whole row, and makes items of them.
    fn sort(&mut self, items: &Items, marked: bool) -> Result<()> {
        let (mut rows, mut keyed) = (std::mem::take(&mut self.rows), Vec::new());
        for range in rows.drain(..) {
            let mut row = Vec::new();
            codec::read_row(&mut &self.bytes[range], &mut row)?;
            keyed.push(row);
        }
        keyed.sort_by(|a, b| match (a.split_first(), b.split_first()) {
            (Some((Val::Str(a_key), a)), Some((Val::Str(b_key), b))) => {
                a_key.cmp(b_key).then_with(|| key::compare_rows_exact(a, b))
            }
            _ => unreachable!("ordered rows begin with their sort key"),
        });
        let (mut bytes, mut item) = (vec![0; HEADER], Vec::new());
        for row in &keyed {
            item.clear();
            match &items.without {
                Some(columns) => write_rest(&row[1..], columns, &mut item),
                None => codec::write_row(&mut item, &[]),
            }
            let (header, rest) = item_of(&item, marked)?;
            bytes.extend_from_slice(&header);
            bytes.extend_from_slice(rest);
        }
        self.bytes = bytes;
        Ok(())
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
        self.rows.clear();
        (self.items, self.len) = (0, 0);
    }
}

#[cfg(test)]
mod tests;
