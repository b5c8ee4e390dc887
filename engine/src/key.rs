//! The one total order of values, and its order-preserving byte encoding for hashing, sorting and comparing.
//!
//! nil < false < true < numbers by value, NaN last < strings bytewise < lists < maps; 4 and 4.0 are equal, so are 0 and -0.0.

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
