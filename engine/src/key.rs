//! The one total order of values, and its order-preserving byte encoding for hashing, sorting and comparing.
//!
//! nil < false < true < numbers by value, NaN last < strings bytewise < lists < maps; 4 and 4.0 are equal, so are 0 and -0.0.

use plan::Key;

use crate::Val;

mod compare;
mod encode;
mod hash;
#[cfg(test)]
pub(crate) mod sample;

pub use compare::{compare, compare_exact, compare_rows, compare_rows_exact};
pub(crate) use encode::encode_short;
pub use encode::{
    ColumnError, column, decode_plain, encode, encode_columns, encode_descending, encode_key, encode_order, encode_row,
};
pub use hash::hash;
pub(crate) use hash::{hash_words, words};

/// The hash of some fields as a key, and whether its encoding says how they are shown; `encoded` is room for it.
#[inline]
pub(crate) fn hash_fields(fields: &[Val<'_>], encoded: &mut Vec<u8>) -> (u64, bool) {
    if let [only] = fields
        && let Some((low, high, len)) = encode_short(*only)
    {
        return (hash_words(low, high, len), true);
    }
    encoded.clear();
    let plain = fields.iter().fold(true, |plain, field| encode(*field, encoded) & plain);
    (hash(encoded), plain)
}

/// The hash of a row's key.
#[inline]
pub(crate) fn hash_key(row: &[Val<'_>], key: &Key, encoded: &mut Vec<u8>) -> Result<u64, ColumnError> {
    if let Key::Columns(columns) = key
        && let [only] = columns[..]
    {
        return Ok(hash_fields(&[column(row, only)?], encoded).0);
    }
    encoded.clear();
    encode_key(row, key, encoded)?;
    Ok(hash(encoded))
}
