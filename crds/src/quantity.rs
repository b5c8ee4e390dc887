//! Amounts as Kubernetes writes them: `256Mi`, `1.5G`, `1000000`.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use crate::schema::int_or_string;

/// An amount such as `256Mi`, `2G` or `500m`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Quantity {
    Number(i64),
    Text(String),
}

/// Text that is not an amount of bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an amount of memory such as 256Mi, 2Gi or 1000000")]
pub struct NotBytes(pub String);

/// Suffixes and the bytes that they stand for.
const UNITS: [(&str, u64); 11] = [
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
    ("Pi", 1 << 50),
    ("k", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("P", 1_000_000_000_000_000),
    ("", 1),
];

impl Quantity {
    /// The amount in bytes, a fraction of a byte rounded up.
    ///
    /// # Errors
    /// [`NotBytes`] where it is negative, too large or no amount.
    pub fn bytes(&self) -> Result<u64, NotBytes> {
        match self {
            Self::Number(number) => u64::try_from(*number).map_err(|_| NotBytes(number.to_string())),
            Self::Text(text) => bytes_of(text).ok_or_else(|| NotBytes(text.clone())),
        }
    }

    /// Whether Kubernetes takes it for an amount of whatever kind, of which there cannot be less than none.
    #[must_use]
    pub fn is_amount(&self) -> bool {
        match self {
            Self::Number(number) => *number >= 0,
            Self::Text(text) => {
                let text = text.strip_prefix('+').unwrap_or(text);
                let end = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
                let (number, suffix) = text.split_at(end);
                let digits = number.bytes().filter(u8::is_ascii_digit).count();
                digits > 0 && number.len() <= digits + 1 && is_suffix(suffix)
            }
        }
    }
}

/// Decimal or binary, or an exponent.
fn is_suffix(suffix: &str) -> bool {
    const SUFFIXES: [&str; 16] = ["", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    let exponent = suffix.strip_prefix(['e', 'E']).map(|digits| digits.strip_prefix(['+', '-']).unwrap_or(digits));
    SUFFIXES.contains(&suffix)
        || exponent.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

fn bytes_of(text: &str) -> Option<u64> {
    let (number, unit) = UNITS.iter().find_map(|(suffix, unit)| Some((text.strip_suffix(suffix)?, *unit)))?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() && fraction.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > 18 {
        return None;
    }
    let value = |part: &str| if part.is_empty() { Some(0) } else { part.parse::<u128>().ok() };
    let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let scaled = value(whole)?.checked_mul(scale)?.checked_add(value(fraction)?)?;
    u64::try_from(scaled.checked_mul(u128::from(unit))?.div_ceil(scale)).ok()
}

impl JsonSchema for Quantity {
    fn schema_name() -> Cow<'static, str> {
        "Quantity".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        int_or_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> Option<u64> {
        Quantity::Text(text.into()).bytes().ok()
    }

    #[test]
    fn amounts_of_any_kind_are_told_from_words() {
        let is = |text: &str| Quantity::Text(text.into()).is_amount();
        for amount in ["2", "500m", "1.5Gi", ".5", "5.", "+1", "1e3", "1E-3", "2E", "0", "100n", "1Ei"] {
            assert!(is(amount), "{amount}");
        }
        for word in ["lots", "", "m", ".", "1.2.3", "-1", "1 Gi", "1gi", "1K", "1e", "1e+", "1GiB", "0x10"] {
            assert!(!is(word), "{word}");
        }
        assert!(Quantity::Number(1).is_amount() && !Quantity::Number(-1).is_amount());
    }

    #[test]
    fn amounts_are_read_as_kubernetes_reads_them() {
        assert_eq!(bytes("256Mi"), Some(256 << 20));
        assert_eq!(bytes("1.5Gi"), Some(3 << 29));
        assert_eq!(bytes("2G"), Some(2_000_000_000));
        assert_eq!(bytes("17"), Some(17));
        assert_eq!(bytes("0.1k"), Some(100));
        assert_eq!(Quantity::Number(5).bytes(), Ok(5));
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for text in ["", "Mi", "-1", "1 Gi", "lots", "1e3Q", ".", "99999999999999999999Pi"] {
            assert_eq!(bytes(text), None, "{text:?}");
        }
        assert_eq!(Quantity::Number(-1).bytes(), Err(NotBytes("-1".into())));
    }
}
