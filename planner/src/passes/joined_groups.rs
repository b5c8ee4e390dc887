//! A join of a join on the same key is one join of all its sides: one shuffle instead of two. So are joins and coGroups of what is
//! grouped by the same key already.
//!
//! Where the inner join would have to make up missing sides before the outer one sees them, both stay.

mod regrouped;

use plan::{Do, Graph, Group, JoinKind, NodeId, OnError, Op};

use super::{
    Context, Log,
    facts::{leading, width},
    legs::{Join, all_untags, untags},
    splice::{self, Readers},
};

pub(super) fn run(graph: &mut Graph, context: &Context<'_>, log: &mut Log) {
    for untag in untags(graph) {
        // Each merge may bring another inner join within reach.
        while merge_one(graph, untag, log) {}
    }
    for untag in all_untags(graph) {
        regrouped::merge(graph, context, untag, log);
    }
}

fn merge_one(graph: &mut Graph, untag: NodeId, log: &mut Log) -> bool {
    let readers = Readers::of(graph);
    let Some(outer) = Join::at(graph, &readers, graph.node(untag)) else { return false };
    for leg in 0..outer.tags.len() {
        let input = outer.input(graph, leg);
        let producer = graph.producer(input);
        let (step, inner_step) = (graph.node(untag).step.clone(), producer.step.clone());
        if !matches!(producer.op, Op::ParallelDo(Do::UntagJoin { .. })) {
            continue;
        }
        let Some(inner) = Join::at(graph, &readers, producer) else { continue };
        let obstacle = if readers.sole(graph, input) == Some(outer.tags[leg]) {
            obstacle(graph, &outer, &inner, leg)
        } else {
            Some("its result is needed elsewhere too")
        };
        match obstacle {
            Some(why) => log.declined(&step, format!("not one shuffle with the join `{inner_step}`: {why}")),
            None => {
                log.did(&step, format!("joins the sides of the join `{inner_step}` itself: same key, one shuffle"));
                merge(graph, &outer, &inner, leg);
                return true;
            }
        }
    }
    false
}

fn obstacle(graph: &Graph, outer: &Join, inner: &Join, leg: usize) -> Option<&'static str> {
    let (over, under) = (graph.node(outer.untag), graph.node(inner.untag));
    let key = outer.key(graph, leg);
    let known = |join: &Join| join.widths.iter().all(Option::is_some);
    let fits = match (outer.kind, inner.kind) {
        (JoinKind::Inner, JoinKind::Inner) => true,
        (JoinKind::Left, JoinKind::Left) => leg == 0,
        (JoinKind::Right, JoinKind::Right) => leg + 1 == outer.tags.len(),
        (JoinKind::Full, JoinKind::Full) => known(outer) && known(inner),
        _ => false,
    };
    if !leading(&key) || key.len() != inner.key(graph, 0).len() {
        Some("the keys differ")
    } else if !fits {
        Some("missing sides of one would be filled in before the other")
    } else if graph.node(inner.group).partitions.is_some() {
        Some("its result is to have its own partitions")
    } else if over.broadcast != under.broadcast {
        Some("the two differ in `broadcast`")
    } else if over.on_error != OnError::Fail || under.on_error != OnError::Fail || !under.deterministic {
        Some("it sets bad rows aside, or is not deterministic")
    } else {
        None
    }
}

/// The legs of the inner join take the place of the leg that it was.
fn merge(graph: &mut Graph, outer: &Join, inner: &Join, leg: usize) {
    let splice_in = |all: &[NodeId]| [&all[..leg], &inner.tags, &all[leg + 1..]].concat();
    let tags = splice_in(&outer.tags);
    let widths = [&outer.widths[..leg], &inner.widths, &outer.widths[leg + 1..]].concat();
    let legs = width(tags.len());
    for (tag, number) in tags.iter().zip(0..) {
        if let Some(Op::ParallelDo(Do::Tag { leg, .. })) = graph.nodes.get_mut(tag).map(|node| &mut node.op) {
            *leg = number;
        }
    }
    let inputs = tags.iter().map(|tag| graph.node(*tag).outputs[0]).collect();
    if let Some(union) = graph.nodes.get_mut(&outer.union) {
        union.inputs = inputs;
    }
    if let Some(group) = graph.nodes.get_mut(&outer.group) {
        group.op = Op::Group(Group::ByLeg { legs });
    }
    if let Some(untag) = graph.nodes.get_mut(&outer.untag) {
        untag.op = Op::ParallelDo(Do::UntagJoin { kind: outer.kind, legs, widths });
    }
    splice::remove(graph, [outer.tags[leg], inner.union, inner.group, inner.untag]);
}
