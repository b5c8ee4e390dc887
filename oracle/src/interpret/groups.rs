//! Grouping, folding and sorting.

use std::cmp::Ordering;

use plan::{Alone, Key, Order, Values};

use super::functions::Machine;
use super::{at, pick};
use crate::value::{order, order_exactly, order_rows};
use crate::{Row, Value};

/// One group.
#[derive(Clone, Debug)]
pub(super) struct Grouped {
    /// Of each key field the form that shows: the integer of 4 and 4.0.
    pub(super) key: Row,
    /// Each row's values.
    pub(super) items: Vec<Row>,
}

impl Grouped {
    /// Key fields, then the list of items.
    pub(super) fn as_row(&self) -> Row {
        let items = self.items.iter().map(|item| Value::item(item)).collect();
        self.with_key(vec![Value::List(items)])
    }

    /// Key fields, then the number of items.
    pub(super) fn counted(&self) -> Row {
        self.with_key(vec![Value::Int(i64::try_from(self.items.len()).expect("fewer rows than an i64"))])
    }

    /// Key fields, then the values folded one after the other.
    pub(super) fn folded(&self, machine: &Machine) -> Result<Row, String> {
        let mut items = self.items.iter();
        let first = items.next().ok_or("a group has items")?.clone();
        let values = items.try_fold(first, |folded, next| machine.call(&[folded, next.clone()].concat()))?;
        Ok(self.with_key(values))
    }

    fn with_key(&self, values: Row) -> Row {
        [self.key.clone(), values].concat()
    }
}

/// The key of a row.
pub(super) fn key_of(row: &[Value], key: &Key) -> Result<Row, String> {
    match key {
        Key::Columns(columns) => pick(row, columns),
        Key::Row => Ok(row.to_vec()),
    }
}

/// Rows with equal keys together, in the order of the keys.
pub(super) fn by_key(rows: &[Row], key: &Key, values: Values, by: &[Order]) -> Result<Vec<Grouped>, String> {
    let mut keyed: Vec<(Row, &Row)> = Vec::new();
    for row in rows {
        keyed.push((key_of(row, key)?, row));
    }
    // Stable: items of a group stay in the order in which they came.
    keyed.sort_by(|a, b| order_rows(&a.0, &b.0));
    let groups = keyed.chunk_by(|a, b| order_rows(&a.0, &b.0).is_eq());
    groups.map(|group| one_group(group, key, values, by)).collect()
}

fn one_group(group: &[(Row, &Row)], key: &Key, values: Values, by: &[Order]) -> Result<Grouped, String> {
    let mut rows: Vec<Row> = group.iter().map(|(_, row)| (*row).clone()).collect();
    if !by.is_empty() {
        rows = sorted(rows, by)?;
    }
    let items = rows.iter().map(|row| item_of(row, key, values)).collect();
    Ok(Grouped { key: shown(group.iter().map(|(key, _)| key)), items })
}

/// The group of a row that no other has the key of.
pub(super) fn alone(row: &[Value], key: &Key, made: Alone) -> Result<Row, String> {
    let one = one_group(&[(key_of(row, key)?, &row.to_vec())], key, Values::Rest, &[])?;
    Ok(match made {
        Alone::List => one.as_row(),
        Alone::Values => [one.key, one.items.concat()].concat(),
    })
}

/// Of equal keys, field by field the form that shows.
pub(super) fn shown<'a>(keys: impl Iterator<Item = &'a Row>) -> Row {
    let least = |a: &Value, b: &Value| {
        if order_exactly(std::slice::from_ref(a), std::slice::from_ref(b)).is_le() { a.clone() } else { b.clone() }
    };
    let folded = keys.fold(None, |shown: Option<Row>, key| match shown {
        None => Some(key.clone()),
        Some(shown) => Some(shown.iter().zip(key).map(|(a, b)| least(a, b)).collect()),
    });
    folded.unwrap_or_default()
}

fn item_of(row: &[Value], key: &Key, values: Values) -> Row {
    match (values, key) {
        (Values::Row, _) => row.to_vec(),
        (Values::Rest, Key::Row) => Vec::new(),
        (Values::Rest, Key::Columns(columns)) => rest(row, columns),
    }
}

/// The fields that are not in the key, in their order.
pub(super) fn rest(row: &[Value], key: &[u32]) -> Row {
    let others = row.iter().enumerate().filter(|(at, _)| !key.iter().any(|column| *column as usize == *at));
    others.map(|(_, value)| value.clone()).collect()
}

/// In order; ties by the whole row ascending, then by what shows first.
pub(super) fn sorted(mut rows: Vec<Row>, by: &[Order]) -> Result<Vec<Row>, String> {
    for row in &rows {
        by.iter().try_for_each(|component| at(row, component.column).map(|_| ()))?;
    }
    rows.sort_by(|a, b| compare(a, b, by).then_with(|| order_exactly(a, b)));
    Ok(rows)
}

fn compare(a: &[Value], b: &[Value], by: &[Order]) -> Ordering {
    let by_component = |component: &Order| {
        let column = component.column as usize;
        let found = order(&a[column], &b[column]);
        if component.descending { found.reverse() } else { found }
    };
    by.iter().map(by_component).find(|found| found.is_ne()).unwrap_or(Ordering::Equal)
}
