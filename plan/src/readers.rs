//! Who reads what is kept: an intermediate is deleted as soon as its last reader is done.

use std::collections::{BTreeMap, BTreeSet};

use crate::{After, CollectionId, OutputChannel, Plan};

/// For each stored collection, the stages and operates that read it. It can be freed when all of them are done
/// (persisted ones outlive the run where a cache is given).
#[must_use]
pub fn readers(plan: &Plan) -> BTreeMap<CollectionId, BTreeSet<After>> {
    let mut found: BTreeMap<CollectionId, BTreeSet<After>> = plan.materialized.iter().map(|id| (*id, BTreeSet::new())).collect();
    for mscr in &plan.mscrs {
        let reads = mscr.inputs.iter().flat_map(|channel| channel.reads.iter().copied());
        let does = mscr.inputs.iter().flat_map(|channel| &channel.does);
        let reduces = mscr.outputs.iter().flat_map(|output| match output {
            OutputChannel::Group { reduce, .. } => reduce.as_slice(),
            OutputChannel::Pass { .. } => &[],
        });
        let sides = does.chain(reduces).flat_map(|node| plan.graph.node(*node).side_inputs.iter().map(|side| side.from));
        for id in reads.chain(sides).collect::<BTreeSet<_>>() {
            note(plan, id, After::Mscr(mscr.id), &mut found);
        }
    }
    for operate in &plan.operates {
        for id in plan.graph.node(operate.node).reads().collect::<BTreeSet<_>>() {
            note(plan, id, After::Operate(operate.node), &mut found);
        }
    }
    found
}

/// A source that is not stored is read in place, and then its paths are read.
fn note(plan: &Plan, id: CollectionId, reader: After, found: &mut BTreeMap<CollectionId, BTreeSet<After>>) {
    let mut open = vec![id];
    while let Some(next) = open.pop() {
        for leaf in plan.graph.leaves(next) {
            // The stage that stores a source is listed as its reader: harmless, as it ends before the others.
            if let Some(readers) = found.get_mut(&leaf) {
                readers.insert(reader);
            }
            open.extend(&plan.graph.producer(leaf).inputs.iter().copied().filter(|_| is_source(plan, leaf)).collect::<Vec<_>>());
        }
    }
}

fn is_source(plan: &Plan, id: CollectionId) -> bool {
    matches!(plan.graph.producer(id).op, crate::Op::Read(_))
}
