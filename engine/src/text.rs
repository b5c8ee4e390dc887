//! Values as text: fields joined by tabs, JSON for lists and maps. Never decides about quoting; the formats do.

use thiserror::Error;

use crate::{Result, Val};

mod json;

pub(crate) use json::ESCAPED as JSON_ESCAPED;

pub use json::write_string;

/// Why a value has no JSON form.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum JsonError {
    /// JSON strings are text.
    #[error("a string is not UTF-8, which JSON cannot hold")]
    NotUtf8,
    /// JSON numbers are finite.
    #[error("a number is {0}, which JSON cannot hold")]
    NotFinite(&'static str),
    /// JSON names are strings: 1 and "1" would become one.
    #[error("a map has two keys with the same text, which JSON cannot hold")]
    KeyTwice,
    /// The bytes of a list or map are no list or map.
    #[error("a list or map is damaged")]
    Damaged,
}

/// Appends a field's text form: nil is empty, strings are their bytes, floats are shortest round-trip, lists and maps JSON.
///
/// Any value has one. What JSON lacks stands in lists and maps as it is: bytes that are not UTF-8, `nan`, `inf` and `-inf`.
#[inline]
pub fn write_field(out: &mut Vec<u8>, value: Val<'_>) {
    match value {
        Val::Nil => {}
        Val::Str(s) => out.extend_from_slice(s),
        Val::Int(i) => write_int(out, i),
        Val::Bool(b) => write_bool(out, b),
        Val::Float(f) => write_float(out, f),
        Val::List(_) | Val::Map(_) => {
            if json::write(out, value, json::Rules::Lenient).is_err() {
                out.extend_from_slice(b"<damaged>");
            }
        }
    }
}

/// Appends a row's text form: its fields joined by tabs, no line end.
pub fn write_row(out: &mut Vec<u8>, row: &[Val<'_>]) {
    for (at, value) in row.iter().enumerate() {
        if at > 0 {
            out.push(b'\t');
        }
        write_field(out, *value);
    }
}

/// Appends a value's JSON form: nil is `null`; a key that is not a string is named by its own JSON text.
///
/// # Errors
/// [`JsonError`] where JSON cannot hold the value; part of it may have been written then.
pub fn write_json(out: &mut Vec<u8>, value: Val<'_>) -> Result<(), JsonError> {
    json::write(out, value, json::Rules::Strict)
}

/// Hands the lines of tab-joined `text` to `f` as rows of strings, and gives back what follows the last line end.
///
/// # Errors
/// What `f` returns.
pub fn split_lines<'a>(
    text: &'a [u8],
    scratch: &mut crate::RowScratch,
    mut f: impl FnMut(&[Val<'_>]) -> Result<()>,
) -> Result<&'a [u8]> {
    let mut row = scratch.take();
    let mut start = 0;
    for end in memchr::memchr_iter(b'\n', text) {
        split_fields(&text[start..end], &mut row);
        f(&row)?;
        start = end + 1;
    }
    scratch.give(row);
    Ok(&text[start..])
}

/// The fields of one line, in place of what `row` held.
pub fn split_fields<'a>(line: &'a [u8], row: &mut Vec<Val<'a>>) {
    row.clear();
    let mut start = 0;
    for end in memchr::memchr_iter(b'\t', line) {
        row.push(Val::Str(&line[start..end]));
        start = end + 1;
    }
    row.push(Val::Str(&line[start..]));
}

fn write_bool(out: &mut Vec<u8>, b: bool) {
    out.extend_from_slice(if b { b"true" } else { b"false" });
}

fn write_int(out: &mut Vec<u8>, i: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(i).as_bytes());
}

fn write_float(out: &mut Vec<u8>, f: f64) {
    match not_finite(f) {
        Some(name) => out.extend_from_slice(name.as_bytes()),
        None => out.extend_from_slice(zmij::Buffer::new().format_finite(f).as_bytes()),
    }
}

/// How a number that is not finite is spelled.
pub(crate) fn not_finite(f: f64) -> Option<&'static str> {
    if f.is_nan() {
        Some("nan")
    } else if f.is_infinite() {
        Some(if f > 0.0 { "inf" } else { "-inf" })
    } else {
        None
    }
}

