//! In which order stages and operates run, and when what they made can be forgotten.

use std::collections::{BTreeMap, BTreeSet};

use plan::mscr::After;
use plan::{CollectionId, Mscr, NodeId, Op, Plan};

use crate::{Error, Result};

/// One thing to run.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unit<'p> {
    Stage(&'p Mscr),
    Operate(NodeId),
}

/// All units, each behind those that it waits for; stages in the plan's order where there is a choice.
pub(crate) fn units(plan: &Plan) -> Result<Vec<Unit<'_>>> {
    let stages = plan.mscrs.iter().map(|stage| (After::Mscr(stage.id), Unit::Stage(stage), &stage.after));
    let operates =
        plan.operates.iter().map(|operate| (After::Operate(operate.node), Unit::Operate(operate.node), &operate.after));
    let mut open: Vec<_> = operates.chain(stages).collect();
    let (mut done, mut order) = (BTreeSet::new(), Vec::new());
    while !open.is_empty() {
        let Some(at) = open.iter().position(|(_, _, after)| after.iter().all(|id| done.contains(id))) else {
            return Err(Error::Plan("stages wait for each other".to_owned()));
        };
        let (id, unit, _) = open.remove(at);
        done.insert(id);
        order.push(unit);
    }
    Ok(order)
}

/// Per collection the index of the last unit that reads it, in the order of `units`; a flatten's readers read its inputs.
pub(crate) fn last_reads(plan: &Plan, order: &[Unit<'_>]) -> BTreeMap<CollectionId, usize> {
    let mut last = BTreeMap::new();
    for (index, unit) in order.iter().enumerate() {
        last.extend(unit_reads(plan, unit).into_iter().map(|collection| (collection, index)));
    }
    last
}

/// What a unit reads from outside, once per edge: a flatten counts as its inputs, a source with `pathsFrom` as its paths.
pub(crate) fn unit_reads(plan: &Plan, unit: &Unit<'_>) -> Vec<CollectionId> {
    let (mut open, mut reads) = (Vec::new(), Vec::new());
    match unit {
        Unit::Operate(node) => open.extend(side_inputs(plan, *node)),
        Unit::Stage(stage) => open.extend(stage_reads(plan, stage)),
    }
    while let Some(collection) = open.pop() {
        let producer = plan.graph.node(plan.graph.collection(collection).producer);
        if matches!(producer.op, Op::Flatten { .. } | Op::Read(_)) {
            open.extend(&producer.inputs);
        }
        reads.push(collection);
    }
    reads
}

/// The side inputs of a node.
pub(crate) fn side_inputs(plan: &Plan, node: NodeId) -> Vec<CollectionId> {
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
pub(crate) fn stage_nodes(stage: &Mscr) -> Vec<NodeId> {
    let mut nodes: Vec<NodeId> = stage.inputs.iter().flat_map(|input| input.does.iter().copied()).collect();
    for output in &stage.outputs {
        if let plan::OutputChannel::Group { group, reduce, .. } = output {
            nodes.push(*group);
            nodes.extend(reduce);
        }
    }
    nodes
}
