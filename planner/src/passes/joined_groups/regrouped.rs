//! A join or coGroup of sides that a groupBy or coGroup has grouped by the same key: all rows meet once, and the lists are brought into
//! their form behind that one shuffle.

use plan::{Collection, Do, Graph, Group, Key, Node, NodeId, OnError, Op, Regrouped, Values};

use super::super::{
    Context, Log,
    facts::{leading, unique, width},
    legs::{Shuffle, key_of},
    splice::{self, Readers},
};

/// What a side of a join or coGroup is.
enum Side {
    Rows,
    /// The node of a groupBy, and the columns that it groups by.
    Group(NodeId, Vec<u32>),
    CoGroup(Shuffle),
}

/// Merges the groupings before a join or coGroup into it, if they fit.
pub(super) fn merge(graph: &mut Graph, context: &Context<'_>, untag: NodeId, log: &mut Log) {
    let readers = Readers::of(graph);
    let Some(outer) = Shuffle::at(graph, &readers, graph.node(untag)) else { return };
    let step = graph.node(untag).step.clone();
    let (mut sides, mut names, mut declined) = (Vec::new(), Vec::new(), Vec::new());
    for tag in &outer.tags {
        let input = graph.node(*tag).inputs[0];
        let name = graph.producer(input).step.clone();
        let side = match side(graph, context, &readers, *tag) {
            Some(Ok(side)) => {
                names.push(format!("`{name}`"));
                side
            }
            Some(Err(why)) => {
                declined.push(format!("`{name}` is grouped by this key already, but shuffled again: {why}"));
                Side::Rows
            }
            None => Side::Rows,
        };
        sides.push(side);
    }
    let is_join = matches!(graph.node(untag).op, Op::ParallelDo(Do::UntagJoin { .. }));
    let is_unsure = match &graph.node(untag).op {
        Op::ParallelDo(Do::UntagJoin { kind, widths, .. }) => {
            widths.iter().enumerate().any(|(leg, width)| width.is_none() && kind.may_miss(leg, widths.len()))
        }
        _ => false,
    };
    let apart = is_join && sides.iter().any(|side| matches!(side, Side::Rows));
    if !names.is_empty() && apart {
        declined.push(format!(
            "not one shuffle with {}: other sides are single rows, each of which meets the lists",
            names.join(" and ")
        ));
    } else if !names.is_empty() && is_unsure {
        declined.push(format!(
            "not one shuffle with {}: how wide a missing side without names is, only its rows can tell",
            names.join(" and ")
        ));
    } else if !names.is_empty() && graph.node(untag).on_error != OnError::Fail {
        declined.push(format!("not one shuffle with {}: it sets bad rows aside", names.join(" and ")));
    } else if !names.is_empty() {
        log.did(&step, format!("brings the rows of {} together itself: same key, one shuffle", names.join(" and ")));
        regroup(graph, &outer, sides);
    }
    declined.into_iter().for_each(|why| log.declined(&step, why));
}

/// How a side was grouped by the key before, or why that is not merged; `None` where it was not.
fn side(graph: &Graph, context: &Context<'_>, readers: &Readers, tag: NodeId) -> Option<Result<Side, &'static str>> {
    let (input, key) = (graph.node(tag).inputs[0], key_of(graph, tag));
    let producer = graph.producer(input);
    let grouped = unique(graph, context, input).is_some_and(|unique| unique.implies(&Key::Columns(key.clone())));
    if !grouped || !leading(&key) || key.is_empty() {
        return None;
    }
    let is_sole = readers.sole(graph, input) == Some(tag);
    Some(match &producer.op {
        Op::Combine(_) => Err("it folds before it joins, and only what is folded has to move"),
        Op::Group(Group::ByKey { .. }) | Op::ParallelDo(Do::UntagCoGroup { .. }) if !is_sole => {
            Err("its result is needed elsewhere too")
        }
        Op::Group(Group::ByKey { key: Key::Columns(columns), values, order_by }) => {
            if columns.len() != key.len() {
                Err("its key is another one")
            } else if !order_by.is_empty() || *values != Values::Rest {
                Err("its lists are in order")
            } else {
                unfit(producer).map_or_else(|| Ok(Side::Group(producer.id, columns.clone())), Err)
            }
        }
        Op::ParallelDo(Do::UntagCoGroup { .. }) => match Shuffle::at(graph, readers, producer) {
            Some(inner) if key_of(graph, inner.tags[0]).len() != key.len() => Err("its key is another one"),
            Some(inner) => unfit(graph.node(inner.group)).or(unfit(producer)).map_or_else(|| Ok(Side::CoGroup(inner)), Err),
            None => Err("parts of it are read by others"),
        },
        _ => Err("what lies between has to run before"),
    })
}

/// Why a grouping has to stay as it is.
fn unfit(group: &Node) -> Option<&'static str> {
    if group.partitions.is_some() {
        Some("its result is to have its own partitions")
    } else if group.on_error != OnError::Fail || !group.deterministic {
        Some("it sets bad rows aside, or is not deterministic")
    } else {
        None
    }
}

