//! The total order on values and rows, and its refinement by representation.

use std::cmp::Ordering;

use crate::{Val, codec};

/// The total order: nil < false < true < numbers by value < strings bytewise < lists < maps.
#[must_use]
pub fn compare(a: Val<'_>, b: Val<'_>) -> Ordering {
    match (a, b) {
        (Val::Int(a), Val::Int(b)) => a.cmp(&b),
        (Val::Str(a), Val::Str(b)) => a.cmp(b),
        (Val::Bool(a), Val::Bool(b)) => a.cmp(&b),
        (Val::Float(a), Val::Float(b)) => compare_floats(a, b),
        (Val::Int(a), Val::Float(b)) => compare_int_float(a, b),
        (Val::Float(a), Val::Int(b)) => compare_int_float(b, a).reverse(),
        (Val::List(a), Val::List(b)) | (Val::Map(a), Val::Map(b)) => compare_items(Items::of(a), Items::of(b), compare),
        _ => rank(a).cmp(&rank(b)),
    }
}

/// The total order, and among equal values their representation: an integer before an equal float, -0.0 before 0.
#[must_use]
pub fn compare_exact(a: Val<'_>, b: Val<'_>) -> Ordering {
    compare(a, b).then_with(|| representation(a, b))
}

/// The total order on rows: field by field, a shorter row before its extension.
#[must_use]
pub fn compare_rows(a: &[Val<'_>], b: &[Val<'_>]) -> Ordering {
    compare_items(a.iter().copied(), b.iter().copied(), compare)
}

/// The total order on rows, and among equal rows their representation.
#[must_use]
pub fn compare_rows_exact(a: &[Val<'_>], b: &[Val<'_>]) -> Ordering {
    compare_rows(a, b).then_with(|| compare_items(a.iter().copied(), b.iter().copied(), representation))
}

/// The order among the representations of equal values.
fn representation(a: Val<'_>, b: Val<'_>) -> Ordering {
    match (a, b) {
        (Val::Int(_), Val::Float(_)) => Ordering::Less,
        (Val::Float(_), Val::Int(_)) => Ordering::Greater,
        (Val::Float(a), Val::Float(b)) => a.total_cmp(&b),
        (Val::List(a), Val::List(b)) | (Val::Map(a), Val::Map(b)) => compare_items(Items::of(a), Items::of(b), representation),
        _ => Ordering::Equal,
    }
}

fn rank(value: Val<'_>) -> u8 {
    match value {
        Val::Nil => 0,
        Val::Bool(_) => 1,
        Val::Int(_) | Val::Float(_) => 2,
        Val::Str(_) => 3,
        Val::List(_) => 4,
        Val::Map(_) => 5,
    }
}

fn compare_floats(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

/// Exact at any size: converting either side would round.
fn compare_int_float(a: i64, b: f64) -> Ordering {
    const END: f64 = 9_223_372_036_854_775_808.0;
    if b.is_nan() || b >= END {
        return Ordering::Less;
    }
    if b < -END {
        return Ordering::Greater;
    }
    // Within the range of i64, the integral part of a float converts exactly.
    let whole = b.trunc();
    a.cmp(&(whole as i64)).then_with(|| compare_floats(whole, b))
}

fn compare_items<'a, 'b>(
    mut a: impl Iterator<Item = Val<'a>>,
    mut b: impl Iterator<Item = Val<'b>>,
    by: impl Fn(Val<'a>, Val<'b>) -> Ordering,
) -> Ordering {
    loop {
        match (a.next(), b.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(a), Some(b)) => match by(a, b) {
                Ordering::Equal => {}
                unequal => return unequal,
            },
        }
    }
}

/// The items of an encoded list; of a map, keys and values in turn.
pub(super) struct Items<'a> {
    bytes: &'a [u8],
}

impl<'a> Items<'a> {
    pub(super) fn of(mut encoded: &'a [u8]) -> Items<'a> {
        let header = match encoded.first() {
            Some(0x80..=0x8f | 0xde | 0xdf) => codec::read_map_header(&mut encoded),
            _ => codec::read_array_header(&mut encoded),
        };
        header.expect("a list or map was checked when it was read");
        Items { bytes: encoded }
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = Val<'a>;

    fn next(&mut self) -> Option<Val<'a>> {
        (!self.bytes.is_empty()).then(|| codec::read_val(&mut self.bytes).expect("a list or map was checked when it was read"))
    }
}
