//! A union of unions is one union, and a union of one thing is that thing. `union(a, a)` keeps both edges.

use std::collections::BTreeMap;

use plan::{CollectionId, Graph, Node, NodeId, Op};

use super::{Log, splice};

/// Unions wider than this are not made by merging: `union(u, u)` of such a union again and again would double without end.
const WIDEST: usize = 1 << 16;

pub(super) fn run(graph: &mut Graph, log: &mut Log) {
    let Some(order) = graph.topological() else { return };
    let mut merged = Vec::new();
    let mut with: BTreeMap<CollectionId, CollectionId> = BTreeMap::new();
    for id in order {
        if !matches!(graph.node(id).op, Op::Flatten { .. }) {
            continue;
        }
        inline(graph, id, &mut merged, log);
        if let Some((output, input)) = single(graph, graph.node(id), log) {
            with.insert(output, with.get(&input).copied().unwrap_or(input));
            merged.push(id);
        }
    }
    splice::substitute(graph, &with);
    splice::drop_unread_views(graph, merged);
}

/// Puts the inputs of inner unions in their place.
fn inline(graph: &mut Graph, id: NodeId, merged: &mut Vec<NodeId>, log: &mut Log) {
    let node = graph.node(id);
    let inner = |input: CollectionId| {
        let producer = graph.producer(input);
        let is_open = matches!(producer.op, Op::Flatten { .. }) && !graph.collection(input).persist;
        is_open.then_some(producer)
    };
    if !node.inputs.iter().any(|input| inner(*input).is_some()) {
        return;
    }
    let width: usize = node.inputs.iter().map(|input| inner(*input).map_or(1, |producer| producer.inputs.len())).sum();
    if width > WIDEST {
        log.declined(&node.step, format!("merged it would have {width} inputs, more than {WIDEST}"));
        return;
    }
    let mut inputs = Vec::with_capacity(width);
    for input in &node.inputs {
        match inner(*input) {
            None => inputs.push(*input),
            Some(producer) => {
                inputs.extend(&producer.inputs);
                merged.push(producer.id);
                // Unions within a step are none that its author wrote.
                if producer.step != node.step {
                    log.did(&producer.step, format!("its inputs are read by the union `{}` directly", node.step));
                }
            }
        }
    }
    if let Some(node) = graph.nodes.get_mut(&id) {
        node.inputs = inputs;
    }
}

/// The output and the input of a union that changes nothing.
fn single(graph: &Graph, node: &Node, log: &mut Log) -> Option<(CollectionId, CollectionId)> {
    let ([input], [output]) = (node.inputs.as_slice(), node.outputs.as_slice()) else { return None };
    if graph.collection(*output).persist {
        log.declined(&node.step, "a union of one collection, but it is persisted under its own name");
        return None;
    }
    if graph.collection(*output).ordered && !graph.collection(*input).ordered {
        log.declined(&node.step, "a union of one collection, but it gives that an order");
        return None;
    }
    log.did(&node.step, "a union of one collection is that collection");
    Some((*output, *input))
}
