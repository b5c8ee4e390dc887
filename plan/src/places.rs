//! Where each operation of a plan is drawn, and the arrows between them.

use std::collections::BTreeMap;

use crate::{MscrId, NodeId, OutputChannel, Plan};

/// An arrow of a drawing.
#[derive(Debug)]
pub(crate) struct Edge {
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    pub(crate) side: bool,
    /// Whether the rows on it are stored between stages.
    pub(crate) kept: bool,
}

/// Nodes by their stage; sources, unions and operates are outside all stages.
pub(crate) fn places(plan: &Plan) -> BTreeMap<Option<MscrId>, Vec<NodeId>> {
    let mut stage: BTreeMap<NodeId, MscrId> = BTreeMap::new();
    for mscr in &plan.mscrs {
        stage.extend(mscr.inputs.iter().flat_map(|channel| &channel.does).map(|node| (*node, mscr.id)));
        for output in &mscr.outputs {
            if let OutputChannel::Group { group, reduce, .. } = output {
                stage.extend([group].into_iter().chain(reduce).map(|node| (*node, mscr.id)));
            }
        }
    }
    let mut places: BTreeMap<Option<MscrId>, Vec<NodeId>> = BTreeMap::new();
    for node in plan.graph.nodes.keys() {
        places.entry(stage.get(node).copied()).or_default().push(*node);
    }
    places
}

/// All arrows, by the node they lead to.
pub(crate) fn edges(plan: &Plan) -> Vec<Edge> {
    let nodes = plan.graph.nodes.values();
    let all = nodes.flat_map(|node| {
        let main = node.inputs.iter().map(|id| (*id, false));
        let sides = node.side_inputs.iter().map(|side| (side.from, true));
        main.chain(sides).map(|(id, side)| Edge {
            from: plan.graph.collection(id).producer,
            to: node.id,
            side,
            kept: plan.materialized.contains(&id),
        })
    });
    all.collect()
}
