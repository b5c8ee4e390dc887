//! A filter moves before a shuffle where it sees the same fields there: fewer rows travel.
//!
//! Only plain expressions move (no state, no clock, no random numbers), and only where no row is dropped that would have
//! failed the flow for want of a field, and none is seen that would have been dropped before it could fail the function.

use std::collections::{BTreeMap, BTreeSet};

use plan::{CollectionId, Do, Fold, Graph, Group, JoinKind, Key, Node, NodeId, OnError, Op, Values};

use super::{
    Context, Log,
    facts::{is_text, keeps_key_in_place, leading, least_width, looks_at, width},
    legs::Join,
    splice::{self, Readers},
};

pub(super) fn run(graph: &mut Graph, context: &Context<'_>, log: &mut Log) {
    if !graph.nodes.values().any(|node| matches!(node.op, Op::ParallelDo(Do::Filter(_)))) {
        return;
    }
    let mut readers = Readers::of(graph);
    for id in graph.topological().unwrap_or_default() {
        if !matches!(graph.node(id).op, Op::ParallelDo(Do::Filter(_))) {
            continue;
        }
        loop {
            let filter = graph.node(id);
            let step = filter.step.clone();
            let Some(way) = way(graph, &readers, filter) else { break };
            let over = graph.node(way.last).step.clone();
            if let Some(why) = obstacle(graph, &readers, context, filter, &way) {
                log.declined(&step, format!("not moved before `{over}`: {why}"));
                break;
            }
            log.did(&step, format!("moved before `{over}`: it sees the same fields there, and fewer rows travel"));
            swap(graph, id, &way);
            readers = Readers::of(graph);
        }
    }
}

/// A way up from a filter: the nodes it would pass.
struct Way {
    /// The node whose output the filter reads.
    last: NodeId,
    /// The node before which it would stand.
    first: NodeId,
    /// The fields that are the same before and after; `None`: the whole row is.
    same: Option<Vec<u32>>,
    /// The columns of which a lack must go on failing the flow.
    needs: Vec<u32>,
}

/// What a filter could pass; `None` where there is no shuffle to pass.
fn way(graph: &Graph, readers: &Readers, filter: &Node) -> Option<Way> {
    let producer = graph.producer(filter.inputs[0]);
    let group_at = |id: CollectionId| match &graph.producer(id).op {
        Op::Group(group) => Some((graph.producer(id).id, group)),
        _ => None,
    };
    match &producer.op {
        Op::ParallelDo(Do::Identity) => Some(Way { last: producer.id, first: producer.id, same: None, needs: Vec::new() }),
        Op::Group(group @ Group::ByKey { key, values: Values::Rest, .. }) => {
            Some(Way { last: producer.id, first: producer.id, same: Some(key_fields(key, Values::Rest)), needs: needs(group) })
        }
        Op::Group(group @ (Group::Sort { .. } | Group::Merge { .. } | Group::Hash { .. })) => {
            Some(Way { last: producer.id, first: producer.id, same: None, needs: needs(group) })
        }
        Op::Combine(fold) => {
            let (first, group) = group_at(producer.inputs[0])?;
            let Group::ByKey { key, values, .. } = group else { return None };
            let same = if matches!(fold, Fold::Top { .. }) { Vec::new() } else { key_fields(key, *values) };
            Some(Way { last: producer.id, first, same: Some(same), needs: needs(group) })
        }
        Op::ParallelDo(Do::UntagJoin { .. }) => {
            let join = Join::at(graph, readers, producer)?;
            let leg = match join.kind {
                JoinKind::Full => None,
                JoinKind::Left | JoinKind::Right => join.preserved().filter(|leg| leading(&join.key(graph, *leg))),
                JoinKind::Inner => (0..join.tags.len()).find(|leg| leading(&join.key(graph, *leg))),
            };
            let (first, same) = match leg {
                Some(leg) => (join.tags[leg], join.key(graph, leg)),
                None => (join.tags[0], Vec::new()),
            };
            Some(Way { last: producer.id, first, needs: same.clone(), same: Some(same) })
        }
        _ => None,
    }
}

fn needs(group: &Group) -> Vec<u32> {
    looks_at(group).into_iter().collect()
}

/// The key fields that stand in the same places before and behind a group.
fn key_fields(key: &Key, values: Values) -> Vec<u32> {
    match key {
        Key::Columns(columns) if keeps_key_in_place(key, values) => columns.clone(),
        // Of a whole row that comes out as it was, every field is a key field.
        Key::Row if values == Values::Row => (0..width(usize::from(u16::MAX))).collect(),
        Key::Columns(_) | Key::Row => Vec::new(),
    }
}