/// The number that a text plainly is: a few digits, perhaps a minus sign, perhaps a point. Of the usual parser's result not even
/// the last bit differs: both numbers are exact, and one division rounds once.
pub(crate) fn plain_float(text: &[u8]) -> Option<f64> {
    const POWERS: [f64; 16] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];
    let (negative, digits) = text.strip_prefix(b"-").map_or((false, text), |digits| (true, digits));
    if digits.len() > POWERS.len() {
        return None;
    }
    let (mut number, mut point) = (0_u64, None);
    for (at, byte) in digits.iter().enumerate() {
        match byte {
            b'0'..=b'9' => number = number * 10 + u64::from(byte - b'0'),
            b'.' if point.is_none() => point = Some(at),
            _ => return None,
        }
    }
    let count = digits.len() - usize::from(point.is_some());
    if count == 0 || count >= POWERS.len() {
        return None;
    }
    let float = number as f64 / POWERS[point.map_or(0, |at| count - at)];
    Some(if negative { -float } else { float })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{RowScratch, Value, codec};

    /// A value's bytes, maps in the order given.
    fn encoded(value: &Value) -> Vec<u8> {
        let mut bytes = Vec::new();
        match value {
            Value::Map(pairs) => {
                codec::write_map_header(&mut bytes, pairs.len());
                pairs.iter().for_each(|(key, value)| bytes.extend([encoded(key), encoded(value)].concat()));
            }
            value => codec::write_value(&mut bytes, value),
        }
        bytes
    }

    fn check(value: &Value, expected: &str) {
        let bytes = encoded(value);
        let mut out = Vec::new();
        write_field(&mut out, codec::read_val(&mut &bytes[..]).unwrap());
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }

    #[test]
    fn scalars_have_one_text_form() {
        check(&Value::Nil, "");
        check(&Value::Bool(true), "true");
        check(&Value::Bool(false), "false");
        check(&Value::Int(i64::MIN), "-9223372036854775808");
        check(&Value::Int(9_007_199_254_740_993), "9007199254740993");
        check(&Value::Str(b"a\tb\"c".to_vec()), "a\tb\"c");
    }

    #[test]
    fn floats_are_shortest_and_show_that_they_are_floats() {
        for (float, expected) in [
            (4.0, "4.0"),
            (-0.0, "-0.0"),
            (0.1, "0.1"),
            (0.1 + 0.2, "0.30000000000000004"),
            (1.5e300, "1.5e+300"),
            (1e-7, "1e-7"),
            (5e-324, "5e-324"),
            (123_456_789_012.0, "123456789012.0"),
            (f64::NAN, "nan"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            check(&Value::Float(float), expected);
        }
    }

    #[test]
    fn every_finite_float_survives_its_text() {
        let mut bits = 1u64;
        for _ in 0..20_000 {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let float = f64::from_bits(bits);
            if float.is_finite() {
                let mut out = Vec::new();
                write_field(&mut out, Val::Float(float));
                let text = String::from_utf8(out).unwrap();
                assert_eq!(text.parse::<f64>().unwrap().to_bits(), bits, "{text}");
                assert!(text.contains(['.', 'e']), "{text} looks like an integer");
            }
        }
    }

    #[test]
    fn lists_and_maps_are_json() {
        let list = |items: &[Value]| Value::List(items.to_vec());
        let text = |s: &str| Value::Str(s.into());
        check(&list(&[]), "[]");
        check(
            &list(&[Value::Nil, Value::Int(1), Value::Float(4.0), text("a\tb\n\"\\\u{1}é")]),
            r#"[null,1,4.0,"a\tb\n\"\\\u0001é"]"#,
        );
        check(&Value::Map(vec![(text("a"), list(&[list(&[])])), (text("b"), Value::Int(1))]), r#"{"a":[[]],"b":1}"#);
        check(&Value::Map(vec![(Value::Int(2), text("x")), (list(&[text("k")]), Value::Nil)]), r#"{"2":"x","[\"k\"]":null}"#);
        check(&list(&[Value::Float(f64::NAN)]), "[nan]");
    }

    #[test]
    fn rows_are_joined_and_split_at_tabs() {
        let mut out = Vec::new();
        write_row(&mut out, &[Val::Str(b"a"), Val::Nil, Val::Int(3)]);
        assert_eq!(out, b"a\t\t3");
        let mut rows = Vec::new();
        let rest = split_lines(b"a\t\t3\n\nb\r\nrest\tof", &mut RowScratch::default(), |row| {
            rows.push(format!("{row:?}"));
            Ok(())
        });
        assert_eq!(rest.unwrap(), b"rest\tof");
        assert_eq!(
            rows,
            [
                format!("{:?}", [Val::Str(b"a"), Val::Str(b""), Val::Str(b"3")]),
                format!("{:?}", [Val::Str(b"")]),
                format!("{:?}", [Val::Str(b"b\r")])
            ]
        );
    }

    fn refused(value: &Value) -> JsonError {
        let bytes = encoded(value);
        write_json(&mut Vec::new(), codec::read_val(&mut &bytes[..]).unwrap()).unwrap_err()
    }

    #[test]
    fn what_json_cannot_hold_is_refused() {
        assert_eq!(refused(&Value::List(vec![Value::Str(vec![b'a', 0xff])])), JsonError::NotUtf8);
        assert_eq!(refused(&Value::Float(f64::INFINITY)), JsonError::NotFinite("inf"));
        let pairs = vec![(Value::Int(1), Value::Nil), (Value::Str(b"1".to_vec()), Value::Nil)];
        assert_eq!(refused(&Value::Map(pairs)), JsonError::KeyTwice);
        assert_eq!(write_json(&mut Vec::new(), Val::List(&[0x92, 0xc0])), Err(JsonError::Damaged));
    }

    #[test]
    fn json_text_is_what_a_json_reader_reads() {
        let text: Vec<u8> = (0..0x80u8).chain("äß漢\u{1f600}\u{2028}".bytes()).collect();
        let mut out = Vec::new();
        write_json(&mut out, Val::Str(&text)).unwrap();
        let back: String = serde_json::from_slice(&out).unwrap();
        assert_eq!(back.as_bytes(), text);
    }

    #[test]
    fn plain_floats_are_what_the_parser_makes_of_them() {
        let texts =
            ["0", "-0", "-0.0", "5.", ".5", "-.5", "17.10", "0.1", "123456789012345", "-999999999.999999", "0.00000000000001"];
        for text in texts {
            assert_eq!(plain_float(text.as_bytes()).map(f64::to_bits), text.parse().ok().map(f64::to_bits), "{text}");
        }
        for text in
            ["", "-", ".", "-.", "+1", "1e5", "1.2.3", "--1", "1,5", "inf", "nan", "1234567890123456", "0.000000000000001"]
        {
            assert_eq!(plain_float(text.as_bytes()), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_few_digits_are_a_plain_float(text in "-?[0-9]{0,9}\\.?[0-9]{0,6}") {
            if let Some(float) = plain_float(text.as_bytes()) {
                proptest::prop_assert_eq!(Some(float.to_bits()), text.parse().ok().map(f64::to_bits));
            } else {
                proptest::prop_assert!(text.parse::<f64>().is_err());
            }
        }
    }
}
