//! What a step does: one struct per operator.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::read::Read;
use crate::write::Write;
use crate::{FieldRef, OrderField};

/// An operator that is a Lua function.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Lua {
    /// The text of one Lua function: `function(x) return x end`. Lists and maps are tables to it; of a list with nil in it, `#` need
    /// not be the length, as ever in Lua.
    #[schemars(length(min = 1))]
    pub lua: String,
}

/// Several collections from one pass.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ParallelDo {
    /// The outputs; other steps read them as `step.output`.
    #[schemars(length(min = 1, max = 64), extend("items" = {"type": "string", "maxLength": 40, "x-gleamflow-text": "identifier"}))]
    pub outputs: Vec<String>,
    /// The text of one Lua function that calls `emit.output(...)`.
    #[schemars(length(min = 1))]
    pub lua: String,
}

/// Projection and reorder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Select {
    /// Fields by name or by position counted from 1, in the order of the new row; repeats are allowed.
    #[schemars(length(min = 1, max = 4096))]
    pub columns: Vec<FieldRef>,
}

/// Groups rows by key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GroupBy {
    /// Fields by name or by position counted from 1.
    #[schemars(length(min = 1, max = 64))]
    pub key: Vec<FieldRef>,
    /// The order of each group's items; without it they have none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 64))]
    pub order_by: Vec<OrderField>,
}

/// `groupBy` and `combine` in one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReduceBy {
    /// Fields by name or by position counted from 1.
    #[schemars(length(min = 1, max = 64))]
    pub key: Vec<FieldRef>,
    /// The text of one Lua function that folds two rows' values into one: `function(x, y) return x + y end`.
    /// It must be associative and commutative.
    #[schemars(length(min = 1))]
    pub lua: String,
}

/// An operator that needs a key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Keyed {
    /// Fields by name or by position counted from 1; the same of every input.
    #[schemars(length(min = 1, max = 64))]
    pub key: Vec<FieldRef>,
}

/// An operator whose key is the whole row unless given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OptionalKey {
    /// Fields by name or by position counted from 1. Default: the whole row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub key: Option<Vec<FieldRef>>,
}

/// Joins two or more inputs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Join {
    /// Fields by name or by position counted from 1; the same of every input.
    #[schemars(length(min = 1, max = 64))]
    pub key: Vec<FieldRef>,
    /// Which keys are kept. An input without rows of a key has nil in their place: as many as its fields have names or, without
    /// names, as its widest row has values in this run (none where it has no rows).
    #[serde(default)]
    pub kind: JoinKind,
    /// Whether small inputs are sent whole to every task instead of shuffling all.
    #[serde(default)]
    pub broadcast: Broadcast,
}

/// Which keys a join keeps: `inner` those of all inputs, `left` of the first, `right` of the last, `full` of any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum JoinKind {
    #[default]
    Inner,
    Left,
    Right,
    Full,
}

/// Whether a join broadcasts its small inputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Broadcast {
    /// Inputs known or measured at 32 MiB or less are.
    #[default]
    Auto,
    Always,
    Never,
}

/// All rows of all inputs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Union {
    /// Whether the inputs stay in their order, one after the other.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ordered: bool,
}

/// The whole collection in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sort {
    /// What to order by, the most important first; ties are broken by the whole row. Default: the whole row.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 64))]
    pub by: Vec<OrderField>,
}

/// The first rows of an order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Top {
    /// What to order by, the most important first; ties are broken by the whole row. Default: the whole row.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 64))]
    pub by: Vec<OrderField>,
    /// How many rows.
    #[serde(alias = "false")]
    #[schemars(range(min = 0))]
    pub n: i64,
}

/// At most so many rows of the whole collection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Limit {
    /// How many rows.
    #[serde(alias = "false")]
    #[schemars(range(min = 0))]
    pub n: i64,
    /// How many rows are left out before them; default 0.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub offset: i64,
}

/// An operator without options: `{}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NoOptions {}