fn obstacle(graph: &Graph, readers: &Readers, context: &Context<'_>, filter: &Node, way: &Way) -> Option<String> {
    let Op::ParallelDo(Do::Filter(function)) = &filter.op else { return Some("it is no filter".into()) };
    let between = if way.first == way.last { vec![way.last] } else { vec![way.first, way.last] };
    let aside = between.iter().any(|id| graph.node(*id).on_error != OnError::Fail);
    if !filter.deterministic || filter.on_error != OnError::Fail || aside {
        return Some("it is not deterministic, or bad rows are set aside".into());
    }
    if !filter.side_inputs.is_empty() {
        return Some("it has side inputs".into());
    }
    if readers.sole(graph, filter.inputs[0]) != Some(filter.id) {
        return Some("the unfiltered rows are needed too".into());
    }
    if graph.collection(filter.outputs[0]).persist {
        return Some("its result is persisted".into());
    }
    if !is_sole_way(graph, readers, way) {
        return Some("what lies between is read by others too".into());
    }
    if !context.is_plain_filter(function) {
        return Some("its function is not a plain expression of its parameters".into());
    }
    if drops_keys(graph, way) && !context.never_raises(function, &texts(graph, context, way)) {
        return Some("it could raise an error for a key that the join drops".into());
    }
    if let Some(same) = &way.same {
        match context.reads(function) {
            Some(reads) if reads.iter().all(|field| same.iter().any(|column| *column as usize == *field)) && !same.is_empty() => {
            }
            Some(_) if is_join(graph, way.last) && same.is_empty() => {
                return Some(
                    "every side of a full join would have to be filtered, or its key is not what they begin with".into(),
                );
            }
            Some(_) if is_join(graph, way.last) => {
                return Some(
                    "it reads more than the key, and which of equal keys comes out (4 or 4.0) depends on all rows of them".into(),
                );
            }
            Some(_) => return Some("it reads fields that are made there".into()),
            None => return Some("it could read any field".into()),
        }
    }
    let least = least_width(graph, context, graph.node(way.first).inputs[0]);
    let missing = way.needs.iter().find(|column| **column >= least)?;
    Some(format!("a row without field {} must fail the flow there", missing + 1))
}

fn is_join(graph: &Graph, id: NodeId) -> bool {
    matches!(graph.node(id).op, Op::ParallelDo(Do::UntagJoin { .. }))
}

/// Whether the filter would see keys there that do not come out at the end of the way.
fn drops_keys(graph: &Graph, way: &Way) -> bool {
    matches!(graph.node(way.last).op, Op::ParallelDo(Do::UntagJoin { kind: JoinKind::Inner, .. }))
}

/// Whether nothing else reads what is made between the first and the last node of a way.
fn is_sole_way(graph: &Graph, readers: &Readers, way: &Way) -> bool {
    let mut id = way.first;
    while id != way.last {
        let Some(next) = graph.node(id).outputs.first().and_then(|made| readers.sole(graph, *made)) else { return false };
        id = next;
    }
    true
}

/// The fields that the filter would find to be strings where the way begins.
fn texts(graph: &Graph, context: &Context<'_>, way: &Way) -> BTreeSet<usize> {
    let input = graph.node(way.first).inputs[0];
    let columns = way.same.iter().flatten().filter(|column| is_text(graph, context, input, **column));
    columns.map(|column| *column as usize).collect()
}

/// Puts the filter before the first node of the way; what read the filter reads the last node.
fn swap(graph: &mut Graph, filter: NodeId, way: &Way) {
    let (unfiltered, filtered) = (graph.node(filter).inputs[0], graph.node(filter).outputs[0]);
    splice::substitute(graph, &BTreeMap::from([(filtered, unfiltered)]));
    let input = graph.node(way.first).inputs[0];
    let like = graph.collection(input).clone();
    if let Some(node) = graph.nodes.get_mut(&filter) {
        node.inputs = vec![input];
    }
    if let Some(node) = graph.nodes.get_mut(&way.first) {
        node.inputs = vec![filtered];
    }
    if let Some(collection) = graph.collections.get_mut(&filtered) {
        collection.fields = like.fields;
        collection.ordered = like.ordered;
        collection.bytes = like.bytes;
    }
}
