//! What must hold for every graph: ids meet, one producer each, arities fit, no cycle.

use crate::{CollectionId, Do, Graph, Group, JoinKind, Node, OnError, Op, Paths, Source};

/// All faults of a graph; empty where it is sound.
#[must_use]
pub fn check_graph(graph: &Graph) -> Vec<String> {
    let mut faults = Vec::new();
    dangling(graph, &mut faults);
    producers(graph, &mut faults);
    if !faults.is_empty() {
        // What follows walks along ids and would stumble over dangling ones.
        return faults;
    }
    for node in graph.nodes.values() {
        arity(node, &mut faults);
        neighbours(graph, node, &mut faults);
    }
    brought_together(graph, &mut faults);
    if graph.topological().is_none() {
        faults.push("the graph has a cycle".into());
    }
    faults
}

fn dangling(graph: &Graph, faults: &mut Vec<String>) {
    for (id, node) in &graph.nodes {
        if *id != node.id {
            faults.push(format!("node {id} says that it is {}", node.id));
        }
        for read in node.reads().filter(|read| !graph.collections.contains_key(read)) {
            faults.push(format!("{id} ({}) reads {read}, which does not exist", node.step));
        }
        for made in node.outputs.iter().filter(|made| !graph.collections.contains_key(made)) {
            faults.push(format!("{id} ({}) makes {made}, which does not exist", node.step));
        }
    }
}

fn producers(graph: &Graph, faults: &mut Vec<String>) {
    for (id, collection) in &graph.collections {
        if *id != collection.id {
            faults.push(format!("collection {id} says that it is {}", collection.id));
        }
        let Some(producer) = graph.nodes.get(&collection.producer) else {
            faults.push(format!("{id} ({}) has no producer", collection.name));
            continue;
        };
        if !producer.outputs.contains(id) {
            faults.push(format!("{id} ({}) is not an output of its producer {}", collection.name, producer.id));
        }
    }
    let mut makers: Vec<(CollectionId, &Node)> =
        graph.nodes.values().flat_map(|node| node.outputs.iter().map(move |made| (*made, node))).collect();
    makers.sort_by_key(|(made, node)| (*made, node.id));
    for pair in makers.windows(2).filter(|pair| pair[0].0 == pair[1].0) {
        faults.push(format!("{} has two producers, {} and {}", pair[0].0, pair[0].1.id, pair[1].1.id));
    }
}

fn arity(node: &Node, faults: &mut Vec<String>) {
    let inputs = match &node.op {
        Op::Read(Source::Files { paths: Paths::Rows, .. }) => 1..=1,
        Op::Read(_) => 0..=0,
        Op::ParallelDo(_) | Op::Group(_) | Op::Combine(_) => 1..=1,
        Op::Flatten { .. } => 1..=usize::MAX,
        Op::Operate(_) => 0..=usize::MAX,
    };
    if !inputs.contains(&node.inputs.len()) {
        faults.push(format!("{} ({}) has {} inputs", node.id, node.step, node.inputs.len()));
    }
    let letters = usize::from(matches!(node.on_error, OnError::DeadLetter));
    let outputs = letters
        + match &node.op {
            Op::ParallelDo(Do::Write(_)) => 0,
            Op::ParallelDo(Do::Split { outputs, .. }) => outputs.len(),
            Op::Read(_) | Op::ParallelDo(_) | Op::Group(_) | Op::Combine(_) | Op::Flatten { .. } | Op::Operate(_) => 1,
        };
    if node.outputs.len() != outputs {
        faults.push(format!("{} ({}) has {} outputs, not {outputs}", node.id, node.step, node.outputs.len()));
    }
}

fn neighbours(graph: &Graph, node: &Node, faults: &mut Vec<String>) {
    match &node.op {
        Op::Combine(_) if !by_key(graph, node) => {
            faults.push(format!("{} ({}) folds what is not a group by key", node.id, node.step));
        }
        Op::Group(Group::ByLeg { legs }) => legs_of(graph, node, *legs, faults),
        Op::ParallelDo(Do::ProbeJoin { keys, .. }) if node.side_inputs.len() + 1 != keys.len() => {
            faults.push(format!("{} ({}) probes {} legs with {} keys", node.id, node.step, node.side_inputs.len(), keys.len()));
        }
        Op::ParallelDo(Do::ProbeJoin { kind, big, keys, .. }) if !may_probe(*kind, *big as usize, keys.len()) => {
            faults.push(format!("{} ({}) holds a side whole of which every row must be kept once", node.id, node.step));
        }
        Op::Read(_) | Op::ParallelDo(_) | Op::Group(_) | Op::Combine(_) | Op::Flatten { .. } | Op::Operate(_) => {}
    }
}

/// Every task sees all of the sides that are held whole, so none of them could say which of their rows no task has matched.
fn may_probe(kind: JoinKind, big: usize, legs: usize) -> bool {
    match kind {
        JoinKind::Inner => big < legs,
        JoinKind::Left => big == 0,
        JoinKind::Right => big + 1 == legs,
        JoinKind::Full => false,
    }
}

fn by_key(graph: &Graph, combine: &Node) -> bool {
    // Groups that an earlier run kept are folded list by list.
    let groups = |op: &Op| matches!(op, Op::Group(Group::ByKey { .. }) | Op::Read(Source::Cached { .. }));
    combine.inputs.iter().all(|input| groups(&graph.producer(*input).op))
}

/// A shuffle of legs must be fed by tags alone, every leg among them.
fn legs_of(graph: &Graph, node: &Node, legs: u32, faults: &mut Vec<String>) {
    let mut missing: Vec<u32> = (0..legs).collect();
    for leaf in node.inputs.iter().flat_map(|input| graph.leaves(*input)) {
        match &graph.producer(leaf).op {
            Op::ParallelDo(Do::Tag { leg, .. }) if *leg < legs => missing.retain(|other| other != leg),
            _ => faults.push(format!("{} ({}) is fed by {leaf}, which is no leg of it", node.id, node.step)),
        }
    }
    if !missing.is_empty() {
        faults.push(format!("{} ({}) lacks its legs {missing:?}", node.id, node.step));
    }
}

/// The shuffle of a join or coGroup is one with the step behind it, which says what comes out.
fn brought_together(graph: &Graph, faults: &mut Vec<String>) {
    let consumers = graph.consumers();
    for (node, legs) in graph.nodes.values().filter_map(|node| Some((node, by_leg(node)?))) {
        let readers: Vec<&Node> =
            node.outputs.iter().filter_map(|made| consumers.get(made)).flatten().map(|id| graph.node(*id)).collect();
        let untags = |reader: &Node| match &reader.op {
            Op::ParallelDo(Do::UntagCoGroup { legs: other }) => *other == legs,
            Op::ParallelDo(Do::UntagJoin { legs: other, .. }) => *other == legs,
            _ => false,
        };
        if !matches!(readers[..], [reader] if untags(reader)) {
            let readers: Vec<String> = readers.iter().map(|reader| reader.id.to_string()).collect();
            faults.push(format!("{} ({}) is read by {readers:?}, not by one untag of {legs} legs", node.id, node.step));
        }
    }
}

fn by_leg(node: &Node) -> Option<u32> {
    match node.op {
        Op::Group(Group::ByLeg { legs }) => Some(legs),
        _ => None,
    }
}
