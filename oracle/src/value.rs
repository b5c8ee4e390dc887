//! Values and their total order, as `semantics.md` words them and nothing else.

use std::cmp::Ordering;

/// A row of a collection.
pub type Row = Vec<Value>;

/// A value. Equality is representation equality: 4 is not 4.0 (but `order` calls them equal).
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(Vec<u8>),
    List(Vec<Value>),
    /// Sorted by key.
    Map(Vec<(Value, Value)>),
}

impl Value {
    /// A string value.
    #[must_use]
    pub fn text(text: &str) -> Value {
        Value::Str(text.as_bytes().to_vec())
    }

    /// The item that a row's values make in a list: the value itself where there is one, else a list.
    #[must_use]
    pub fn item(values: &[Value]) -> Value {
        match values {
            [one] => one.clone(),
            many => Value::List(many.to_vec()),
        }
    }

    /// A map with sorted keys.
    #[must_use]
    pub fn map(mut pairs: Vec<(Value, Value)>) -> Value {
        pairs.sort_by(|a, b| order(&a.0, &b.0));
        Value::Map(pairs)
    }
}

/// The language's total order: nil < false < true < numbers < strings < lists < maps.
#[must_use]
pub fn order(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => a.cmp(b),
        (Value::Float(a), Value::Float(b)) => order_floats(*a, *b),
        (Value::Int(a), Value::Float(b)) => order_mixed(*a, *b),
        (Value::Float(a), Value::Int(b)) => order_mixed(*b, *a).reverse(),
        (Value::Str(a), Value::Str(b)) => a.cmp(b),
        (Value::List(a), Value::List(b)) => order_rows(a, b),
        (Value::Map(a), Value::Map(b)) => order_rows(&flat(a), &flat(b)),
        (a, b) => rank(a).cmp(&rank(b)),
    }
}

/// Rows, like lists: field by field, a shorter one before its extension.
#[must_use]
pub fn order_rows(a: &[Value], b: &[Value]) -> Ordering {
    let different = a.iter().zip(b).map(|(a, b)| order(a, b)).find(|found| found.is_ne());
    different.unwrap_or_else(|| a.len().cmp(&b.len()))
}

/// The order with its last tie broken: an integer before an equal float, -0.0 before 0.0.
#[must_use]
pub fn order_exactly(a: &[Value], b: &[Value]) -> Ordering {
    order_rows(a, b).then_with(|| {
        let different = a.iter().zip(b).map(|(a, b)| order_representation(a, b)).find(|found| found.is_ne());
        different.unwrap_or(Ordering::Equal)
    })
}

/// Of two equal values, the one that shows first.
fn order_representation(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Int(_), Value::Float(_)) => Ordering::Less,
        (Value::Float(_), Value::Int(_)) => Ordering::Greater,
        (Value::Float(a), Value::Float(b)) => b.is_sign_negative().cmp(&a.is_sign_negative()),
        (Value::List(a), Value::List(b)) => order_exactly(a, b),
        (Value::Map(a), Value::Map(b)) => order_exactly(&flat(a), &flat(b)),
        _ => Ordering::Equal,
    }
}

/// NaN is one value, after all numbers.
fn order_floats(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

/// By value and exactly: an `i128` holds every integer and the whole part of every float near them.
fn order_mixed(a: i64, b: f64) -> Ordering {
    if b.is_nan() || b >= 1e19 {
        return Ordering::Less;
    }
    if b <= -1e19 {
        return Ordering::Greater;
    }
    let whole = b.floor();
    #[allow(clippy::cast_possible_truncation, reason = "checked above: within ±1e19")]
    let by_whole = i128::from(a).cmp(&(whole as i128));
    by_whole.then_with(|| if b > whole { Ordering::Less } else { Ordering::Equal })
}

fn flat(pairs: &[(Value, Value)]) -> Vec<Value> {
    pairs.iter().flat_map(|(key, value)| [key.clone(), value.clone()]).collect()
}

fn rank(value: &Value) -> u8 {
    match value {
        Value::Nil => 0,
        Value::Bool(false) => 1,
        Value::Bool(true) => 2,
        Value::Int(_) | Value::Float(_) => 3,
        Value::Str(_) => 4,
        Value::List(_) => 5,
        Value::Map(_) => 6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_all_kinds_stand_in_the_order_of_the_contract() {
        let ascending = [
            Value::Nil,
            Value::Bool(false),
            Value::Bool(true),
            Value::Float(f64::NEG_INFINITY),
            Value::Int(i64::MIN),
            Value::Float(-1.5),
            Value::Int(-1),
            Value::Int(0),
            Value::Float(0.5),
            Value::Int(1 << 53),
            Value::Int((1 << 53) + 1),
            Value::Int(i64::MAX),
            Value::Float(9_223_372_036_854_775_808.0),
            Value::Float(f64::INFINITY),
            Value::Float(f64::NAN),
            Value::text(""),
            Value::text("a"),
            Value::text("ab"),
            Value::text("b"),
            Value::List(vec![]),
            Value::List(vec![Value::Int(1)]),
            Value::List(vec![Value::Int(1), Value::Nil]),
            Value::List(vec![Value::Int(2)]),
            Value::map(vec![]),
            Value::map(vec![(Value::text("a"), Value::Int(1))]),
        ];
        for (i, a) in ascending.iter().enumerate() {
            for (j, b) in ascending.iter().enumerate() {
                assert_eq!(order(a, b), i.cmp(&j), "{a:?} and {b:?}");
            }
        }
    }

    #[test]
    fn equal_numbers_are_equal_and_only_the_last_tie_tells_them_apart() {
        let (int, float) = (Value::Int(4), Value::Float(4.0));
        assert_eq!(order(&int, &float), Ordering::Equal);
        assert_eq!(order_exactly(&[int], &[float]), Ordering::Less);
        assert_eq!(order(&Value::Float(-0.0), &Value::Float(0.0)), Ordering::Equal);
        assert_eq!(order_exactly(&[Value::Float(-0.0)], &[Value::Float(0.0)]), Ordering::Less);
        assert_eq!(order(&Value::Float(f64::NAN), &Value::Float(-f64::NAN)), Ordering::Equal);
    }

    #[test]
    fn a_row_with_a_nil_more_is_another_row() {
        assert_eq!(order_rows(&[Value::Int(1)], &[Value::Int(1), Value::Nil]), Ordering::Less);
    }
}
