//! What each stage of a plan needs from others, found from the plan alone.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    CollectionId, NodeId, Op, OutputChannel, Plan,
    mscr::{After, Pass},
};

/// Where nodes run and who stores what.
pub(super) struct Places {
    /// The stage of every ParallelDo, combine, group and operate; the last one where a faulty plan names several.
    pub(super) of: BTreeMap<NodeId, After>,
    /// The stages that store the rows of a source.
    pub(super) loaders: BTreeMap<CollectionId, Vec<After>>,
}

impl Places {
    pub(super) fn of(plan: &Plan) -> Self {
        let mut places = Self { of: BTreeMap::new(), loaders: BTreeMap::new() };
        for operate in &plan.operates {
            places.of.insert(operate.node, After::Operate(operate.node));
        }
        for mscr in &plan.mscrs {
            let stage = After::Mscr(mscr.id);
            for node in mscr.inputs.iter().flat_map(|channel| &channel.does) {
                places.of.insert(*node, stage);
            }
            for output in &mscr.outputs {
                match output {
                    OutputChannel::Group { group, reduce, .. } => {
                        places.of.insert(*group, stage);
                        places.of.extend(reduce.iter().map(|node| (*node, stage)));
                    }
                    OutputChannel::Pass { what: Pass::Collection(id) } if is_read(plan, *id) => {
                        places.loaders.entry(*id).or_default().push(stage);
                    }
                    OutputChannel::Pass { .. } => {}
                }
            }
        }
        places
    }

    /// The stages that must be done before a collection can be read by `reader`; itself among them is a fault.
    pub(super) fn before(&self, plan: &Plan, id: CollectionId) -> BTreeSet<After> {
        let mut found = BTreeSet::new();
        let mut open = plan.graph.leaves(id);
        let mut seen: BTreeSet<CollectionId> = open.iter().copied().collect();
        while let Some(leaf) = open.pop() {
            let producer = plan.graph.producer(leaf);
            if let Some(stage) = self.of.get(&producer.id) {
                found.insert(*stage);
            } else if let Some(loaders) = self.loaders.get(&leaf) {
                found.extend(loaders);
            } else {
                let further = producer.inputs.iter().flat_map(|input| plan.graph.leaves(*input));
                open.extend(further.filter(|leaf| seen.insert(*leaf)));
            }
        }
        found
    }
}

pub(super) fn is_read(plan: &Plan, id: CollectionId) -> bool {
    matches!(plan.graph.producer(id).op, Op::Read(_))
}

/// The collections that must be stored.
pub(super) fn stored(plan: &Plan) -> BTreeSet<CollectionId> {
    let graph = &plan.graph;
    let mut found: BTreeSet<CollectionId> = BTreeSet::new();
    let mut whole: Vec<CollectionId> =
        graph.collections.values().filter(|collection| collection.persist).map(|collection| collection.id).collect();
    for node in graph.nodes.values() {
        whole.extend(node.side_inputs.iter().map(|side| side.from));
        if matches!(node.op, Op::Operate(_)) {
            whole.extend(&node.inputs);
        }
    }
    for read in plan.mscrs.iter().flat_map(|mscr| &mscr.inputs).flat_map(|channel| &channel.reads) {
        let (sources, others): (Vec<_>, Vec<_>) = graph.leaves(*read).into_iter().partition(|leaf| is_read(plan, *leaf));
        found.extend(others);
        whole.extend(sources.into_iter().flat_map(|source| graph.producer(source).inputs.clone()));
    }
    // A source that is stored runs as well, and so needs its list of paths.
    while let Some(id) = whole.pop() {
        for leaf in graph.leaves(id) {
            if found.insert(leaf) && is_read(plan, leaf) {
                whole.extend(&graph.producer(leaf).inputs);
            }
        }
    }
    found
}
