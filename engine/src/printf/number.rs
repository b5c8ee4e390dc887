//! Numbers as C's printf writes them. Digits come from std, which rounds exactly; the shape is made here, without an allocation.

use std::io::Write;
use std::ops::Range;

use super::{Kind, Verb, fill};

/// C's precision where none is given.
const PRECISION: usize = 6;

/// Appends an integer in decimal digits.
pub(super) fn decimal(out: &mut Vec<u8>, verb: &Verb, i: i64) {
    let start = out.len();
    let digits = sign(out, verb, i < 0);
    out.extend_from_slice(itoa::Buffer::new().format(i.unsigned_abs()).as_bytes());
    finish_integer(out, verb, start..digits, i == 0);
}

/// Appends an integer in hexadecimal digits; a negative one as its two's complement, like C.
pub(super) fn hex(out: &mut Vec<u8>, verb: &Verb, i: i64, upper: bool) {
    let start = out.len();
    if verb.alternate && i != 0 {
        out.extend_from_slice(if upper { b"0X" } else { b"0x" });
    }
    let digits = out.len();
    match upper {
        true => append(out, format_args!("{i:X}")),
        false => append(out, format_args!("{i:x}")),
    }
    finish_integer(out, verb, start..digits, i == 0);
}

/// The precision is the least number of digits (0: none at all for zero) and switches the flag `0` off.
fn finish_integer(out: &mut Vec<u8>, verb: &Verb, prefix: Range<usize>, zero: bool) {
    match verb.precision {
        Some(0) if zero => out.truncate(prefix.end),
        Some(precision) => fill_to(out, prefix.end..prefix.end, precision),
        None => fill_zeros(out, verb, prefix),
    }
}

/// Appends a float, `nan` and `inf` among them.
pub(super) fn float(out: &mut Vec<u8>, verb: &Verb, f: f64) {
    if let Some(name) = crate::text::not_finite(f) {
        sign(out, verb, f.is_sign_negative() && f.is_infinite());
        let upper = matches!(verb.kind, Kind::Exponent { upper: true } | Kind::General { upper: true });
        let name = name.trim_start_matches('-');
        out.extend(name.bytes().map(|byte| if upper { byte.to_ascii_uppercase() } else { byte }));
        return;
    }
    let start = out.len();
    let digits = sign(out, verb, f.is_sign_negative());
    shape(out, verb, &Digits::Float(f.abs()));
    fill_zeros(out, verb, start..digits);
}

/// Appends an integer under a verb for floats, with all its digits: it never passes through a float.
pub(super) fn integer(out: &mut Vec<u8>, verb: &Verb, i: i64) {
    let start = out.len();
    let digits = sign(out, verb, i < 0);
    shape(out, verb, &Digits::Int(i.unsigned_abs()));
    fill_zeros(out, verb, start..digits);
}

/// A number without its sign, as a source of correctly rounded digits.
enum Digits {
    Float(f64),
    Int(u64),
}

impl Digits {
    fn fixed(&self, out: &mut Vec<u8>, precision: usize) {
        match self {
            Digits::Float(f) => append(out, format_args!("{f:.precision$}")),
            Digits::Int(i) if precision == 0 => append(out, format_args!("{i}")),
            Digits::Int(i) => append(out, format_args!("{i}.{:0<precision$}", "")),
        }
    }

    /// As Rust writes it: `1.50e-7`.
    fn scientific(&self, out: &mut Vec<u8>, precision: usize) {
        match self {
            Digits::Float(f) => append(out, format_args!("{f:.precision$e}")),
            Digits::Int(i) => append(out, format_args!("{i:.precision$e}")),
        }
    }
}

fn shape(out: &mut Vec<u8>, verb: &Verb, digits: &Digits) {
    let precision = verb.precision.unwrap_or(PRECISION);
    match verb.kind {
        Kind::Exponent { upper } => {
            let exponent = mantissa(out, digits, precision, verb.alternate);
            write_exponent(out, exponent, upper);
        }
        Kind::General { upper } => general(out, digits, precision.max(1), verb.alternate, upper),
        Kind::Text | Kind::Quoted | Kind::Decimal | Kind::Hex { .. } | Kind::Fixed => {
            digits.fixed(out, precision);
            if verb.alternate && precision == 0 {
                out.push(b'.');
            }
        }
    }
}

/// `%g`: the exponent, after rounding to `precision` digits, decides between the two other forms.
fn general(out: &mut Vec<u8>, digits: &Digits, precision: usize, alternate: bool, upper: bool) {
    let start = out.len();
    let exponent = mantissa(out, digits, precision - 1, alternate);
    if exponent < -4 || exponent >= precision as i32 {
        trim_zeros(out, start, alternate);
        write_exponent(out, exponent, upper);
        return;
    }
    out.truncate(start);
    let decimals = (precision as i32 - 1 - exponent) as usize;
    digits.fixed(out, decimals);
    if alternate && decimals == 0 {
        out.push(b'.');
    }
    trim_zeros(out, start, alternate);
}

/// Appends the digits of the scientific form up to its `e`; gives back the exponent.
fn mantissa(out: &mut Vec<u8>, digits: &Digits, precision: usize, alternate: bool) -> i32 {
    let start = out.len();
    digits.scientific(out, precision);
    let e = start + memchr::memrchr(b'e', &out[start..]).unwrap_or(out.len() - start);
    let text = std::str::from_utf8(out.get(e + 1..).unwrap_or_default()).unwrap_or_default();
    let exponent = text.parse().unwrap_or(0);
    out.truncate(e);
    if alternate && precision == 0 {
        out.push(b'.');
    }
    exponent
}

/// At least two digits, like C.
fn write_exponent(out: &mut Vec<u8>, exponent: i32, upper: bool) {
    let (e, sign) = (if upper { 'E' } else { 'e' }, if exponent < 0 { '-' } else { '+' });
    append(out, format_args!("{e}{sign}{:02}", exponent.unsigned_abs()));
}

fn trim_zeros(out: &mut Vec<u8>, start: usize, alternate: bool) {
    if alternate || memchr::memchr(b'.', &out[start..]).is_none() {
        return;
    }
    while out.last() == Some(&b'0') {
        out.pop();
    }
    if out.last() == Some(&b'.') {
        out.pop();
    }
}

/// Appends a sign where there is one; gives back where the digits begin.
fn sign(out: &mut Vec<u8>, verb: &Verb, negative: bool) -> usize {
    match (negative, verb.plus, verb.space) {
        (true, _, _) => out.push(b'-'),
        (false, true, _) => out.push(b'+'),
        (false, false, true) => out.push(b' '),
        (false, false, false) => {}
    }
    out.len()
}

/// The flag `0`: zeros between the prefix (a sign or `0x`) and the digits, up to the width.
fn fill_zeros(out: &mut Vec<u8>, verb: &Verb, prefix: Range<usize>) {
    if verb.zero && !verb.left {
        fill_to(out, prefix, verb.width);
    }
}

/// Inserts zeros behind the prefix until the number is `width` long, prefix included.
fn fill_to(out: &mut Vec<u8>, prefix: Range<usize>, width: usize) {
    let len = out.len() - prefix.start;
    if len < width {
        fill(out, prefix.end, width - len, b'0');
    }
}

fn append(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing into a vector cannot fail.
    let written = out.write_fmt(text);
    debug_assert!(written.is_ok());
}
