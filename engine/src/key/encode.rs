//! Bytes that compare (memcmp) as the total order does, equal exactly where values are equal, and no value's a prefix of another's.
//!
//! ```text
//! 00 end of a list, map or row    01 nil    02 false    03 true    04 number    05 string    06 list    07 map
//! number: 8 bytes of a float, ordered; from 2^53 to 2^63 in magnitude, 2 bytes: how far the integer lies from that float
//! string: its bytes, 00 as 01 01 and 01 as 01 02, then 00
//! ```

use plan::{Key, Order};
use thiserror::Error;

use super::compare::Items;
use crate::Val;

const END: u8 = 0;
const NIL: u8 = 1;
const FALSE: u8 = 2;
const TRUE: u8 = 3;
const NUMBER: u8 = 4;
const STRING: u8 = 5;
const LIST: u8 = 6;
const MAP: u8 = 7;

/// The lowest byte of a string that stands for itself; lower ones are escaped behind [`ESCAPE`].
const LITERAL: u8 = 2;
const ESCAPE: u8 = 1;

/// Where floats begin to be further apart than integers, and where integers end.
const SPARSE: f64 = 9_007_199_254_740_992.0;
const BEYOND: f64 = 9_223_372_036_854_775_808.0;

/// A key, sort or select field that a row does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("field {} does not exist in a row of {width}", column + 1)]
pub struct ColumnError {
    /// 0-based.
    pub column: u32,
    pub width: usize,
}

/// The field at a 0-based column.
///
/// # Errors
/// [`ColumnError`] if the row is too short.
#[inline]
pub fn column<'a>(row: &[Val<'a>], column: u32) -> Result<Val<'a>, ColumnError> {
    row.get(column as usize).copied().ok_or(ColumnError { column, width: row.len() })
}

/// Appends a value; true if it is *plain*: [`decode_plain`] gives back this very value, and no equal value is shown before it.
#[inline]
pub fn encode(value: Val<'_>, out: &mut Vec<u8>) -> bool {
    match value {
        Val::Str(bytes) => encode_string(bytes, out),
        Val::Int(integer) => encode_integer(integer, out),
        Val::Float(float) => encode_float(float, out),
        Val::Nil => scalar(NIL, out),
        Val::Bool(false) => scalar(FALSE, out),
        Val::Bool(true) => scalar(TRUE, out),
        Val::List(encoded) => encode_items(LIST, encoded, out),
        Val::Map(encoded) => encode_items(MAP, encoded, out),
    }
}

/// A key of one plain value in up to 15 bytes as its [`super::words`] and its length, which is what most keys are.
#[inline]
pub(crate) fn encode_short(value: Val<'_>) -> Option<(u64, u64, usize)> {
    match value {
        Val::Int(integer) if integer.unsigned_abs() < 1 << 53 => {
            let bytes = ordered(integer as f64).swap_bytes();
            Some((u64::from(NUMBER) | bytes << 8, bytes >> 48, 9))
        }
        // Bytes 0 to 7, and 7 to 12, of the string.
        Val::Str(bytes) if bytes.len() <= 13 => {
            let ((low, high), len) = (super::hash::words(bytes)?, bytes.len());
            let behind = |len: usize| u64::MAX.checked_shl(8 * len as u32).unwrap_or(0);
            let plain = has_no_escape(low | behind(len)) && has_no_escape(high | behind(len.saturating_sub(7)));
            plain.then_some((u64::from(STRING) | low << 8, low >> 48 & 0xff | high << 8, len + 2))
        }
        Val::Nil | Val::Bool(_) | Val::Int(_) | Val::Float(_) | Val::Str(_) | Val::List(_) | Val::Map(_) => None,
    }
}

/// Whether none of eight bytes is below [`LITERAL`].
fn has_no_escape(bytes: u64) -> bool {
    const EACH: u64 = u64::from_ne_bytes([1; 8]);
    bytes.wrapping_sub(EACH * LITERAL as u64) & !bytes & (EACH << 7) == 0
}

/// Appends a value such that the order is reversed.
pub fn encode_descending(value: Val<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    encode(value, out);
    for byte in &mut out[start..] {
        *byte = !*byte;
    }
}

