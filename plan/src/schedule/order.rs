//! In which order stages and operates run, what they read, and when what they made can be forgotten.

use std::collections::{BTreeMap, BTreeSet};

use crate::{After, CollectionId, Mscr, NodeId, Op, OutputChannel, Plan};

/// One thing to run.
#[derive(Clone, Copy, Debug)]
pub enum Unit<'p> {
    Stage(&'p Mscr),
    Operate(NodeId),
}

/// A plan that cannot run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stages wait for each other")]
pub struct Cyclic;

/// All units, each behind those that it waits for; stages in the plan's order where there is a choice.
///
/// # Errors
/// [`Cyclic`].
pub fn units(plan: &Plan) -> Result<Vec<Unit<'_>>, Cyclic> {
    let stages = plan.mscrs.iter().map(|stage| (After::Mscr(stage.id), Unit::Stage(stage), &stage.after));
    let operates =
        plan.operates.iter().map(|operate| (After::Operate(operate.node), Unit::Operate(operate.node), &operate.after));
    let mut open: Vec<_> = operates.chain(stages).collect();
    let (mut done, mut order) = (BTreeSet::new(), Vec::new());
    while !open.is_empty() {
        let Some(at) = open.iter().position(|(_, _, after)| after.iter().all(|id| done.contains(id))) else {
            return Err(Cyclic);
        };
        let (id, unit, _) = open.remove(at);
        done.insert(id);
        order.push(unit);
    }
    Ok(order)
}

/// Per collection the index of the last unit that reads it, in the order of `units`; a flatten's readers read its inputs.
#[must_use]
pub fn last_reads(plan: &Plan, order: &[Unit<'_>]) -> BTreeMap<CollectionId, usize> {
    let mut last = BTreeMap::new();
    for (index, unit) in order.iter().enumerate() {
        last.extend(unit_reads(plan, unit).into_iter().map(|collection| (collection, index)));
    }
    last
}

/// What a unit reads from outside, once per edge, but what is read on several ways twice: a flatten counts as its inputs, a source
/// with `pathsFrom` as its paths. Unions of unions with themselves have more ways than can be counted.
#[must_use]
pub fn unit_reads(plan: &Plan, unit: &Unit<'_>) -> Vec<CollectionId> {
    let (mut open, mut reads, mut times) = (Vec::new(), Vec::new(), BTreeMap::new());
    match unit {
        Unit::Operate(node) => open.extend(side_inputs(plan, *node)),
        Unit::Stage(stage) => open.extend(stage_reads(plan, stage)),
    }
    while let Some(collection) = open.pop() {
        let times: &mut u32 = times.entry(collection).or_default();
        *times += 1;
        if *times > 2 {
            continue;
        }
        let producer = plan.graph.producer(collection);
        if matches!(producer.op, Op::Flatten { .. } | Op::Read(_)) {
            open.extend(&producer.inputs);
        }
        reads.push(collection);
    }
    reads
}

/// The side inputs of a node.
#[must_use]
pub fn side_inputs(plan: &Plan, node: NodeId) -> Vec<CollectionId> {
    plan.graph.node(node).side_inputs.iter().map(|side| side.from).collect()
}

fn stage_reads(plan: &Plan, stage: &Mscr) -> Vec<CollectionId> {
    let mut reads: Vec<CollectionId> = stage.inputs.iter().flat_map(|input| input.reads.iter().copied()).collect();
    for node in stage_nodes(stage) {
        reads.extend(side_inputs(plan, node));
    }
    reads
}

/// All nodes that a stage runs: mappers, groups, reducers.
#[must_use]
pub fn stage_nodes(stage: &Mscr) -> Vec<NodeId> {
    let mut nodes: Vec<NodeId> = stage.inputs.iter().flat_map(|input| input.does.iter().copied()).collect();
    for output in &stage.outputs {
        if let OutputChannel::Group { group, reduce, .. } = output {
            nodes.push(*group);
            nodes.extend(reduce);
        }
    }
    nodes
}

/// The collections whose rows are stored: what is materialized, and what a materialized flatten is made of.
#[must_use]
pub fn kept(plan: &Plan) -> BTreeSet<CollectionId> {
    let mut kept = BTreeSet::new();
    let mut open: Vec<CollectionId> = plan.materialized.iter().copied().collect();
    while let Some(collection) = open.pop() {
        let producer = plan.graph.producer(collection);
        if matches!(producer.op, Op::Flatten { .. }) {
            open.extend(&producer.inputs);
        } else {
            kept.insert(collection);
        }
    }
    kept
}
