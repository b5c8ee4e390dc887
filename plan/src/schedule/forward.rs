//! Which collections flow straight from one stage's reducers into the next stage's mappers, without being stored.
//!
//! A collection is forwarded where the next stage is its only reader, it need not outlive the run of its stage (no `persist`,
//! no side input, no operate), and everything else that the mappers need exists by then.

use std::collections::{BTreeMap, BTreeSet};

use crate::{CollectionId, Group, InputChannel, Mscr, NodeId, Op, OutputChannel, Plan};

use super::order::{Unit, side_inputs, stage_nodes, unit_reads};

/// Where a forwarded collection's rows go: read `read` of channel `channel` of a later stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forward {
    /// The unit (in the order of the run) that makes it.
    pub from: usize,
    /// The unit that reads it.
    pub to: usize,
    pub channel: usize,
    pub read: usize,
}

/// All forwarded collections of a run.
#[must_use]
pub fn forwards(plan: &Plan, order: &[Unit<'_>]) -> BTreeMap<CollectionId, Forward> {
    let made = makers(plan, order);
    let readers = readers(plan, order);
    let mut found = BTreeMap::new();
    for (to, unit) in order.iter().enumerate() {
        let Unit::Stage(stage) = unit else { continue };
        for (channel, input) in stage.inputs.iter().enumerate() {
            for (read, collection) in input.reads.iter().enumerate() {
                let sole = readers.get(collection) == Some(&1) && !plan.graph.collection(*collection).persist;
                let Some(&from) = made.get(collection).filter(|_| sole) else { continue };
                if reduced(order[from], plan, *collection) && ready(plan, &made, stage, input, from) {
                    found.insert(*collection, Forward { from, to, channel, read });
                }
            }
        }
    }
    found
}

/// Per collection the unit that makes it.
fn makers(plan: &Plan, order: &[Unit<'_>]) -> BTreeMap<CollectionId, usize> {
    let mut made = BTreeMap::new();
    for (index, unit) in order.iter().enumerate() {
        let nodes = match unit {
            Unit::Stage(stage) => stage_nodes(stage),
            Unit::Operate(node) => vec![*node],
        };
        for node in nodes {
            made.extend(plan.graph.node(node).outputs.iter().map(|output| (*output, index)));
        }
    }
    made
}

/// How often each collection is read from outside its stage.
fn readers(plan: &Plan, order: &[Unit<'_>]) -> BTreeMap<CollectionId, usize> {
    let mut readers = BTreeMap::new();
    for collection in order.iter().flat_map(|unit| unit_reads(plan, unit)) {
        *readers.entry(collection).or_insert(0) += 1;
    }
    readers
}

/// Whether a stage makes the collection in its reduce tasks.
fn reduced(unit: Unit<'_>, plan: &Plan, collection: CollectionId) -> bool {
    let Unit::Stage(stage) = unit else { return false };
    let producer = plan.graph.collection(collection).producer;
    stage.outputs.iter().any(|output| match output {
        OutputChannel::Group { group, reduce, .. } => *group == producer || reduce.contains(&producer),
        OutputChannel::Pass { .. } => false,
    })
}

/// Whether a channel can run as early as in unit `from`.
fn ready(plan: &Plan, made: &BTreeMap<CollectionId, usize>, stage: &Mscr, input: &InputChannel, from: usize) -> bool {
    let needed = |node: &NodeId| side_inputs(plan, *node);
    let known = input.does.iter().flat_map(needed).all(|side| made.get(&side).is_some_and(|unit| *unit < from));
    // A gather deals its tasks out by their number among all tasks of the stage, which is not known yet.
    let groups: BTreeSet<NodeId> = stage.outputs.iter().filter_map(group).collect();
    known && !groups.iter().any(|group| matches!(plan.graph.node(*group).op, Op::Group(Group::Gather)))
}

fn group(output: &OutputChannel) -> Option<NodeId> {
    match output {
        OutputChannel::Group { group, .. } => Some(*group),
        OutputChannel::Pass { .. } => None,
    }
}