/// Appends a row, its width included; true if all its values are plain.
pub fn encode_row(row: &[Val<'_>], out: &mut Vec<u8>) -> bool {
    let plain = row.iter().fold(true, |plain, value| encode(*value, out) & plain);
    out.push(END);
    plain
}

/// Appends some columns of a row; true if all are plain.
///
/// # Errors
/// [`ColumnError`] if the row is too short.
#[inline]
pub fn encode_columns(row: &[Val<'_>], columns: &[u32], out: &mut Vec<u8>) -> Result<bool, ColumnError> {
    let mut plain = true;
    for at in columns {
        plain &= encode(column(row, *at)?, out);
    }
    Ok(plain)
}

/// Appends a row's key; true if all its values are plain.
///
/// # Errors
/// [`ColumnError`] if the row is too short.
#[inline]
pub fn encode_key(row: &[Val<'_>], key: &Key, out: &mut Vec<u8>) -> Result<bool, ColumnError> {
    match key {
        Key::Columns(columns) => encode_columns(row, columns, out),
        Key::Row => Ok(encode_row(row, out)),
    }
}

/// Appends a row's sort key.
///
/// # Errors
/// [`ColumnError`] if the row is too short.
#[inline]
pub fn encode_order(row: &[Val<'_>], orders: &[Order], out: &mut Vec<u8>) -> Result<(), ColumnError> {
    for order in orders {
        let value = column(row, order.column)?;
        if order.descending {
            encode_descending(value, out);
        } else {
            encode(value, out);
        }
    }
    Ok(())
}

fn scalar(tag: u8, out: &mut Vec<u8>) -> bool {
    out.push(tag);
    true
}

#[inline]
fn encode_string(bytes: &[u8], out: &mut Vec<u8>) -> bool {
    out.reserve(bytes.len() + 2);
    out.push(STRING);
    let plain = bytes.iter().fold(true, |plain, byte| plain & (*byte >= LITERAL));
    if plain {
        out.extend_from_slice(bytes);
    } else {
        escape(bytes, out);
    }
    out.push(END);
    plain
}

#[cold]
fn escape(bytes: &[u8], out: &mut Vec<u8>) {
    for byte in bytes {
        if *byte < LITERAL {
            out.extend_from_slice(&[ESCAPE, byte + 1]);
        } else {
            out.push(*byte);
        }
    }
}

#[inline]
fn encode_integer(integer: i64, out: &mut Vec<u8>) -> bool {
    let float = integer as f64;
    // In 128 bits, since 2^63 is the nearest float of the largest integers.
    encode_number(float, if float.abs() >= SPARSE { (i128::from(integer) - float as i128) as i16 } else { 0 }, out);
    true
}

fn encode_float(float: f64, out: &mut Vec<u8>) -> bool {
    if float.is_nan() {
        encode_number(f64::NAN, 0, out);
        return float.to_bits() == f64::NAN.to_bits();
    }
    // Adding zero makes a zero of -0.0.
    encode_number(float + 0.0, 0, out);
    !is_integer(float)
}

/// Whether an integer of 64 bits has this value.
fn is_integer(float: f64) -> bool {
    (-BEYOND..BEYOND).contains(&float) && float as i64 as f64 == float
}

/// Appends the integer `float + distance`, or the float itself.
#[inline]
fn encode_number(float: f64, distance: i16, out: &mut Vec<u8>) {
    let mut bytes = [NUMBER; 9];
    bytes[1..].copy_from_slice(&ordered(float).to_be_bytes());
    out.extend_from_slice(&bytes);
    if (SPARSE..=BEYOND).contains(&float.abs()) {
        out.extend_from_slice(&((distance as u16) ^ 0x8000).to_be_bytes());
    }
}

/// A float's bits such that they compare as the floats do.
#[inline]
fn ordered(float: f64) -> u64 {
    let bits = float.to_bits();
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}

fn encode_items(tag: u8, encoded: &[u8], out: &mut Vec<u8>) -> bool {
    out.push(tag);
    for item in Items::of(encoded) {
        encode(item, out);
    }
    out.push(END);
    false
}

/// Reads back a plain value (see [`encode`]); `input`, which must begin with one, moves behind it.
#[inline]
pub fn decode_plain<'a>(input: &mut &'a [u8]) -> Val<'a> {
    let (tag, rest) = input.split_first().expect("an encoded value has a tag");
    match *tag {
        NIL => finish(Val::Nil, rest, input),
        FALSE => finish(Val::Bool(false), rest, input),
        TRUE => finish(Val::Bool(true), rest, input),
        NUMBER => decode_number(rest, input),
        STRING => {
            let end = memchr::memchr(END, rest).expect("an encoded string has an end");
            finish(Val::Str(&rest[..end]), &rest[end + 1..], input)
        }
        _ => unreachable!("no other value is plain"),
    }
}

fn finish<'a>(value: Val<'a>, rest: &'a [u8], input: &mut &'a [u8]) -> Val<'a> {
    *input = rest;
    value
}

