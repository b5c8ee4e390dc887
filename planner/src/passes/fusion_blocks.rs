//! Between two groups, the smallest collection of each chain of ParallelDos is where one stage ends and the next begins.
//!
//! Only outputs of ParallelDos are candidates; sizes are compared along one chain, so only ratios matter; the earliest wins ties.

use std::collections::{BTreeMap, BTreeSet};

use plan::{CollectionId, Graph, NodeId, Op};

use super::{Log, splice::step_of};
use crate::{Draft, estimate};

pub(super) fn run(draft: &mut Draft, log: &mut Log) {
    let graph = &draft.graph;
    if graph.nodes.values().filter(|node| matches!(node.op, Op::Group(_))).nth(1).is_none() {
        // Nothing lies between two groups.
        draft.blocks.clear();
        return;
    }
    let view = View { consumers: graph.consumers(), inner: estimate::inner_nodes(graph), feeds: feeds(graph), graph };
    let groups = graph.nodes.values().filter(|node| matches!(node.op, Op::Group(_)));
    let blocks = groups.flat_map(|group| view.blocks_behind(group.id, log)).collect();
    draft.blocks = blocks;
}

struct View<'a> {
    graph: &'a Graph,
    consumers: BTreeMap<CollectionId, Vec<NodeId>>,
    inner: BTreeSet<NodeId>,
    /// A group that each collection goes into directly, or through unions.
    feeds: BTreeMap<CollectionId, NodeId>,
}

/// A collection on the way from the group, its size in units of the group's output, and what is still to be visited behind it.
struct Step {
    made: CollectionId,
    size: f64,
    next: Vec<CollectionId>,
}

impl View<'_> {
    /// Walks the tree of ParallelDos behind a group (each has one input, so it is a tree) and cuts every way to another group.
    fn blocks_behind(&self, group: NodeId, log: &mut Log) -> Vec<CollectionId> {
        let mut found = Vec::new();
        for root in &self.graph.node(group).outputs {
            if let Some(to) = self.feeds.get(root) {
                let (from, to) = (step_of(self.graph, group), step_of(self.graph, *to));
                log.declined(from, format!("nothing lies between its shuffle and that of `{to}`: the stage ends at its groups"));
            }
            let mut path = vec![Step { made: *root, size: 1.0, next: self.next(*root) }];
            while let Some(top) = path.last_mut() {
                let size = top.size;
                let Some(made) = top.next.pop() else {
                    path.pop();
                    continue;
                };
                let size = size * estimate::ratio(self.graph.producer(made), &self.inner);
                path.push(Step { made, size, next: self.next(made) });
                if self.graph.collection(made).persist {
                    let step = step_of(self.graph, self.graph.collection(made).producer);
                    log.declined(step, "its result is persisted, so a stage ends here anyway");
                    path.pop();
                } else if let Some(to) = self.feeds.get(&made) {
                    let at = smallest(&path);
                    self.tell(group, *to, &path[at], path.len() - 1, log);
                    found.push(path[at].made);
                    // What lies behind the block belongs to the later stage.
                    path.truncate(at);
                }
            }
        }
        found
    }

    /// What ParallelDos make of a collection, the first one last.
    fn next(&self, id: CollectionId) -> Vec<CollectionId> {
        if self.graph.collection(id).persist {
            return Vec::new();
        }
        let readers = self.consumers.get(&id).into_iter().flatten().map(|id| self.graph.node(*id));
        let made = readers.filter(|node| node.is_do()).flat_map(|node| node.outputs.iter().copied());
        let mut made: Vec<CollectionId> = made.collect();
        made.reverse();
        made
    }

    fn tell(&self, from: NodeId, to: NodeId, block: &Step, candidates: usize, log: &mut Log) {
        let step = step_of(self.graph, self.graph.collection(block.made).producer);
        let (from, to) = (step_of(self.graph, from), step_of(self.graph, to));
        let which = if candidates == 1 {
            "its result is the only one".into()
        } else {
            format!("of {candidates} results this is the smallest, or the first of such,")
        };
        log.did(step, format!("a stage ends here: {which} between the shuffles of `{from}` and `{to}`"));
    }
}

/// The place of the smallest collection; the group's own output at place 0 is no candidate.
fn smallest(path: &[Step]) -> usize {
    let mut best = 1;
    for (index, step) in path.iter().enumerate().skip(2) {
        if step.size < path[best].size {
            best = index;
        }
    }
    best
}

/// The first group, by id, that each collection feeds, through any number of unions.
fn feeds(graph: &Graph) -> BTreeMap<CollectionId, NodeId> {
    let mut found: BTreeMap<CollectionId, NodeId> = BTreeMap::new();
    let order = graph.topological().unwrap_or_default();
    for node in order.into_iter().rev().map(|id| graph.node(id)) {
        let group = match node.op {
            Op::Group(_) => Some(node.id),
            Op::Flatten { .. } => node.outputs.iter().find_map(|made| found.get(made).copied()),
            Op::Read(_) | Op::ParallelDo(_) | Op::Combine(_) | Op::Operate(_) => None,
        };
        // A persisted union is read again by the group's stage: it is a boundary already.
        let group = group.filter(|_| {
            !node.outputs.iter().any(|made| matches!(node.op, Op::Flatten { .. }) && graph.collection(*made).persist)
        });
        if let Some(group) = group {
            // Parts that a group reads one after the other are stored anyway.
            for input in node.inputs.iter().filter(|input| !graph.is_read_in_order(node, **input)) {
                let first = found.entry(*input).or_insert(group);
                *first = group.min(*first);
            }
        }
    }
    found
}
