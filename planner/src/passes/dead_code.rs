//! What nobody can see is not run: no path to a sink, an operate or a persisted collection, and nothing indeterminate about it.

use std::collections::BTreeSet;

use plan::{Graph, Node, NodeId, Op};

use super::{Log, splice};

pub(super) fn run(graph: &mut Graph, log: &mut Log) {
    let mut live: BTreeSet<NodeId> = BTreeSet::new();
    let mut open: Vec<NodeId> = graph.nodes.values().filter(|node| is_seen(graph, node)).map(|node| node.id).collect();
    while let Some(id) = open.pop() {
        if live.insert(id) {
            open.extend(graph.node(id).reads().map(|read| graph.collection(read).producer));
        }
    }
    let dead: Vec<NodeId> = graph.nodes.keys().copied().filter(|id| !live.contains(id)).collect();
    for id in &dead {
        log.did(splice::step_of(graph, *id), "dropped: nobody reads what it makes, and it writes nothing");
    }
    splice::remove(graph, dead);
    tell_kept(graph, log);
}

/// Whether a node must run even if nobody reads what it makes.
fn is_seen(graph: &Graph, node: &Node) -> bool {
    let persisted = node.outputs.iter().any(|made| graph.collection(*made).persist);
    node.is_write() || matches!(node.op, Op::Operate(_)) || persisted || !node.deterministic
}

fn tell_kept(graph: &Graph, log: &mut Log) {
    let read: BTreeSet<_> = graph.nodes.values().flat_map(Node::reads).collect();
    for node in graph.nodes.values() {
        let unread = !node.outputs.is_empty() && node.outputs.iter().all(|made| !read.contains(made));
        if unread && !node.deterministic && !matches!(node.op, Op::Operate(_)) {
            log.declined(
                &node.step,
                "kept though nobody reads what it makes: it is not deterministic and may be run for its effects",
            );
        }
    }
}
