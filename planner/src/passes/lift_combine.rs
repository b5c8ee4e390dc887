//! A combine right behind its group also runs before the shuffle; several combines of one group run there together.
//!
//! The combine stays in place and is an ordinary ParallelDo from then on.

use plan::{CollectionId, Group, Node, NodeId, OnError, Op};

use super::{Log, splice::Readers};
use crate::Draft;

/// More combines than this are not packed: each holds its own partial result per key.
const MOST_PACKED: usize = 16;

/// Groups whose only reader is a combine.
pub(super) fn lift(draft: &mut Draft, log: &mut Log) {
    for (group, combines, others) in folded_groups(draft) {
        match (combines.as_slice(), others.as_slice()) {
            ([combine], []) => record(draft, group, vec![*combine], "sole consumer of its group", log),
            ([combine], [other, ..]) => {
                let step = draft.graph.node(*combine).step.clone();
                log.declined(&step, format!("not lifted: the group has a second consumer, `{other}`"));
            }
            (several, []) if packed(draft, group, several) => {}
            (several, []) => {
                for combine in several {
                    let step = &draft.graph.node(*combine).step;
                    log.declined(step, "not lifted alone: its group has several combines (see pack-combines)");
                }
            }
            (several, [other, ..]) => {
                for combine in several {
                    let step = &draft.graph.node(*combine).step;
                    log.declined(step, format!("not lifted: the group has another consumer, `{other}`"));
                }
            }
        }
    }
}

/// Groups whose only readers are several combines.
pub(super) fn pack(draft: &mut Draft, log: &mut Log) {
    for (group, combines, others) in folded_groups(draft) {
        if combines.len() < 2 {
            continue;
        }
        let first = draft.graph.node(combines[0]).step.clone();
        if let Some(other) = others.first() {
            log.declined(&first, format!("not packed: `{other}` reads the whole groups"));
        } else if combines.len() > MOST_PACKED {
            log.declined(&first, format!("not packed: {} combines of one group, more than {MOST_PACKED}", combines.len()));
        } else {
            let reason =
                format!("{} combines are all that reads the group: they run before the shuffle together", combines.len());
            record(draft, group, combines, &reason, log);
        }
    }
}

/// Every group by key with a combine behind it: its combines, and the steps of whatever else needs the groups.
fn folded_groups(draft: &Draft) -> Vec<(NodeId, Vec<NodeId>, Vec<String>)> {
    let graph = &draft.graph;
    let groups = || graph.nodes.values().filter(|node| matches!(node.op, Op::Group(Group::ByKey { .. })));
    let readers = Readers::only(graph, &groups().flat_map(|group| group.outputs.iter().copied()).collect());
    let parts = groups().map(|group| {
        let main = group.outputs.iter().flat_map(|made| readers.main(*made));
        let (combines, others): (Vec<&NodeId>, Vec<&NodeId>) = main.partition(|id| matches!(graph.node(**id).op, Op::Combine(_)));
        let sides = group.outputs.iter().flat_map(|made| readers.side(*made));
        let others = others.into_iter().chain(sides).map(|id| graph.node(*id).step.clone());
        (group.id, combines.into_iter().copied().collect::<Vec<_>>(), others.collect())
    });
    parts.filter(|(_, combines, _)| !combines.is_empty()).collect()
}

fn packed(draft: &Draft, group: NodeId, combines: &[NodeId]) -> bool {
    draft.combines.get(&group).is_some_and(|known| known == combines)
}

fn record(draft: &mut Draft, group: NodeId, combines: Vec<NodeId>, reason: &str, log: &mut Log) {
    let graph = &draft.graph;
    let node = graph.node(group);
    let obstacle = group_obstacle(node, |id| graph.collection(id).persist)
        .or_else(|| combines.iter().find_map(|id| combine_obstacle(graph.node(*id))));
    let step = graph.node(combines[0]).step.clone();
    match obstacle {
        Some(why) => log.declined(&step, format!("not lifted: {why}")),
        None => {
            log.did(&step, reason);
            draft.combines.insert(group, combines);
        }
    }
}

fn group_obstacle(group: &Node, persisted: impl Fn(CollectionId) -> bool) -> Option<&'static str> {
    match &group.op {
        Op::Group(Group::ByKey { order_by, .. }) if !order_by.is_empty() => Some("the group orders its items"),
        _ if group.outputs.iter().any(|made| persisted(*made)) => Some("the whole groups are persisted"),
        _ if group.on_error != OnError::Fail => Some("the group sets bad rows aside"),
        _ => None,
    }
}

fn combine_obstacle(combine: &Node) -> Option<&'static str> {
    if !combine.deterministic {
        Some("it is not deterministic")
    } else if combine.on_error != OnError::Fail {
        Some("rows that it sets aside would be partial results")
    } else if !combine.side_inputs.is_empty() {
        Some("it has side inputs, which would have to be there before the shuffle")
    } else {
        None
    }
}
