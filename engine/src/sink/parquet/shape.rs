//! What a column's values have been so far, and the one type that holds them all.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields};

use crate::{Result, Val, codec};

/// What values of a column have been. Nil fits everywhere and is not seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Shape {
    #[default]
    Nothing,
    Bool,
    Number(Numbers),
    Text {
        utf8: bool,
    },
    List(Box<Shape>),
    Map(Box<(Shape, Shape)>),
    /// Lists and maps that have no common type.
    Json,
    /// Two kinds that have none either.
    Mixed(&'static str, &'static str),
}

/// What numbers have been.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Numbers {
    integers: bool,
    floats: bool,
    /// An integer that no float equals.
    exact: bool,
}

/// The type of a column.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Type {
    Bool,
    Int,
    Float,
    Utf8,
    Binary,
    List(Box<Type>),
    Map(Box<(Type, Type)>),
    /// JSON text.
    Json,
}

impl Shape {
    /// Takes one more value into account.
    pub(super) fn see(&mut self, value: Val<'_>) -> Result<()> {
        match (&mut *self, value) {
            (_, Val::Nil) | (Shape::Bool, Val::Bool(_)) | (Shape::Json, Val::List(_) | Val::Map(_)) | (Shape::Mixed(..), _) => {}
            (Shape::Number(numbers), Val::Int(i)) => numbers.see_integer(i),
            (Shape::Number(numbers), Val::Float(_)) => numbers.floats = true,
            (Shape::Text { utf8 }, Val::Str(s)) => *utf8 = *utf8 && std::str::from_utf8(s).is_ok(),
            (Shape::List(items), Val::List(encoded)) => {
                see_items(items, encoded)?;
                self.settle();
            }
            (Shape::Map(pair), Val::Map(encoded)) => {
                see_pairs(pair, encoded)?;
                self.settle();
            }
            (Shape::Nothing, value) => {
                *self = Shape::begun(value);
                return self.see(value);
            }
            (Shape::List(_), Val::Map(_)) | (Shape::Map(_), Val::List(_)) => *self = Shape::Json,
            (other, value) => *self = Shape::Mixed(other.kind(), plural(value)),
        }
        Ok(())
    }

    /// The shape of a value's kind before any value.
    fn begun(value: Val<'_>) -> Shape {
        match value {
            Val::Nil => Shape::Nothing,
            Val::Bool(_) => Shape::Bool,
            Val::Int(_) | Val::Float(_) => Shape::Number(Numbers::default()),
            Val::Str(_) => Shape::Text { utf8: true },
            Val::List(_) => Shape::List(Box::default()),
            Val::Map(_) => Shape::Map(Box::default()),
        }
    }

    /// Takes into account what the same column was in another task.
    pub(super) fn merge(&mut self, other: &Shape) {
        match (&mut *self, other) {
            (_, Shape::Nothing) | (Shape::Bool, Shape::Bool) | (Shape::Mixed(..), _) => {}
            (Shape::Json, Shape::Json | Shape::List(_) | Shape::Map(_)) => {}
            (Shape::Number(numbers), Shape::Number(others)) => numbers.merge(*others),
            (Shape::Text { utf8 }, Shape::Text { utf8: other }) => *utf8 = *utf8 && *other,
            (Shape::List(items), Shape::List(others)) => {
                items.merge(others);
                self.settle();
            }
            (Shape::Map(pair), Shape::Map(others)) => {
                pair.0.merge(&others.0);
                pair.1.merge(&others.1);
                self.settle();
            }
            (Shape::Nothing, other) => *self = other.clone(),
            (_, Shape::Mixed(a, b)) => *self = Shape::Mixed(a, b),
            (Shape::List(_), Shape::Map(_) | Shape::Json) | (Shape::Map(_), Shape::List(_) | Shape::Json) => *self = Shape::Json,
            (this, other) => *self = Shape::Mixed(this.kind(), other.kind()),
        }
    }

    /// A list or map of values without a common type is JSON text as a whole, and so is what it stands in.
    fn settle(&mut self) {
        let is_common = |shape: &Shape| !matches!(shape, Shape::Json | Shape::Mixed(..));
        let common = match self {
            Shape::List(items) => is_common(items),
            Shape::Map(pair) => is_common(&pair.0) && is_common(&pair.1),
            Shape::Nothing | Shape::Bool | Shape::Number(_) | Shape::Text { .. } | Shape::Json | Shape::Mixed(..) => true,
        };
        if !common {
            *self = Shape::Json;
        }
    }

