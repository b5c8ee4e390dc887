//! What a plain scalar is: to YAML 1.2, to YAML 1.1 as kubectl reads it, and whether both agree.

/// A plain scalar, read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Reading {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text,
    Doubtful(Doubt),
}

/// Why readers do not agree, or why the value cannot be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// `y`, `no`, `On`, ...: a boolean to YAML 1.1.
    Word(bool),
    /// `012`: octal to YAML 1.1.
    LeadingZero,
    /// `0o17`, `0b1`, `-0x1`, `1_000`, `1:30`: a number to some readers, text to others.
    Number,
    /// An integer beyond 64 bits.
    TooBig,
    /// `.inf`, `.nan`, `1e999`.
    NotFinite,
}

const TRUE_WORDS: [&str; 8] = ["y", "Y", "yes", "Yes", "YES", "on", "On", "ON"];
const FALSE_WORDS: [&str; 8] = ["n", "N", "no", "No", "NO", "off", "Off", "OFF"];

/// Reads the text of a plain scalar.
pub(super) fn read(text: &str) -> Reading {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Reading::Null,
        "true" | "True" | "TRUE" => return Reading::Bool(true),
        "false" | "False" | "FALSE" => return Reading::Bool(false),
        _ => {}
    }
    if TRUE_WORDS.contains(&text) {
        return Reading::Doubtful(Doubt::Word(true));
    }
    if FALSE_WORDS.contains(&text) {
        return Reading::Doubtful(Doubt::Word(false));
    }
    let (signed, body) = match text.strip_prefix(['+', '-']) {
        Some(body) => (true, body),
        None => (false, text),
    };
    if matches!(body, ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN") {
        return Reading::Doubtful(Doubt::NotFinite);
    }
    if body.starts_with(|first: char| first.is_ascii_digit() || first == '.') { number(text, body, signed) } else { Reading::Text }
}

fn number(text: &str, body: &str, signed: bool) -> Reading {
    let lower = body.to_ascii_lowercase();
    for (prefix, radix) in [("0x", 16), ("0o", 8), ("0b", 2)] {
        if let Some(digits) = lower.strip_prefix(prefix) {
            return prefixed(digits, radix, signed || !body.starts_with("0x"));
        }
    }
    if is_sexagesimal(body) {
        return Reading::Doubtful(Doubt::Number);
    }
    let bare = text.replace('_', "");
    if bare.len() != text.len() {
        return if matches!(decimal(&bare), Reading::Text) { Reading::Text } else { Reading::Doubtful(Doubt::Number) };
    }
    decimal(text)
}

/// `0x1F` is a number to all; signs, other bases and underscores divide them.
fn prefixed(digits: &str, radix: u32, divided: bool) -> Reading {
    let bare = digits.replace('_', "");
    if bare.is_empty() || !bare.chars().all(|digit| digit.is_digit(radix)) {
        return Reading::Text;
    }
    if divided || bare.len() != digits.len() {
        return Reading::Doubtful(Doubt::Number);
    }
    i64::from_str_radix(&bare, radix).map_or(Reading::Doubtful(Doubt::TooBig), Reading::Integer)
}

/// `1:30`, `12:30:45.5`: base 60 to YAML 1.1.
fn is_sexagesimal(body: &str) -> bool {
    let mut parts = body.split(':');
    let first = parts.next().unwrap_or_default();
    let rest: Vec<&str> = parts.collect();
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
    let Some((last, middle)) = rest.split_last() else { return false };
    let last = last.split_once('.').map_or(*last, |(whole, fraction)| if fraction.is_empty() || digits(fraction) { whole } else { "" });
    let minutes = |part: &str| digits(part) && part.len() <= 2 && part.parse::<u8>().is_ok_and(|value| value < 60);
    digits(first) && middle.iter().all(|part| minutes(part)) && minutes(last)
}

