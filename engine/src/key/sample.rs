//! Random values and rows of all kinds, rich in corners, for property tests.

use proptest::prelude::*;

use crate::{Value, codec};

/// Any value, small.
pub(crate) fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Nil),
        any::<bool>().prop_map(Value::Bool),
        integer().prop_map(Value::Int),
        float().prop_map(Value::Float),
        prop::collection::vec(prop_oneof![0_u8..4, Just(b'a'), Just(255)], 0..4).prop_map(Value::Str),
        "[a-c]{0,20}".prop_map(|text| Value::Str(text.into_bytes())),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::List),
            (inner.clone(), inner).prop_map(|(key, value)| Value::Map(vec![(key, value)])),
        ]
    })
}

/// A row of up to three values.
pub(crate) fn row() -> impl Strategy<Value = Vec<Value>> {
    prop::collection::vec(value(), 0..4)
}

fn integer() -> impl Strategy<Value = i64> {
    let near = prop::sample::select(vec![0, 1 << 53, -(1 << 53), i64::MAX - 3, i64::MIN + 3, 1 << 62]);
    prop_oneof![-3_i64..4, any::<i64>(), (near, -3_i64..4).prop_map(|(near, offset)| near + offset)]
}

fn float() -> impl Strategy<Value = f64> {
    let corners = vec![0.0, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.5, f64::MAX, f64::MIN_POSITIVE, 5e-324];
    prop_oneof![integer().prop_map(|i| i as f64), prop::sample::select(corners), (-100.0..100.0)]
}

/// A value's bytes as `codec` writes them.
pub(crate) fn borrowed(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    codec::write_value(&mut bytes, value);
    bytes
}
