//! The one total order of values, and its order-preserving byte encoding for hashing, sorting and comparing.

use std::cmp::Ordering;

use crate::Val;

/// The total order: nil < false < true < numbers by value < strings bytewise < lists < maps.
#[must_use]
pub fn compare(_a: Val<'_>, _b: Val<'_>) -> Ordering {
    unimplemented!("helper ops")
}
