//! A step of a flow: a name, exactly one operator, and what every step may say.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Quantity;
use crate::operator::{
    GroupBy, Join, Keyed, Limit, Lua, Merge, NoOptions, Operator, OptionalKey, ParallelDo, Pipe, ReduceBy, Select, Sort, Top,
    Union,
};
use crate::read::Read;
use crate::write::Write;

/// A step: a name and exactly one operator.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-gleamflow-one-of" = {"noun": "operator", "of": [
    "read", "map", "flatMap", "filter", "forEach", "parallelDo", "select", "reduce", "groupBy", "combine", "reduceBy", "coGroup",
    "join", "union", "distinct", "count", "sort", "top", "limit", "partition", "roundRobin", "merge", "pipe", "pipeAsArgs",
    "operate", "write"
]}))]
pub struct Step {
    /// The name of the step: lower-case letters, digits and `-`, unique in the flow.
    #[schemars(length(max = 40), extend("x-gleamflow-text" = "label"))]
    pub name: String,
    /// The steps whose rows it takes; an output of a `parallelDo` is `step.output`. Default: the step before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 100)))]
    pub from: Option<Vec<String>>,
    /// Names for the fields of the rows it makes; wherever a field is asked for, a name or a position counted from 1 will do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096), inner(length(min = 1)))]
    pub fields: Option<Vec<String>>,
    /// How many partitions its output has; for steps that read or shuffle. Default: chosen by the planner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65_536))]
    pub partitions: Option<u32>,
    /// Small inputs, whole, given to its function as Lua globals before the first row.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub side_inputs: Vec<SideInput>,
    /// What the planner should assume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hints: Option<Hints>,
    /// Materializes the output here: nothing fuses across it. Where results are kept (`run --cache DIR`; `spec.cache` on a
    /// cluster), later runs read it instead of making it, if everything that it is made of is the same and deterministic.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub persist: bool,
    /// Whether the same rows in give the same rows out. Default: true, but false for `pipe`, `pipeAsArgs` and `forEach`. Saying true
    /// vouches for it: results that come through the step may then be reused by later runs, even if it looks at clocks or files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deterministic: Option<bool>,
    /// What happens to rows that the step cannot handle. Default: the flow fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_error: Option<OnError>,

    /// Rows from files, from the flow itself, or a range of numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read: Option<Read>,
    /// Calls a function per row; the returned values are one row, nothing returned is no row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub map: Option<Lua>,
    /// Calls a function per row that returns an iterator or a list; one row per item.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flat_map: Option<Lua>,
    /// Keeps the rows for which a function returns something other than nil and false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<Lua>,
    /// Calls a function per row that may call `emit(...)` any number of times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_each: Option<Lua>,
    /// Several collections from one pass: the function calls `emit.output(...)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallel_do: Option<ParallelDo>,
    /// Projection and reorder of fields.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub select: Option<Select>,
    /// Folds all rows into one: `function(x1..xn, y1..yn)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reduce: Option<Lua>,
    /// Groups rows by key: key fields, then one list with an item per row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_by: Option<GroupBy>,
    /// Folds the values of each group of the `groupBy` before it; the function must be associative and commutative.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub combine: Option<Lua>,
    /// `groupBy` and `combine` in one: key fields, then the folded values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reduce_by: Option<ReduceBy>,
    /// Groups two or more inputs by key: key fields, then one list per input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub co_group: Option<Keyed>,
    /// Joins two or more inputs by key: key fields, then the values of each input in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub join: Option<Join>,
    /// All rows of all inputs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub union: Option<Union>,
    /// One row per key; by default, each row once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distinct: Option<OptionalKey>,
    /// Key fields and how many rows have them; by default, each row and how often it is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<OptionalKey>,
    /// The whole collection in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sort: Option<Sort>,
    /// The first rows of an order, in that order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top: Option<Top>,
    /// At most so many rows, over the whole collection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<Limit>,
    /// The same rows, those with equal keys in one partition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<Keyed>,
    /// The same rows, dealt out one by one to the partitions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round_robin: Option<NoOptions>,
    /// The same rows in fewer partitions, by default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merge: Option<Merge>,
    /// A shell command per partition: a row in is its fields with tabs between, a line out is a row, split at tabs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipe: Option<Pipe>,
    /// A shell command per row, its fields as the arguments `$1`, `$2`, ...; a line out is a row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipe_as_args: Option<Pipe>,
    /// A function over its `sideInputs`, run once; the rows are what it emits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operate: Option<Lua>,
    /// A sink.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write: Option<Write>,
}

/// A small input that is whole before the first row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SideInput {
    /// The Lua global that holds it.
    #[schemars(length(max = 40), extend("x-gleamflow-text" = "identifier"))]
    pub name: String,
    /// The step whose rows it is; an output of a `parallelDo` is `step.output`.
    #[schemars(length(min = 1, max = 100))]
    pub from: String,
    /// `value`: the one row's value; `list`: an item per row; `map`: the first field to the others.
    #[serde(rename = "as")]
    pub shape: SideShape,
}

/// How a side input looks in Lua.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SideShape {
    Value,
    List,
    Map,
}

/// What the planner should assume of a step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Hints {
    /// Output bytes to input bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub size_ratio: Option<f64>,
    /// Memory that the step needs, such as `256Mi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Quantity>,
}

/// What happens to rows that a step cannot handle.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "(self.policy == 'DeadLetter') == has(self.to)",
    "message": "\"to\" goes with policy DeadLetter, and only with it"
}]))]
pub struct OnError {
    /// `Fail`: the flow fails; `Skip`: they are left out and counted; `DeadLetter`: they go to the step `to` and are counted.
    pub policy: ErrorPolicy,
    /// The step that reads the rows set aside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 40))]
    pub to: Option<String>,
}

/// What happens to a row that a step cannot handle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ErrorPolicy {
    #[default]
    Fail,
    Skip,
    DeadLetter,
}

impl Step {
    /// Its operators in the order of the documentation; a valid step has exactly one.
    #[must_use]
    pub fn operators(&self) -> Vec<Operator<'_>> {
        [
            self.read.as_ref().map(Operator::Read),
            self.map.as_ref().map(Operator::Map),
            self.flat_map.as_ref().map(Operator::FlatMap),
            self.filter.as_ref().map(Operator::Filter),
            self.for_each.as_ref().map(Operator::ForEach),
            self.parallel_do.as_ref().map(Operator::ParallelDo),
            self.select.as_ref().map(Operator::Select),
            self.reduce.as_ref().map(Operator::Reduce),
            self.group_by.as_ref().map(Operator::GroupBy),
            self.combine.as_ref().map(Operator::Combine),
            self.reduce_by.as_ref().map(Operator::ReduceBy),
            self.co_group.as_ref().map(Operator::CoGroup),
            self.join.as_ref().map(Operator::Join),
            self.union.as_ref().map(Operator::Union),
            self.distinct.as_ref().map(Operator::Distinct),
            self.count.as_ref().map(Operator::Count),
            self.sort.as_ref().map(Operator::Sort),
            self.top.as_ref().map(Operator::Top),
            self.limit.as_ref().map(Operator::Limit),
            self.partition.as_ref().map(Operator::Partition),
            self.round_robin.as_ref().map(Operator::RoundRobin),
            self.merge.as_ref().map(Operator::Merge),
            self.pipe.as_ref().map(Operator::Pipe),
            self.pipe_as_args.as_ref().map(Operator::PipeAsArgs),
            self.operate.as_ref().map(Operator::Operate),
            self.write.as_ref().map(Operator::Write),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}
