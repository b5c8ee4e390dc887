//! What the tests of operators share: allowances over a temporary directory, random rows, a sink that collects.

use std::ops::RangeInclusive;

use plan::{Key, Order, Values};
use proptest::prelude::*;

use super::Allowance;
use crate::key::sample::value;
use crate::key::{compare_exact, compare_rows};
use crate::{MemoryPool, Result, RowSink, Val, Value, codec};

/// An allowance and the directory it needs.
pub(crate) struct Trial {
    dir: tempfile::TempDir,
    budget: usize,
}

impl Trial {
    pub(crate) fn with(budget: usize) -> Trial {
        Trial { dir: tempfile::tempdir().unwrap(), budget }
    }

    /// The pool has as much as the budget, so that a part of what is spilled goes to disk.
    pub(crate) fn allowance(&self) -> Allowance {
        Allowance {
            step: "trial".to_owned(),
            budget: self.budget,
            memory: MemoryPool::new(self.budget),
            dir: self.dir.path().to_path_buf(),
            spilled: std::sync::Arc::default(),
        }
    }
}

/// Budgets from almost nothing to more than needed.
pub(crate) fn budget() -> impl Strategy<Value = usize> {
    prop::sample::select(vec![1 << 10, 3 << 10, 8 << 10, 64 << 20])
}

/// Encoded rows of some widths. Few distinct values in each field, so that keys meet, in several representations.
pub(crate) fn rows(width: RangeInclusive<usize>, most: usize) -> impl Strategy<Value = Vec<Vec<u8>>> {
    let common = prop::sample::select(vec![
        Value::Int(0),
        Value::Int(4),
        Value::Float(4.0),
        Value::Float(-0.0),
        Value::Float(0.0),
        Value::Nil,
        Value::Str(b"word".to_vec()),
        Value::Str(b"a\0b\x01".to_vec()),
        Value::Str(b"a text of more than fifteen bytes".to_vec()),
        Value::List(vec![Value::Int(4)]),
        Value::List(vec![Value::Float(4.0)]),
    ]);
    let field = prop_oneof![3 => common, 1 => value(), 1 => (0_i64..8).prop_map(Value::Int)];
    let row = prop::collection::vec(field, width).prop_map(|row| encode(&row));
    prop::collection::vec(row, 0..most)
}

/// Some sort orders over the first `width` columns.
pub(crate) fn orders(width: u32) -> impl Strategy<Value = Vec<Order>> {
    let order = (0..width, any::<bool>()).prop_map(|(column, descending)| Order { column, descending });
    prop::collection::vec(order, 0..3)
}

pub(crate) fn encode(row: &[Value]) -> Vec<u8> {
    let mut bytes = Vec::new();
    codec::write_array_header(&mut bytes, row.len());
    for value in row {
        codec::write_value(&mut bytes, value);
    }
    bytes
}

pub(crate) fn encode_vals(row: &[Val<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    codec::write_row(&mut bytes, row);
    bytes
}

pub(crate) fn decode(row: &[u8]) -> Vec<Val<'_>> {
    let mut decoded = Vec::new();
    codec::read_row(&mut &row[..], &mut decoded).unwrap();
    decoded
}

pub(crate) fn push_all(rows: &[Vec<u8>], mut push: impl FnMut(&[Val<'_>]) -> Result<()>) {
    for row in rows {
        push(&decode(row)).unwrap();
    }
}

/// Rows in one fixed order, to compare multisets.
pub(crate) fn sorted(mut rows: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    rows.sort_unstable();
    rows
}

/// Keeps what it is given, encoded.
#[derive(Default)]
pub(crate) struct Collected {
    pub(crate) rows: Vec<Vec<u8>>,
}

impl RowSink for Collected {
    fn push(&mut self, row: &[Val<'_>]) -> Result<()> {
        self.rows.push(encode_vals(row));
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Rows grouped by a key, slowly: each key as it is shown (of each field the smallest form), and its rows.
pub(crate) fn naive_groups<'r>(
    rows: &'r [Vec<u8>],
    key: impl Fn(&[Val<'r>]) -> Vec<Val<'r>>,
) -> Vec<(Vec<Val<'r>>, Vec<Vec<Val<'r>>>)> {
    let mut groups: Vec<(Vec<Val<'r>>, Vec<Vec<Val<'r>>>)> = Vec::new();
    for row in rows {
        let row = decode(row);
        let fields = key(&row);
        match groups.iter_mut().find(|(shown, _)| compare_rows(shown, &fields).is_eq()) {
            Some((shown, rows)) => {
                for (shown, field) in shown.iter_mut().zip(fields) {
                    if compare_exact(field, *shown).is_lt() {
                        *shown = field;
                    }
                }
                rows.push(row);
            }
            None => groups.push((fields, vec![row])),
        }
    }
    groups
}

/// The fields of a row at a plan's key.
pub(crate) fn key_fields<'r>(row: &[Val<'r>], key: &Key) -> Vec<Val<'r>> {
    match key {
        Key::Row => row.to_vec(),
        Key::Columns(columns) => columns.iter().map(|column| row[*column as usize]).collect(),
    }
}

/// The values of a row beside a plan's key.
pub(crate) fn values_of<'r>(row: &[Val<'r>], key: &Key, values: Values) -> Vec<Val<'r>> {
    match (values, key) {
        (Values::Row, _) => row.to_vec(),
        (Values::Rest, Key::Row) => Vec::new(),
        (Values::Rest, Key::Columns(columns)) => {
            let others = row.iter().enumerate().filter(|(at, _)| !columns.contains(&(*at as u32)));
            others.map(|(_, value)| *value).collect()
        }
    }
}

/// Keys over rows of at least two fields.
pub(crate) fn keys() -> impl Strategy<Value = Key> {
    let columns = [vec![0], vec![1], vec![0, 1], vec![1, 0], vec![]];
    prop::sample::select(columns.into_iter().map(Key::Columns).chain([Key::Row]).collect::<Vec<_>>())
}