/// An integer or float in decimal digits, as both versions write them.
fn decimal(text: &str) -> Reading {
    let body = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match body.find(['e', 'E']) {
        Some(at) => (&body[..at], Some(&body[at + 1..])),
        None => (body, None),
    };
    let (whole, fraction) = mantissa.split_once('.').map_or((mantissa, None), |(whole, fraction)| (whole, Some(fraction)));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let exponent_fits = exponent.is_none_or(|exponent| {
        let body = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        !body.is_empty() && digits(body)
    });
    let empty = whole.is_empty() && fraction.is_none_or(str::is_empty);
    if empty || !digits(whole) || !fraction.is_none_or(digits) || !exponent_fits {
        return Reading::Text;
    }
    if whole.len() > 1 && whole.starts_with('0') {
        return Reading::Doubtful(Doubt::LeadingZero);
    }
    if fraction.is_none() && exponent.is_none() {
        return text.parse().map_or(Reading::Doubtful(Doubt::TooBig), Reading::Integer);
    }
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => kept(value),
        Ok(_) | Err(_) => Reading::Doubtful(Doubt::NotFinite),
    }
}

/// What the API server keeps of a float: its shortest digits, an integer where they have no fraction (`4.0` is 4).
fn kept(value: f64) -> Reading {
    value.to_string().parse().map_or(Reading::Float(value), Reading::Integer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_read_these_alike() {
        for (text, reading) in [
            ("", Reading::Null),
            ("~", Reading::Null),
            ("NULL", Reading::Null),
            ("True", Reading::Bool(true)),
            ("12", Reading::Integer(12)),
            ("+12", Reading::Integer(12)),
            ("-0", Reading::Integer(0)),
            ("0", Reading::Integer(0)),
            ("0x1f", Reading::Integer(31)),
            ("4.0", Reading::Integer(4)),
            ("-0.0", Reading::Integer(0)),
            ("1e3", Reading::Integer(1000)),
            ("1.5", Reading::Float(1.5)),
            (".5", Reading::Float(0.5)),
            ("5.", Reading::Integer(5)),
            ("1e20", Reading::Float(1e20)),
            ("1.2345678901234567e17", Reading::Integer(123_456_789_012_345_660)),
            ("9223372036854775807", Reading::Integer(i64::MAX)),
            ("-9223372036854775808", Reading::Integer(i64::MIN)),
            ("2024-01-01", Reading::Text),
            ("1.2.3", Reading::Text),
            ("yEs", Reading::Text),
            ("-", Reading::Text),
            (".", Reading::Text),
            ("_1", Reading::Text),
            ("1_a", Reading::Text),
            ("1:75", Reading::Text),
            ("12:", Reading::Text),
            ("0xfg", Reading::Text),
            ("e5", Reading::Text),
            ("1e", Reading::Text),
            ("infinity", Reading::Text),
        ] {
            assert_eq!(read(text), reading, "{text:?}");
        }
    }

    #[test]
    fn these_divide_readers() {
        for (text, doubt) in [
            ("y", Doubt::Word(true)),
            ("Off", Doubt::Word(false)),
            ("012", Doubt::LeadingZero),
            ("089", Doubt::LeadingZero),
            ("-01.5", Doubt::LeadingZero),
            ("0o17", Doubt::Number),
            ("0b11", Doubt::Number),
            ("-0x1f", Doubt::Number),
            ("0X1F", Doubt::Number),
            ("1_000", Doubt::Number),
            ("0x1_f", Doubt::Number),
            ("1:30", Doubt::Number),
            ("12:30:45", Doubt::Number),
            ("190:20:30.15", Doubt::Number),
            ("9223372036854775808", Doubt::TooBig),
            ("0xffffffffffffffff", Doubt::TooBig),
            (".inf", Doubt::NotFinite),
            ("-.INF", Doubt::NotFinite),
            (".NaN", Doubt::NotFinite),
            ("1e999", Doubt::NotFinite),
        ] {
            assert_eq!(read(text), Reading::Doubtful(doubt), "{text:?}");
        }
    }
}
