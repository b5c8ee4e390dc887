//! Dates, times and timestamps as ISO 8601 text, decimals as exact text.

use std::io::Write;

use ::arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray};
use ::arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Date64Type, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type,
    Time32MillisecondType, Time32SecondType, Time64MicrosecondType, Time64NanosecondType, TimeUnit, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
};

use super::column::{ColumnProblem, Kind, Made};

const DAY: i64 = 86_400;

/// The texts of a column of such a type.
pub(super) fn column(array: &ArrayRef) -> Result<Made, ColumnProblem> {
    let unsupported = || ColumnProblem::Type(array.data_type().clone());
    Ok(match array.data_type() {
        DataType::Date32 => texts(array.as_primitive::<Date32Type>(), |days, out| date(i64::from(days), out)),
        DataType::Date64 => texts(array.as_primitive::<Date64Type>(), |milliseconds, out| {
            date(milliseconds.div_euclid(1000 * DAY), out);
        }),
        DataType::Timestamp(unit, zone) => {
            let instant = zone.is_some();
            match unit {
                TimeUnit::Second => timestamps::<TimestampSecondType>(array, 1, instant),
                TimeUnit::Millisecond => timestamps::<TimestampMillisecondType>(array, 1_000, instant),
                TimeUnit::Microsecond => timestamps::<TimestampMicrosecondType>(array, 1_000_000, instant),
                TimeUnit::Nanosecond => timestamps::<TimestampNanosecondType>(array, 1_000_000_000, instant),
            }
        }
        DataType::Time32(TimeUnit::Second) => {
            texts(array.as_primitive::<Time32SecondType>(), |t, out| time(i64::from(t), 1, out))
        }
        DataType::Time32(TimeUnit::Millisecond) => {
            texts(array.as_primitive::<Time32MillisecondType>(), |t, out| time(i64::from(t), 1_000, out))
        }
        DataType::Time64(TimeUnit::Microsecond) => {
            texts(array.as_primitive::<Time64MicrosecondType>(), |t, out| time(t, 1_000_000, out))
        }
        DataType::Time64(TimeUnit::Nanosecond) => {
            texts(array.as_primitive::<Time64NanosecondType>(), |t, out| time(t, 1_000_000_000, out))
        }
        DataType::Decimal32(_, scale) => {
            texts(array.as_primitive::<Decimal32Type>(), |n, out| decimal(itoa::Buffer::new().format(n), *scale, out))
        }
        DataType::Decimal64(_, scale) => {
            texts(array.as_primitive::<Decimal64Type>(), |n, out| decimal(itoa::Buffer::new().format(n), *scale, out))
        }
        DataType::Decimal128(_, scale) => {
            texts(array.as_primitive::<Decimal128Type>(), |n, out| decimal(itoa::Buffer::new().format(n), *scale, out))
        }
        DataType::Decimal256(_, scale) => {
            texts(array.as_primitive::<Decimal256Type>(), |n, out| decimal(&n.to_string(), *scale, out))
        }
        _ => return Err(unsupported()),
    })
}

fn texts<T: ArrowPrimitiveType>(array: &PrimitiveArray<T>, write: impl Fn(T::Native, &mut Vec<u8>)) -> Made {
    let mut made =
        Made { kind: Kind::Text, bytes: Vec::new(), ends: Vec::with_capacity(array.len()), nulls: array.nulls().cloned() };
    for row in 0..array.len() {
        if !array.is_null(row) {
            write(array.value(row), &mut made.bytes);
        }
        made.ends.push(made.bytes.len());
    }
    made
}

/// `instant`: a point in time, told in UTC; else a date and time of no particular zone.
fn timestamps<T: ArrowPrimitiveType<Native = i64>>(array: &ArrayRef, per_second: i64, instant: bool) -> Made {
    texts(array.as_primitive::<T>(), |ticks, out| {
        let per_day = DAY * per_second;
        date(ticks.div_euclid(per_day), out);
        out.push(b'T');
        time(ticks.rem_euclid(per_day), per_second, out);
        if instant {
            out.push(b'Z');
        }
    })
}