/// Brings partitions together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Merge {
    /// For a sorted merge: what to order by, the most important first. Default: one partition after the other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 64))]
    pub by: Vec<OrderField>,
}

/// A shell command.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Pipe {
    /// What `sh -c` runs.
    #[schemars(length(min = 1))]
    pub command: String,
}

/// The operator of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Operator<'a> {
    /// None, or which one cannot be told: that is a problem of the file, and the rest of the step can still be checked.
    Unclear,
    Read(&'a Read),
    Map(&'a Lua),
    FlatMap(&'a Lua),
    Filter(&'a Lua),
    ForEach(&'a Lua),
    ParallelDo(&'a ParallelDo),
    Select(&'a Select),
    Reduce(&'a Lua),
    GroupBy(&'a GroupBy),
    Combine(&'a Lua),
    ReduceBy(&'a ReduceBy),
    CoGroup(&'a Keyed),
    Join(&'a Join),
    Union(&'a Union),
    Distinct(&'a OptionalKey),
    Count(&'a OptionalKey),
    Sort(&'a Sort),
    Top(&'a Top),
    Limit(&'a Limit),
    Partition(&'a Keyed),
    RoundRobin(&'a NoOptions),
    Merge(&'a Merge),
    Pipe(&'a Pipe),
    PipeAsArgs(&'a Pipe),
    Operate(&'a Lua),
    Write(&'a Write),
}

/// The field of a step that holds its operator, such as `flatMap`.
pub type OperatorName = &'static str;

impl<'a> Operator<'a> {
    /// The field of the step that holds it.
    #[must_use]
    pub fn name(&self) -> OperatorName {
        match self {
            Self::Unclear => "step",
            Self::Read(_) => "read",
            Self::Map(_) => "map",
            Self::FlatMap(_) => "flatMap",
            Self::Filter(_) => "filter",
            Self::ForEach(_) => "forEach",
            Self::ParallelDo(_) => "parallelDo",
            Self::Select(_) => "select",
            Self::Reduce(_) => "reduce",
            Self::GroupBy(_) => "groupBy",
            Self::Combine(_) => "combine",
            Self::ReduceBy(_) => "reduceBy",
            Self::CoGroup(_) => "coGroup",
            Self::Join(_) => "join",
            Self::Union(_) => "union",
            Self::Distinct(_) => "distinct",
            Self::Count(_) => "count",
            Self::Sort(_) => "sort",
            Self::Top(_) => "top",
            Self::Limit(_) => "limit",
            Self::Partition(_) => "partition",
            Self::RoundRobin(_) => "roundRobin",
            Self::Merge(_) => "merge",
            Self::Pipe(_) => "pipe",
            Self::PipeAsArgs(_) => "pipeAsArgs",
            Self::Operate(_) => "operate",
            Self::Write(_) => "write",
        }
    }

    /// Its Lua function, if it has one.
    #[must_use]
    pub fn lua(&self) -> Option<&'a str> {
        match self {
            Self::Map(lua)
            | Self::FlatMap(lua)
            | Self::Filter(lua)
            | Self::ForEach(lua)
            | Self::Reduce(lua)
            | Self::Combine(lua)
            | Self::Operate(lua) => Some(&lua.lua),
            Self::ParallelDo(split) => Some(&split.lua),
            Self::ReduceBy(reduce) => Some(&reduce.lua),
            Self::Unclear
            | Self::Read(_)
            | Self::Select(_)
            | Self::GroupBy(_)
            | Self::CoGroup(_)
            | Self::Join(_)
            | Self::Union(_)
            | Self::Distinct(_)
            | Self::Count(_)
            | Self::Sort(_)
            | Self::Top(_)
            | Self::Limit(_)
            | Self::Partition(_)
            | Self::RoundRobin(_)
            | Self::Merge(_)
            | Self::Pipe(_)
            | Self::PipeAsArgs(_)
            | Self::Write(_) => None,
        }
    }
}
