//! Numbers of bytes as people write and read them.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// A number of bytes, written as Kubernetes writes quantities: `512Mi`, `1.5G`, `1000000`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ByteSize(pub(crate) u64);

/// A text that is no size.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum SizeError {
    #[error("a size is a number with Ki, Mi, Gi, Ti (or k, M, G, T) behind it, such as 512Mi")]
    Malformed,
    #[error("more bytes than can be counted")]
    TooLarge,
}

const UNITS: [(&str, u64); 9] = [
    ("", 1),
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
    ("k", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
];

impl FromStr for ByteSize {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<ByteSize, SizeError> {
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let &(_, factor) = UNITS.iter().find(|(name, _)| *name == unit).ok_or(SizeError::Malformed)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        let whole = digits(whole)?.checked_mul(factor).ok_or(SizeError::TooLarge)?;
        whole.checked_add(part(fraction, factor)?).map(ByteSize).ok_or(SizeError::TooLarge)
    }
}

fn digits(text: &str) -> Result<u64, SizeError> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(SizeError::Malformed);
    }
    text.parse().map_err(|_| SizeError::TooLarge)
}

/// `0.fraction` of `factor`, rounded down; digits past the 15th are below one byte of any unit.
fn part(fraction: &str, factor: u64) -> Result<u64, SizeError> {
    digits(fraction).or_else(|error| if error == SizeError::TooLarge { Ok(0) } else { Err(error) })?;
    let fraction = &fraction[..fraction.len().min(15)];
    let scale = 10u128.pow(u32::try_from(fraction.len()).map_err(|_| SizeError::TooLarge)?);
    let share = u128::from(digits(fraction)?) * u128::from(factor) / scale;
    u64::try_from(share).map_err(|_| SizeError::TooLarge)
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, factor) = match self.0 {
            0..1_024 => return write!(f, "{} B", self.0),
            1_024..1_048_576 => ("KiB", 1u64 << 10),
            1_048_576..1_073_741_824 => ("MiB", 1 << 20),
            1_073_741_824..1_099_511_627_776 => ("GiB", 1 << 30),
            1_099_511_627_776.. => ("TiB", 1 << 40),
        };
        // Precise enough for one decimal.
        #[allow(clippy::cast_precision_loss, reason = "shown with one decimal")]
        let shown = self.0 as f64 / factor as f64;
        write!(f, "{shown:.1} {unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, bytes: u64) {
        assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
    }

    #[test]
    fn sizes_are_kubernetes_quantities() {
        check("0", 0);
        check("1000000", 1_000_000);
        check("512Mi", 512 << 20);
        check("64M", 64_000_000);
        check("1.5Gi", 3 << 29);
        check("0.25k", 250);
        check("2Ti", 2 << 40);
        check("1.0000000000000000000000001k", 1000);
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in ["", "Mi", "12MB", "1.Gi", ".5Gi", "1.2.3", "-1", "+1", "1 Mi", "1e3", "1.x", "١Mi"] {
            assert_eq!(text.parse::<ByteSize>(), Err(SizeError::Malformed), "{text}");
        }
        assert_eq!("99999999999999999999".parse::<ByteSize>(), Err(SizeError::TooLarge));
        assert_eq!("17000000Ti".parse::<ByteSize>(), Err(SizeError::TooLarge));
    }

    #[test]
    fn sizes_are_shown_for_people() {
        let shown = [0, 1023, 1024, 1_572_864, 5 << 30, 3 << 40].map(|bytes| ByteSize(bytes).to_string());
        assert_eq!(shown, ["0 B", "1023 B", "1.0 KiB", "1.5 MiB", "5.0 GiB", "3.0 TiB"]);
    }
}
