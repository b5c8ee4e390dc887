//! Lua's numbers: which values are numbers, and how they look as text.

use std::io::Write;

use crate::Val;
use crate::function::cells::MAX_EXACT;
use crate::text::plain_float;

/// Whether an integer is a Lua number and no `int64_t`.
#[inline]
pub(super) fn exact(i: i64) -> bool {
    i.unsigned_abs() <= MAX_EXACT as u64
}

/// The Lua number that a value is.
#[inline]
pub(super) fn number(value: Val<'_>) -> Option<f64> {
    match value {
        Val::Int(i) if exact(i) => Some(i as f64),
        Val::Float(f) => Some(f),
        _ => None,
    }
}

/// The integer that a value is, small enough for a position or a count.
pub(super) fn position(value: Val<'_>) -> Option<i64> {
    let n = number(value)?;
    (n.fract() == 0.0 && n.abs() < f64::from(i32::MAX)).then_some(n as i64)
}

/// Powers of integers that are exact, so that every way to compute them agrees.
pub(super) fn power(base: f64, exponent: f64) -> Option<f64> {
    let whole = base.fract() == 0.0 && base.abs() <= MAX_EXACT as f64 && base != 0.0;
    if !whole || exponent.fract() != 0.0 || !(0.0..=64.0).contains(&exponent) {
        return None;
    }
    let result = (base as i64).checked_pow(exponent as u32)?;
    exact(result).then_some(result as f64)
}

/// Writes a number as Lua does (`%.14g`). What is not finite, and -0.0, is left to Lua.
pub(super) fn write(n: f64, to: &mut impl Write) -> Option<()> {
    if n.fract() == 0.0 && n.abs() < 1e14 && (n != 0.0 || n.is_sign_positive()) {
        let mut digits = itoa::Buffer::new();
        return to.write_all(digits.format(n as i64).as_bytes()).ok();
    }
    if !n.is_finite() || n == 0.0 {
        return None;
    }
    let mut buffer = [0_u8; 32];
    let mut rest = buffer.as_mut_slice();
    write!(rest, "{n:.13e}").ok()?;
    let unused = rest.len();
    let written = buffer.len() - unused;
    let text = std::str::from_utf8(&buffer[..written]).ok()?;
    let (mantissa, exponent) = text.split_once('e')?;
    general(mantissa, exponent.parse().ok()?, to)
}

/// 14 digits, as `d.ddddddddddddd`, and their exponent to `%g`.
fn general(mantissa: &str, exponent: i32, to: &mut impl Write) -> Option<()> {
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    let mantissa = mantissa.trim_end_matches('0').trim_end_matches('.');
    let (first, others) = (&mantissa[..1], mantissa.get(2..).unwrap_or_default());
    match exponent {
        0..14 => {
            // So many of the other digits stand before the point, zeros where there are none.
            let (whole, fraction) = others.split_at(others.len().min(exponent as usize));
            let zeros = exponent as usize - whole.len();
            let point = if fraction.is_empty() { "" } else { "." };
            write!(to, "{sign}{first}{whole}{:0<zeros$}{point}{fraction}", "")
        }
        -4..0 => write!(to, "{sign}0.{:0<zeros$}{first}{others}", "", zeros = -exponent as usize - 1),
        _ => {
            let signed = if exponent < 0 { '-' } else { '+' };
            write!(to, "{sign}{mantissa}e{signed}{:02}", exponent.abs())
        }
    }
    .ok()
}

/// The number that a text is, for the plainest of texts.
pub(super) fn parse(text: &[u8]) -> Option<f64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let count = digits.iter().filter(|byte| byte.is_ascii_digit()).count();
    let dots = digits.iter().filter(|byte| **byte == b'.').count();
    let plain = count + dots == digits.len() && dots <= 1 && (1..=15).contains(&count);
    if !plain {
        return None;
    }
    if let Some(number) = plain_float(text) {
        return Some(number);
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}