    /// The type that holds all values exactly, or the two kinds that have none. Text for a column of nil alone.
    pub(super) fn resolve(&self) -> Result<Type, (&'static str, &'static str)> {
        Ok(match self {
            Shape::Nothing => Type::Utf8,
            Shape::Bool => Type::Bool,
            Shape::Number(Numbers { floats: false, .. }) => Type::Int,
            Shape::Number(Numbers { exact: true, .. }) => return Err(("integers that no float equals", "floats")),
            Shape::Number(_) => Type::Float,
            Shape::Text { utf8: true } => Type::Utf8,
            Shape::Text { utf8: false } => Type::Binary,
            Shape::List(items) => items.resolve().map_or(Type::Json, |items| Type::List(Box::new(items)).or_json()),
            Shape::Map(pair) => match (pair.0.resolve(), pair.1.resolve()) {
                (Ok(key), Ok(value)) => Type::Map(Box::new((key, value))).or_json(),
                _ => Type::Json,
            },
            Shape::Json => Type::Json,
            Shape::Mixed(a, b) => return Err((a, b)),
        })
    }

    /// What the values are, in the words of messages.
    fn kind(&self) -> &'static str {
        match self {
            Shape::Nothing => "nil",
            Shape::Bool => "bools",
            Shape::Number(Numbers { integers: true, .. }) => "integers",
            Shape::Number(_) => "floats",
            Shape::Text { .. } => "strings",
            Shape::List(_) => "lists",
            Shape::Map(_) => "maps",
            Shape::Json => "lists and maps",
            Shape::Mixed(a, _) => a,
        }
    }
}

fn see_items(items: &mut Shape, mut encoded: &[u8]) -> Result<()> {
    for _ in 0..codec::read_array_header(&mut encoded)? {
        items.see(codec::read_val(&mut encoded)?)?;
    }
    Ok(())
}

fn see_pairs(pair: &mut (Shape, Shape), mut encoded: &[u8]) -> Result<()> {
    for _ in 0..codec::read_map_header(&mut encoded)? {
        let key = codec::read_val(&mut encoded)?;
        if key == Val::Nil {
            // Keys of Parquet's maps are never null.
            pair.0 = Shape::Mixed("nil", "keys");
        }
        pair.0.see(key)?;
        pair.1.see(codec::read_val(&mut encoded)?)?;
    }
    Ok(())
}

impl Numbers {
    fn see_integer(&mut self, i: i64) {
        self.integers = true;
        // Up to 2^53 every integer has its float; beyond, those with enough zeros at their end.
        self.exact |= i.unsigned_abs() > 1 << 53 && i128::from(i) != (i as f64) as i128;
    }

    fn merge(&mut self, other: Numbers) {
        self.integers |= other.integers;
        self.floats |= other.floats;
        self.exact |= other.exact;
    }
}

impl Type {
    /// Itself, or JSON where a part of it is.
    fn or_json(self) -> Type {
        let parts_are_typed = match &self {
            Type::List(items) => **items != Type::Json,
            Type::Map(pair) => !matches!(pair.0, Type::Json | Type::List(_) | Type::Map(_)) && pair.1 != Type::Json,
            Type::Bool | Type::Int | Type::Float | Type::Utf8 | Type::Binary | Type::Json => true,
        };
        if parts_are_typed { self } else { Type::Json }
    }

    pub(super) fn arrow(&self) -> DataType {
        match self {
            Type::Bool => DataType::Boolean,
            Type::Int => DataType::Int64,
            Type::Float => DataType::Float64,
            Type::Utf8 | Type::Json => DataType::Utf8,
            Type::Binary => DataType::Binary,
            Type::List(items) => DataType::List(items.items_field()),
            Type::Map(pair) => DataType::Map(Arc::new(Field::new("entries", DataType::Struct(pair_fields(pair)), false)), false),
        }
    }

    /// The field of a list's items.
    pub(super) fn items_field(&self) -> Arc<Field> {
        Arc::new(Field::new("item", self.arrow(), true))
    }
}

/// The fields of a map's entries.
pub(super) fn pair_fields(pair: &(Type, Type)) -> Fields {
    Fields::from(vec![Field::new("key", pair.0.arrow(), false), Field::new("value", pair.1.arrow(), true)])
}

fn plural(value: Val<'_>) -> &'static str {
    match value {
        Val::Nil => "nil",
        Val::Bool(_) => "bools",
        Val::Int(_) => "integers",
        Val::Float(_) => "floats",
        Val::Str(_) => "strings",
        Val::List(_) => "lists",
        Val::Map(_) => "maps",
    }
}