fn decode_number<'a>(bytes: &'a [u8], input: &mut &'a [u8]) -> Val<'a> {
    let (ordered, rest) = bytes.split_first_chunk::<8>().expect("a number has eight bytes");
    let ordered = u64::from_be_bytes(*ordered);
    let float = f64::from_bits(if ordered >> 63 == 1 { ordered & !(1 << 63) } else { !ordered });
    let (distance, rest) = match rest.split_first_chunk::<2>() {
        Some((distance, rest)) if (SPARSE..=BEYOND).contains(&float.abs()) => (u16::from_be_bytes(*distance) ^ 0x8000, rest),
        _ => (0, rest),
    };
    let value = if distance == 0 {
        if is_integer(float) { Val::Int(float as i64) } else { Val::Float(float) }
    } else {
        i64::try_from(float as i128 + i128::from(distance as i16)).map_or(Val::Float(float), Val::Int)
    };
    finish(value, rest, input)
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use proptest::prelude::*;

    use super::*;
    use crate::key::sample::{borrowed, row, value};
    use crate::key::{compare, compare_exact, compare_rows, compare_rows_exact};
    use crate::{Value, codec};

    fn encoded(value: Val<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        encode(value, &mut out);
        out
    }

    /// The order, slowly: numbers as exact rationals of 2^-1074 would be; here, through the decimal digits of both.
    fn naive(a: &Value, b: &Value) -> Ordering {
        let rank = |value: &Value| match value {
            Value::Nil => 0,
            Value::Bool(false) => 1,
            Value::Bool(true) => 2,
            Value::Int(_) | Value::Float(_) => 3,
            Value::Str(_) => 4,
            Value::List(_) => 5,
            Value::Map(_) => 6,
        };
        match (a, b) {
            (Value::Int(_) | Value::Float(_), Value::Int(_) | Value::Float(_)) => naive_numbers(a, b),
            (Value::Str(a), Value::Str(b)) => a.cmp(b),
            (Value::List(a), Value::List(b)) => naive_lists(a, b),
            (Value::Map(a), Value::Map(b)) => naive_lists(&flat(a), &flat(b)),
            _ => rank(a).cmp(&rank(b)),
        }
    }

    fn flat(pairs: &[(Value, Value)]) -> Vec<Value> {
        let mut sorted = pairs.to_vec();
        sorted.sort_by(|a, b| naive(&a.0, &b.0));
        sorted.into_iter().flat_map(|(key, value)| [key, value]).collect()
    }

    fn naive_lists(a: &[Value], b: &[Value]) -> Ordering {
        let unequal = a.iter().zip(b).map(|(a, b)| naive(a, b)).find(|order| order.is_ne());
        unequal.unwrap_or_else(|| a.len().cmp(&b.len()))
    }

    /// Sign, digits before the point (padded to one length), digits behind it: exact, since Rust prints floats exactly.
    fn naive_numbers(a: &Value, b: &Value) -> Ordering {
        let digits = |value: &Value| match value {
            Value::Int(i) => format!("{i}.0"),
            Value::Float(f) => format!("{f:.1100}"),
            _ => unreachable!(),
        };
        let special = |value: &Value| match value {
            Value::Float(f) if f.is_nan() => 2,
            Value::Float(f) if f.is_infinite() => f.signum() as i32,
            _ => 0,
        };
        match (special(a), special(b)) {
            (0, 0) => compare_digits(&digits(a), &digits(b)),
            (a, b) => a.cmp(&b),
        }
    }

    fn compare_digits(a: &str, b: &str) -> Ordering {
        let parts = |text: &str| {
            let negative = text.starts_with('-');
            let (whole, fraction) = text.trim_start_matches('-').split_once('.').unwrap();
            (negative, format!("{whole:0>400}.{fraction:0<1100}"))
        };
        let ((negative_a, a), (negative_b, b)) = (parts(a), parts(b));
        let zero = |digits: &str| digits.bytes().all(|byte| byte == b'0' || byte == b'.');
        match (negative_a && !zero(&a), negative_b && !zero(&b)) {
            (false, false) => a.cmp(&b),
            (true, true) => b.cmp(&a),
            (negative_a, negative_b) => negative_b.cmp(&negative_a),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn encoded_values_compare_as_the_values_do(a in value(), b in value()) {
            let expected = naive(&a, &b);
            let (a_bytes, b_bytes) = (borrowed(&a), borrowed(&b));
            let (a, b) = (codec::read_val(&mut &a_bytes[..]).unwrap(), codec::read_val(&mut &b_bytes[..]).unwrap());
            prop_assert_eq!(compare(a, b), expected);
            prop_assert_eq!(encoded(a).cmp(&encoded(b)), expected);
            let (mut down_a, mut down_b) = (Vec::new(), Vec::new());
            encode_descending(a, &mut down_a);
            encode_descending(b, &mut down_b);
            prop_assert_eq!(down_b.cmp(&down_a), expected);
            if expected.is_ne() {
                prop_assert_eq!(compare_exact(a, b), expected);
                prop_assert!(!encoded(a).starts_with(&encoded(b)));
            } else if compare_exact(a, b).is_eq() {
                prop_assert_eq!(a_bytes, b_bytes);
            }
        }

        #[test]
        fn plain_values_are_read_back_and_nothing_equal_is_shown_before_them(a in value(), b in value()) {
            let (a_bytes, b_bytes) = (borrowed(&a), borrowed(&b));
            let (a, b) = (codec::read_val(&mut &a_bytes[..]).unwrap(), codec::read_val(&mut &b_bytes[..]).unwrap());
            let mut out = Vec::new();
            if encode(a, &mut out) {
                encode(b, &mut out);
                let mut input = &out[..];
                prop_assert_eq!(format!("{:?}", decode_plain(&mut input)), format!("{a:?}"));
                prop_assert_eq!(input, &encoded(b));
                if compare(a, b).is_eq() {
                    prop_assert_ne!(compare_exact(a, b), Ordering::Greater);
                }
            }
        }

        #[test]
        fn short_keys_are_the_same_bytes_in_two_words(a in value()) {
            let bytes = borrowed(&a);
            let a = codec::read_val(&mut &bytes[..]).unwrap();
            let mut out = Vec::new();
            let plain = encode(a, &mut out);
            match encode_short(a) {
                Some((low, high, len)) => {
                    prop_assert!(plain);
                    prop_assert_eq!((Some((low, high)), len), (crate::key::words(&out), out.len()));
                    prop_assert_eq!(crate::key::hash_words(low, high, len), crate::key::hash(&out));
                }
                None if plain && out.len() <= 15 => prop_assert!(!matches!(a, Val::Str(_))),
                None => {}
            }
        }

        #[test]
        fn encoded_rows_compare_as_the_rows_do(a in row(), b in row()) {
            let (expected, mut a_key, mut b_key) = (naive_lists(&a, &b), Vec::new(), Vec::new());
            let (a, b): (Vec<_>, Vec<_>) = (a.iter().map(borrowed).collect(), b.iter().map(borrowed).collect());
            let read = |row: &'static [Vec<u8>]| row.iter().map(|bytes| codec::read_val(&mut &bytes[..]).unwrap()).collect::<Vec<_>>();
            let (a, b) = (read(a.leak()), read(b.leak()));
            encode_row(&a, &mut a_key);
            encode_row(&b, &mut b_key);
            prop_assert_eq!(compare_rows(&a, &b), expected);
            prop_assert_eq!(a_key.cmp(&b_key), expected);
            prop_assert_eq!(compare_rows_exact(&a, &b), compare_rows_exact(&b, &a).reverse());
        }
    }

    #[test]
    fn integers_and_floats_are_told_apart_at_any_size() {
        let sorted = [
            Val::Float(f64::NEG_INFINITY),
            Val::Float(-BEYOND * 2.0),
            Val::Int(i64::MIN),
            Val::Int(i64::MIN + 1),
            Val::Int(-(1 << 53) - 1),
            Val::Float(-SPARSE),
            Val::Int(-1),
            Val::Float(-0.5),
            Val::Int(0),
            Val::Float(f64::MIN_POSITIVE),
            Val::Float(0.5),
            Val::Int((1 << 53) - 1),
            Val::Float(SPARSE),
            Val::Int((1 << 53) + 1),
            Val::Int((1 << 53) + 2),
            Val::Int(i64::MAX - 1),
            Val::Int(i64::MAX),
            Val::Float(BEYOND),
            Val::Float(f64::INFINITY),
            Val::Float(f64::NAN),
        ];
        for (i, a) in sorted.iter().enumerate() {
            for (j, b) in sorted.iter().enumerate() {
                assert_eq!(compare(*a, *b), i.cmp(&j), "{a:?} {b:?}");
                assert_eq!(encoded(*a).cmp(&encoded(*b)), i.cmp(&j), "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn an_integer_shows_before_an_equal_float_and_minus_zero_before_zero() {
        let sorted = [Val::Int(0), Val::Float(-0.0), Val::Float(0.0), Val::Int(4), Val::Float(4.0)];
        assert!(sorted.is_sorted_by(|a, b| compare_exact(*a, *b).is_lt()));
        assert_eq!(encoded(Val::Int(4)), encoded(Val::Float(4.0)));
        assert_eq!(encoded(Val::Float(-0.0)), encoded(Val::Int(0)));
        assert!(encode(Val::Int(4), &mut Vec::new()));
        assert!(!encode(Val::Float(4.0), &mut Vec::new()));
    }

    #[test]
    fn a_field_beyond_a_row_is_an_error() {
        let key = Key::Columns(vec![0, 2]);
        let error = encode_key(&[Val::Nil, Val::Nil], &key, &mut Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), "field 3 does not exist in a row of 2");
    }
}