/// Days since 1970-01-01 as `YYYY-MM-DD`, by the calendar that ISO 8601 asks for.
fn date(days: i64, out: &mut Vec<u8>) {
    // Years begin in March here, so that the leap day is the last of its year; an era has 400 of them.
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    match year {
        0..=9999 => {
            two_digits(year / 100, out);
            two_digits(year % 100, out);
            out.push(b'-');
            two_digits(month, out);
            out.push(b'-');
            two_digits(day, out);
        }
        _ => put(out, format_args!("{year:+05}-{month:02}-{day:02}")),
    }
}

/// `HH:MM:SS`, and of the fraction 3, 6 or 9 digits, as many as it needs.
fn time(ticks: i64, per_second: i64, out: &mut Vec<u8>) {
    let (seconds, nanoseconds) = (ticks / per_second, ticks % per_second * (1_000_000_000 / per_second));
    two_digits(seconds / 3600, out);
    out.push(b':');
    two_digits(seconds / 60 % 60, out);
    out.push(b':');
    two_digits(seconds % 60, out);
    match nanoseconds {
        0 => {}
        n if n % 1_000_000 == 0 => put(out, format_args!(".{:03}", n / 1_000_000)),
        n if n % 1000 == 0 => put(out, format_args!(".{:06}", n / 1000)),
        n => put(out, format_args!(".{n:09}")),
    }
}

/// At least two digits. By hand where there are two: formatting machinery costs more than reading the rest of the row.
fn two_digits(number: i64, out: &mut Vec<u8>) {
    match number {
        0..=99 => out.extend_from_slice(&[b'0' + (number / 10) as u8, b'0' + (number % 10) as u8]),
        _ => put(out, format_args!("{number:02}")),
    }
}

/// Puts the point into the digits of an integer.
fn decimal(digits: &str, scale: i8, out: &mut Vec<u8>) {
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |digits| ("-", digits));
    out.extend_from_slice(sign.as_bytes());
    let (digits, zeros) = (digits.as_bytes(), |count: usize, out: &mut Vec<u8>| out.resize(out.len() + count, b'0'));
    match (usize::try_from(scale), digits) {
        (Err(_), b"0") | (Ok(0), _) => out.extend_from_slice(digits),
        (Err(_), _) => {
            out.extend_from_slice(digits);
            zeros(usize::from(scale.unsigned_abs()), out);
        }
        (Ok(scale), _) => {
            // At least one digit before the point.
            let whole = digits.len().saturating_sub(scale);
            out.extend_from_slice(if whole == 0 { b"0" } else { &digits[..whole] });
            out.push(b'.');
            zeros(scale.saturating_sub(digits.len()), out);
            out.extend_from_slice(&digits[whole..]);
        }
    }
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a vector takes whatever is written");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(write: impl Fn(&mut Vec<u8>), expected: &str) {
        let mut out = Vec::new();
        write(&mut out);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn dates_follow_the_calendar() {
        check(|out| date(0, out), "1970-01-01");
        check(|out| date(-1, out), "1969-12-31");
        check(|out| date(11_016, out), "2000-02-29");
        check(|out| date(20_514, out), "2026-03-02");
        check(|out| date(2_932_896, out), "9999-12-31");
        check(|out| date(-716_900, out), "0007-03-13");
        check(|out| date(-719_528, out), "0000-01-01");
        check(|out| date(-719_529, out), "-0001-12-31");
        check(|out| date(2_932_897, out), "+10000-01-01");
    }

    #[test]
    fn a_fraction_has_as_many_digits_as_it_needs() {
        check(|out| time(45_296, 1, out), "12:34:56");
        check(|out| time(45_296_500, 1000, out), "12:34:56.500");
        check(|out| time(1_001, 1_000_000, out), "00:00:00.001001");
        check(|out| time(1, 1_000_000_000, out), "00:00:00.000000001");
        check(|out| time(86_399_999_999, 1_000_000, out), "23:59:59.999999");
        check(|out| time(450_000, 1, out), "125:00:00");
    }

    #[test]
    fn decimals_are_exact() {
        check(|out| decimal("-12345", 2, out), "-123.45");
        check(|out| decimal("5", 3, out), "0.005");
        check(|out| decimal("-5", 1, out), "-0.5");
        check(|out| decimal("12", 0, out), "12");
        check(|out| decimal("-12", 2, out), "-0.12");
        check(|out| decimal("0", 4, out), "0.0000");
        check(|out| decimal("12", -3, out), "12000");
        check(|out| decimal("0", -3, out), "0");
    }
}
