//! Which fields hold no number that an equal one could show in another way: of 4 and 4.0, or 0 and -0.0, in one group the first
//! shows, and whoever sees only some rows of a group cannot know that there is one.
//!
//! Functions return 4.0 as 4; floats that stay floats come from sources. (Beyond ±2^53 a function may compute a float that is equal
//! to an integer that it passes on elsewhere: that is not looked for.)

use std::collections::BTreeSet;

use plan::{CollectionId, Do, Fold, Format, Graph, Group, Key, Node, NodeId, Op, Source, ValueType};
use serde_json::Value;

use super::facts::passes_rows_on;

/// Whether some columns of a collection are exact in that sense.
pub(super) fn are_exact(graph: &Graph, id: CollectionId, columns: &[u32]) -> bool {
    let mut open: Vec<(CollectionId, u32)> = columns.iter().map(|column| (id, *column)).collect();
    let mut seen: BTreeSet<(CollectionId, u32)> = open.iter().copied().collect();
    while let Some((id, column)) = open.pop() {
        match behind(graph, graph.producer(id), column) {
            Behind::Exact => {}
            Behind::Unknown => return false,
            Behind::Same(fields) => open.extend(fields.into_iter().filter(|field| seen.insert(*field))),
        }
    }
    true
}

/// What a field is made of.
enum Behind {
    Exact,
    Unknown,
    /// It is one of these fields, unchanged.
    Same(Vec<(CollectionId, u32)>),
}

fn behind(graph: &Graph, node: &Node, column: u32) -> Behind {
    let same = |id: CollectionId, column: Option<&u32>| match column {
        Some(column) => Behind::Same(vec![(id, *column)]),
        None => Behind::Exact,
    };
    let place = column as usize;
    match &node.op {
        Op::Read(source) => {
            if has_floats(source, Some(column)) {
                Behind::Unknown
            } else {
                Behind::Exact
            }
        }
        Op::Flatten { .. } => Behind::Same(node.inputs.iter().map(|input| (*input, column)).collect()),
        _ if passes_rows_on(node) => Behind::Same(vec![(node.inputs[0], column)]),
        Op::ParallelDo(Do::Select(columns)) => same(node.inputs[0], columns.get(place)),
        Op::ParallelDo(Do::Alone { key: Key::Columns(key), .. }) if place < key.len() => same(node.inputs[0], key.get(place)),
        // A line is text.
        Op::ParallelDo(Do::Pipe { .. } | Do::PipeAsArgs { .. }) => Behind::Exact,
        Op::Group(Group::ByKey { key: Key::Columns(key), .. }) if place < key.len() => same(node.inputs[0], key.get(place)),
        Op::Combine(fold) => {
            let group = graph.producer(node.inputs[0]);
            match (&group.op, fold) {
                (Op::Group(_), Fold::Smallest | Fold::Top { .. }) => Behind::Same(vec![(group.inputs[0], column)]),
                (Op::Group(Group::ByKey { key: Key::Columns(key), .. }), _) if place < key.len() => {
                    same(group.inputs[0], key.get(place))
                }
                _ => computed(graph, node),
            }
        }
        Op::ParallelDo(_) | Op::Group(_) | Op::Operate(_) => computed(graph, node),
    }
}

/// What a step makes of values none of which is a float has none that stays one.
fn computed(graph: &Graph, node: &Node) -> Behind {
    let mut open: Vec<NodeId> = vec![node.id];
    let mut seen: BTreeSet<NodeId> = BTreeSet::from([node.id]);
    while let Some(id) = open.pop() {
        let node = graph.node(id);
        match &node.op {
            Op::Read(source) if has_floats(source, None) => return Behind::Unknown,
            Op::Read(_) | Op::ParallelDo(Do::Pipe { .. } | Do::PipeAsArgs { .. }) => {}
            _ => open.extend(node.reads().map(|read| graph.collection(read).producer).filter(|id| seen.insert(*id))),
        }
    }
    Behind::Exact
}

/// Whether a source, or one column of it, could hold floats that are equal to integers or to zero.
fn has_floats(source: &Source, column: Option<u32>) -> bool {
    match source {
        Source::Range { .. } | Source::Files { format: Format::Text | Format::Whole, .. } => false,
        Source::Files { format: Format::Csv(options) | Format::Tsv(options), .. } => {
            let read = options.columns.as_deref();
            let place = column.map(|column| read.map_or(Some(column), |read| read.get(column as usize).copied()));
            options.types.iter().any(|(at, of)| *of == ValueType::Float && place.is_none_or(|place| place == Some(*at)))
        }
        Source::Inline { rows } => rows.iter().any(|row| match column {
            Some(column) => row.get(column as usize).is_some_and(is_odd),
            None => row.iter().any(is_odd),
        }),
        Source::Files { format: Format::Json { .. } | Format::Parquet { .. } | Format::Orc { .. }, .. }
        | Source::Cached { .. } => true,
    }
}

fn is_odd(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.is_f64() && number.as_f64().is_none_or(|number| number.fract() == 0.0),
        Value::Array(items) => items.iter().any(is_odd),
        Value::Object(items) => items.values().any(is_odd),
        Value::Null | Value::Bool(_) | Value::String(_) => false,
    }
}
