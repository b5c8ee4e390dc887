//! The channels of a stage: what it reads, what each pass over that does, and what comes out.

use std::collections::{BTreeMap, BTreeSet};

use plan::{CollectionId, Graph, InputChannel, NodeId, Op, OutputChannel, Pass};

use super::units::{Unit, Units};
use crate::{Draft, quotient::Quotient};

/// What a block holds, sorted out.
#[derive(Debug, Default)]
pub(super) struct Parts {
    /// Mapper nodes by the collection that their pass reads; an identity mapper has none.
    passes: BTreeMap<CollectionId, Vec<NodeId>>,
    /// Groups, each with the nodes behind it.
    groups: BTreeMap<NodeId, Vec<NodeId>>,
    /// Sources that this stage stores.
    loads: BTreeSet<CollectionId>,
}

/// The input and output channels of a block.
pub(super) fn channels(draft: &Draft, parts: &Parts, stored: &BTreeSet<CollectionId>) -> (Vec<InputChannel>, Vec<OutputChannel>) {
    let inputs: Vec<InputChannel> =
        parts.passes.iter().map(|(read, does)| InputChannel { reads: vec![*read], does: does.clone() }).collect();
    let mut outputs: Vec<OutputChannel> =
        parts.groups.iter().map(|(group, reduce)| grouping(draft, *group, reduce, &inputs)).collect();
    let mut passes = BTreeSet::new();
    passes.extend(parts.loads.iter().map(|id| (draft.graph.collection(*id).producer, None, Some(*id))));
    for node in parts.passes.values().flatten().map(|id| draft.graph.node(*id)) {
        passes.extend(node.is_write().then_some((node.id, Some(node.id), None)));
        passes.extend(node.outputs.iter().filter(|made| stored.contains(made)).map(|made| (node.id, None, Some(*made))));
    }
    outputs.extend(passes.into_iter().filter_map(|(_, write, collection)| {
        let what = write.map(Pass::Write).or(collection.map(Pass::Collection))?;
        Some(OutputChannel::Pass { what })
    }));
    (inputs, outputs)
}

/// Sorts out what a block holds.
pub(super) fn parts(draft: &Draft, units: &Units, quotient: &Quotient, block: usize) -> Parts {
    let graph = &draft.graph;
    let mut parts = Parts::default();
    let here = |id: CollectionId| units.maker(graph, id).filter(|maker| quotient.block(*maker) == block);
    let mut members = quotient.members(block).to_vec();
    members.sort_unstable();
    for unit in members {
        match units.list[unit] {
            Unit::Fusion(head) => {
                let nodes = &units.fusions[&head];
                let Some(root) = units.root(unit) else { continue };
                match here(root).map(|maker| units.list[maker]) {
                    Some(Unit::Group(group)) => parts.groups.entry(group).or_default().extend(nodes),
                    _ => parts.passes.entry(root).or_default().extend(nodes),
                }
            }
            Unit::Group(group) => {
                parts.groups.entry(group).or_default();
                for leaf in graph.feeding(group) {
                    if !matches!(here(leaf).map(|maker| units.list[maker]), Some(Unit::Fusion(_))) {
                        parts.passes.entry(leaf).or_default();
                    }
                }
            }
            Unit::Load(id) => {
                parts.loads.insert(id);
                parts.passes.entry(id).or_default();
            }
            Unit::Operate(_) => {}
        }
    }
    // Ids are canonical: ascending is producers first.
    parts.passes.values_mut().chain(parts.groups.values_mut()).for_each(|nodes| nodes.sort_unstable());
    parts
}

fn grouping(draft: &Draft, group: NodeId, reduce: &[NodeId], inputs: &[InputChannel]) -> OutputChannel {
    let graph = &draft.graph;
    let leaves: BTreeSet<CollectionId> = graph.feeding(group).into_iter().collect();
    let feeds = |channel: &InputChannel| {
        let made = channel.does.iter().flat_map(|node| &graph.node(*node).outputs);
        channel.reads.iter().chain(made).any(|id| leaves.contains(id))
    };
    let from = inputs.iter().enumerate().filter(|(_, channel)| feeds(channel)).map(|(index, _)| index).collect();
    let combine = draft.combines.get(&group).cloned().unwrap_or_default();
    OutputChannel::Group { group, combine, reduce: reduce.to_vec(), from }
}

/// The collections that outlive their stage.
pub(super) fn stored<'p>(draft: &Draft, units: &Units, blocks: impl Iterator<Item = &'p Parts>) -> BTreeSet<CollectionId> {
    let graph = &draft.graph;
    let mut whole: Vec<CollectionId> = units.loads.keys().copied().collect();
    whole.extend(graph.collections.values().filter(|collection| collection.persist).map(|collection| collection.id));
    for node in graph.nodes.values() {
        whole.extend(node.side_inputs.iter().map(|side| side.from));
        if matches!(node.op, Op::Operate(_)) {
            whole.extend(&node.inputs);
        }
    }
    let mut found = BTreeSet::new();
    for parts in blocks {
        for read in parts.passes.keys() {
            let (sources, others) = leaves(graph, *read);
            found.extend(others);
            whole.extend(sources.iter().flat_map(|source| &graph.producer(*source).inputs));
        }
    }
    found.extend(whole.iter().collect::<BTreeSet<_>>().into_iter().flat_map(|id| graph.leaves(*id)));
    found
}

/// What a collection is made of: sources, and others.
fn leaves(graph: &Graph, id: CollectionId) -> (Vec<CollectionId>, Vec<CollectionId>) {
    graph.leaves(id).into_iter().partition(|leaf| matches!(graph.producer(*leaf).op, Op::Read(_)))
}