/// The sides of the groupings take the places of their results; behind the shuffle their lists get their form.
fn regroup(graph: &mut Graph, outer: &Shuffle, sides: Vec<Side>) {
    let keys = width(key_of(graph, outer.tags[0]).len());
    let (mut tags, mut forms): (Vec<NodeId>, Vec<Regrouped>) = (Vec::new(), Vec::new());
    for (tag, side) in outer.tags.iter().zip(sides) {
        match side {
            Side::Rows => {
                tags.push(*tag);
                forms.push(Regrouped::Rows);
            }
            Side::Group(group, columns) => {
                tag_for(graph, *tag, group, columns);
                tags.push(*tag);
                forms.push(Regrouped::Group);
            }
            Side::CoGroup(inner) => {
                forms.push(Regrouped::CoGroup(width(inner.tags.len())));
                tags.extend(inner.tags);
                splice::remove(graph, [*tag, inner.union, inner.group, inner.untag]);
            }
        }
    }
    for (tag, number) in tags.iter().zip(0..) {
        if let Some(Op::ParallelDo(Do::Tag { leg, .. })) = graph.nodes.get_mut(tag).map(|node| &mut node.op) {
            *leg = number;
        }
    }
    let (legs, tagged) = (width(tags.len()), tags.iter().map(|tag| graph.node(*tag).outputs[0]).collect());
    if let Some(union) = graph.nodes.get_mut(&outer.union) {
        union.inputs = tagged;
    }
    if let Some(group) = graph.nodes.get_mut(&outer.group) {
        group.op = Op::Group(Group::ByLeg { legs });
    }
    put_behind(graph, outer.untag, legs, (keys, forms));
}

/// A tag takes the rows that a groupBy would have grouped, in that step's name; the groupBy goes.
fn tag_for(graph: &mut Graph, tag: NodeId, group: NodeId, columns: Vec<u32>) {
    let grouping = graph.node(group).clone();
    splice::remove(graph, [group]);
    let Some(node) = graph.nodes.get_mut(&tag) else { return };
    node.inputs = grouping.inputs;
    node.step.clone_from(&grouping.step);
    if let Op::ParallelDo(Do::Tag { key, .. }) = &mut node.op {
        *key = columns;
    }
    let made = node.outputs[0];
    if let Some(collection) = graph.collections.get_mut(&made) {
        collection.name = grouping.step;
    }
}

/// The untag makes lists of all sides; a new node behind it makes of them what it made.
fn put_behind(graph: &mut Graph, untag: NodeId, legs: u32, (keys, sides): (u32, Vec<Regrouped>)) {
    let (id, lists) = (graph.fresh_node(), graph.fresh_collection());
    let before = graph.node(untag).clone();
    let kind = if let Op::ParallelDo(Do::UntagJoin { kind, .. }) = before.op { Some(kind) } else { None };
    let made = graph.collection(before.outputs[0]).clone();
    graph
        .collections
        .insert(lists, Collection { id: lists, producer: untag, fields: None, ordered: false, persist: false, ..made });
    for output in &before.outputs {
        if let Some(collection) = graph.collections.get_mut(output) {
            collection.producer = id;
        }
    }
    let op = Op::ParallelDo(Do::Regroup { kind, keys, sides });
    graph.nodes.insert(id, Node { id, op, inputs: vec![lists], ..before.clone() });
    if let Some(node) = graph.nodes.get_mut(&untag) {
        node.op = Op::ParallelDo(Do::UntagCoGroup { legs });
        node.outputs = vec![lists];
    }
}
