//! How a step names fields of its rows: by name or by position.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use crate::schema::int_or_string;

/// A field of a row: its name, or its position counted from 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum FieldRef {
    Position(i64),
    Name(String),
}

impl fmt::Display for FieldRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Position(position) => write!(f, "{position}"),
            Self::Name(name) => write!(f, "{name:?}"),
        }
    }
}

impl JsonSchema for FieldRef {
    fn schema_name() -> Cow<'static, str> {
        "FieldRef".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        int_or_string()
    }
}

/// One component of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OrderField {
    /// The field to order by: its name, or its position counted from 1.
    pub field: FieldRef,
    /// `asc` (the default) or `desc`.
    #[serde(default)]
    pub order: Direction,
}

/// Whether an order goes up or down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    #[default]
    Asc,
    Desc,
}
