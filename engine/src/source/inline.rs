//! Rows that are in the flow file itself, and ranges of numbers.

use std::ops::Range;

use serde_json::Value as Json;

use super::reading::Reading;
use super::{Part, Wanted};
use crate::{Result, RowBuf, RowScratch, Val, Value, codec};

/// Rows or numbers that are worth a split of their own.
const WORTHWHILE: u64 = 64 << 10;
/// Splits for each thread, so that no thread waits long for the last one.
const PER_THREAD: u64 = 4;
/// How often a range asks whether it goes on.
const STRIDE: u64 = 4096;

pub(super) fn parts(rows: usize, wanted: Wanted) -> Vec<Part> {
    let ranges = divide(rows as u64, wanted);
    ranges.map(|range| Part::Rows(range.start as usize..range.end as usize)).collect()
}

pub(super) fn number_parts(from: i64, to: i64, step: i64, wanted: Wanted) -> Vec<Part> {
    let part = |range: Range<u64>| {
        // The first number of an empty part may lie beyond 64 bits; it is never used.
        let first = i128::from(from) + i128::from(range.start) * i128::from(step);
        Part::Numbers { first: i64::try_from(first).unwrap_or(to), count: range.end - range.start }
    };
    divide(numbers(from, to, step), wanted).map(part).collect()
}

/// How many numbers a range has; none if its end is not ahead.
pub(super) fn numbers(from: i64, to: i64, step: i64) -> u64 {
    let distance = i128::from(to) - i128::from(from);
    if step == 0 || (distance > 0) != (step > 0) {
        return 0;
    }
    let step = i128::from(step).unsigned_abs();
    u64::try_from(distance.unsigned_abs().div_ceil(step)).expect("two numbers of 64 bits are less than 2^64 apart")
}

fn divide(count: u64, wanted: Wanted) -> impl Iterator<Item = Range<u64>> {
    let worth = count.div_ceil(WORTHWHILE).clamp(1, wanted.threads.max(1) as u64 * PER_THREAD);
    let parts = wanted.partitions.map_or(worth, u64::from);
    let bound = move |part: u64| (u128::from(count) * u128::from(part) / u128::from(parts)) as u64;
    (0..parts).map(move |part| bound(part)..bound(part + 1))
}

/// A rough size of inline rows as text.
pub(super) fn size(rows: &[Vec<Json>]) -> u64 {
    rows.iter().flatten().map(|value| value.to_string().len() as u64 + 1).sum()
}

pub(super) fn count(first: i64, step: i64, count: u64, reading: &mut Reading<'_, '_>) -> Result<()> {
    let mut number = first;
    for at in 0..count {
        if at % STRIDE == 0 && !reading.goes_on()? {
            break;
        }
        reading.target.out.push(&[Val::Int(number)])?;
        // Behind the last number there may be none.
        number = number.wrapping_add(step);
    }
    Ok(())
}

pub(super) fn read(rows: &[Vec<Json>], reading: &mut Reading<'_, '_>) -> Result<()> {
    let (mut row, mut scratch, mut encoded) = (RowBuf::default(), RowScratch::default(), Vec::new());
    for (at, values) in rows.iter().enumerate() {
        if (at as u64).is_multiple_of(STRIDE) && !reading.goes_on()? {
            break;
        }
        row.clear();
        for json in values {
            push(&mut row, &value(json), &mut encoded);
        }
        row.with(&mut scratch, |row| reading.target.out.push(row))?;
    }
    Ok(())
}

fn push(row: &mut RowBuf, value: &Value, encoded: &mut Vec<u8>) {
    match value {
        Value::Nil => row.push(Val::Nil),
        Value::Bool(b) => row.push(Val::Bool(*b)),
        Value::Int(i) => row.push(Val::Int(*i)),
        Value::Float(f) => row.push(Val::Float(*f)),
        Value::Str(s) => row.push(Val::Str(s)),
        Value::List(_) | Value::Map(_) => {
            encoded.clear();
            codec::write_value(encoded, value);
            row.push(if matches!(value, Value::List(_)) { Val::List(encoded) } else { Val::Map(encoded) });
        }
    }
}

fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::Nil,
        Json::Bool(b) => Value::Bool(*b),
        Json::Number(number) => match number.as_i64() {
            Some(integer) => Value::Int(integer),
            None => float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::Str(text.clone().into_bytes()),
        Json::Array(items) => Value::List(items.iter().map(value).collect()),
        Json::Object(members) => {
            Value::Map(members.iter().map(|(name, member)| (Value::Str(name.clone().into_bytes()), value(member))).collect())
        }
    }
}

/// What the API server keeps of a number: 4.0 is 4.
fn float(number: f64) -> Value {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() <= EXACT { Value::Int(number as i64) } else { Value::Float(number) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_excludes_its_end_and_may_count_down() {
        let check = |from, to, step, expected| assert_eq!(numbers(from, to, step), expected, "{from} {to} {step}");
        check(0, 10, 1, 10);
        check(0, 10, 3, 4);
        check(10, 0, -3, 4);
        check(0, 10, -1, 0);
        check(10, 0, 1, 0);
        check(5, 5, 1, 0);
        check(0, 10, 0, 0);
        check(i64::MIN, i64::MAX, 1, u64::MAX);
        check(i64::MAX, i64::MIN, i64::MIN, 2);
    }

    #[test]
    fn an_inline_float_with_an_integral_value_is_an_integer() {
        let json: Json = serde_json::from_str("[4.0, 4.5, -0.0, 1e300, 9223372036854775807, null, true, \"x\"]").unwrap();
        let expected = [
            Value::Int(4),
            Value::Float(4.5),
            Value::Int(0),
            Value::Float(1e300),
            Value::Int(i64::MAX),
            Value::Nil,
            Value::Bool(true),
            Value::Str(b"x".to_vec()),
        ];
        assert_eq!(value(&json), Value::List(expected.to_vec()));
    }
}
