//! The notes beside the graph: early combines, fusions, fusion blocks.

use std::collections::{BTreeMap, BTreeSet};

use plan::{CollectionId, Group, Node, NodeId, OnError, Op};

use crate::Draft;

/// A combine runs before the shuffle only where nobody sees the whole groups and partial results are as good as rows.
pub(super) fn combines(draft: &Draft, faults: &mut Vec<String>) {
    let graph = &draft.graph;
    for (group, combines) in &draft.combines {
        let Some(node) = graph.nodes.get(group) else {
            faults.push(format!("{group}, which combines early, is gone"));
            continue;
        };
        let place = format!("the group `{}`", node.step);
        let reads = |other: &&Node| other.reads().any(|read| node.outputs.contains(&read));
        let readers: Vec<NodeId> = graph.nodes.values().filter(reads).map(|other| other.id).collect();
        if readers != *combines {
            faults.push(format!("{place} combines {combines:?} early, though {readers:?} read it"));
        }
        if !matches!(&node.op, Op::Group(Group::ByKey { order_by, .. }) if order_by.is_empty()) {
            faults.push(format!("{place} combines early, though it is no group by key without an order"));
        }
        if node.outputs.iter().any(|made| graph.collection(*made).persist) {
            faults.push(format!("{place} combines early, though its groups are persisted"));
        }
        for combine in combines.iter().filter_map(|id| graph.nodes.get(id)).filter(|combine| !is_partial(combine)) {
            faults.push(format!("`{}` runs early, though partial results would be seen", combine.step));
        }
    }
}

fn is_partial(combine: &Node) -> bool {
    let quiet = combine.deterministic && combine.on_error == OnError::Fail && combine.side_inputs.is_empty();
    quiet && matches!(combine.op, Op::Combine(_))
}

/// A fusion is ParallelDos behind one collection, with no boundary between them and no way out of them and back.
pub(super) fn fusions(draft: &Draft, faults: &mut Vec<String>) {
    let graph = &draft.graph;
    let head = |id: CollectionId| draft.fusion(graph.collection(id).producer);
    let mut edges: BTreeSet<(NodeId, NodeId)> = BTreeSet::new();
    let mut roots: BTreeMap<NodeId, BTreeSet<CollectionId>> = BTreeMap::new();
    for node in graph.nodes.values() {
        let own = draft.fusion(node.id);
        if own != node.id && !node.is_do() {
            faults.push(format!("`{}` is fused, though it is no ParallelDo", node.step));
        }
        for input in &node.inputs {
            if head(*input) != own {
                edges.insert((head(*input), own));
                roots.entry(own).or_default().insert(*input);
            } else if !draft.is_open(*input, node) {
                faults.push(format!("`{}` is fused across the end of a stage", node.step));
            }
        }
        for side in &node.side_inputs {
            edges.insert((head(side.from), own));
        }
    }
    for (own, read) in roots.iter().filter(|(own, read)| graph.node(**own).is_do() && read.len() > 1) {
        faults.push(format!("what is fused to `{}` reads {} collections", graph.node(*own).step, read.len()));
    }
    if has_cycle(&edges) {
        faults.push("fused ParallelDos wait for themselves".into());
    }
}

fn has_cycle(edges: &BTreeSet<(NodeId, NodeId)>) -> bool {
    let mut missing: BTreeMap<NodeId, usize> = BTreeMap::new();
    for (from, to) in edges {
        missing.entry(*from).or_default();
        *missing.entry(*to).or_default() += 1;
    }
    let mut open: Vec<NodeId> = missing.iter().filter(|(_, count)| **count == 0).map(|(id, _)| *id).collect();
    let mut done = 0;
    while let Some(from) = open.pop() {
        done += 1;
        for (_, to) in edges.range((from, NodeId(0))..=(from, NodeId(u32::MAX))) {
            if let Some(count) = missing.get_mut(to) {
                *count -= 1;
                if *count == 0 {
                    open.push(*to);
                }
            }
        }
    }
    done < missing.len()
}

/// Every way of ParallelDos from one group to another has a boundary on it.
pub(super) fn blocks(draft: &Draft, faults: &mut Vec<String>) {
    let graph = &draft.graph;
    for id in draft.blocks.iter().filter(|id| !graph.collections.contains_key(id) || !graph.producer(**id).is_do()) {
        faults.push(format!("a stage ends at {id}, which no ParallelDo makes"));
    }
    let consumers = graph.consumers();
    let is_boundary = |id: CollectionId| graph.collection(id).persist || draft.blocks.contains(&id);
    for group in graph.nodes.values().filter(|node| matches!(node.op, Op::Group(_))) {
        let mut open: Vec<CollectionId> = group.outputs.iter().copied().filter(|id| !is_boundary(*id)).collect();
        while let Some(id) = open.pop() {
            for reader in consumers.get(&id).into_iter().flatten().map(|reader| graph.node(*reader)).filter(|node| node.is_do()) {
                for made in reader.outputs.iter().copied().filter(|made| !is_boundary(*made)) {
                    open.push(made);
                    if let Some(to) = fed(draft, &consumers, made) {
                        faults.push(format!("no stage ends between the group `{}` and the group `{to}`", group.step));
                    }
                }
            }
        }
    }
}

/// A group that a collection feeds, directly or through unions that are not stored.
fn fed(draft: &Draft, consumers: &BTreeMap<CollectionId, Vec<NodeId>>, id: CollectionId) -> Option<String> {
    let graph = &draft.graph;
    let mut open = vec![id];
    let mut seen = BTreeSet::new();
    while let Some(next) = open.pop() {
        for reader in consumers.get(&next).into_iter().flatten().map(|reader| graph.node(*reader)) {
            match reader.op {
                // It reads what is stored of the union.
                Op::Group(_) if graph.is_read_in_order(reader, next) => {}
                Op::Group(_) => return Some(reader.step.clone()),
                Op::Flatten { .. } if seen.insert(reader.id) => {
                    open.extend(reader.outputs.iter().filter(|made| !graph.collection(**made).persist));
                }
                Op::Read(_) | Op::ParallelDo(_) | Op::Flatten { .. } | Op::Combine(_) | Op::Operate(_) => {}
            }
        }
    }
    None
}
