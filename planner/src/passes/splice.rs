//! Small edits of a graph that several passes make.

use std::collections::{BTreeMap, BTreeSet};

use plan::{CollectionId, Graph, Node, NodeId, Op};

/// Main and side readers of each collection, once per edge.
#[derive(Debug)]
pub(super) struct Readers {
    pub(super) main: BTreeMap<CollectionId, Vec<NodeId>>,
    pub(super) side: BTreeMap<CollectionId, Vec<NodeId>>,
}

impl Readers {
    pub(super) fn of(graph: &Graph) -> Self {
        Self { main: graph.consumers(), side: graph.side_consumers() }
    }

    /// The readers of some collections.
    pub(super) fn only(graph: &Graph, wanted: &BTreeSet<CollectionId>) -> Self {
        let mut found = Self { main: BTreeMap::new(), side: BTreeMap::new() };
        for node in graph.nodes.values() {
            for input in node.inputs.iter().filter(|input| wanted.contains(input)) {
                found.main.entry(*input).or_default().push(node.id);
            }
            for side in node.side_inputs.iter().filter(|side| wanted.contains(&side.from)) {
                found.side.entry(side.from).or_default().push(node.id);
            }
        }
        found
    }

    pub(super) fn main(&self, id: CollectionId) -> &[NodeId] {
        self.main.get(&id).map_or(&[], Vec::as_slice)
    }

    pub(super) fn side(&self, id: CollectionId) -> &[NodeId] {
        self.side.get(&id).map_or(&[], Vec::as_slice)
    }

    /// The one reader of a collection that nothing else needs and that is not persisted.
    pub(super) fn sole(&self, graph: &Graph, id: CollectionId) -> Option<NodeId> {
        match self.main(id) {
            [one] if self.side(id).is_empty() && !graph.collection(id).persist => Some(*one),
            _ => None,
        }
    }
}

/// Makes every reader of a key read its value instead.
pub(super) fn substitute(graph: &mut Graph, with: &BTreeMap<CollectionId, CollectionId>) {
    if with.is_empty() {
        return;
    }
    for node in graph.nodes.values_mut() {
        let sides = node.side_inputs.iter_mut().map(|side| &mut side.from);
        for id in node.inputs.iter_mut().chain(sides) {
            if let Some(other) = with.get(id) {
                *id = *other;
            }
        }
    }
}

/// Removes nodes with what they make.
pub(super) fn remove(graph: &mut Graph, nodes: impl IntoIterator<Item = NodeId>) {
    for id in nodes {
        for made in graph.nodes.remove(&id).map(|node| node.outputs).unwrap_or_default() {
            graph.collections.remove(&made);
        }
    }
}

/// Takes a node with one input and one output out of its place: its readers read its input.
pub(super) fn bypass(graph: &mut Graph, id: NodeId) {
    let node = graph.node(id);
    if let ([input], [output]) = (node.inputs.as_slice(), node.outputs.as_slice()) {
        let with = BTreeMap::from([(*output, *input)]);
        substitute(graph, &with);
        remove(graph, [id]);
    }
}

/// What the user calls a node.
pub(super) fn step_of(graph: &Graph, id: NodeId) -> &str {
    &graph.node(id).step
}

/// Flattens with nothing that reads them any more, among the given ones.
pub(super) fn drop_unread_views(graph: &mut Graph, mut candidates: Vec<NodeId>) {
    if candidates.is_empty() {
        return;
    }
    let mut left: BTreeMap<CollectionId, usize> = BTreeMap::new();
    for read in graph.nodes.values().flat_map(Node::reads) {
        *left.entry(read).or_default() += 1;
    }
    while let Some(id) = candidates.pop() {
        let Some(node) = graph.nodes.get(&id) else { continue };
        if !matches!(node.op, Op::Flatten { .. }) || !is_unread(graph, node, &left) {
            continue;
        }
        for input in node.inputs.clone() {
            if let Some(count) = left.get_mut(&input) {
                *count -= 1;
            }
            candidates.push(graph.collection(input).producer);
        }
        remove(graph, [id]);
    }
}

fn is_unread(graph: &Graph, node: &Node, left: &BTreeMap<CollectionId, usize>) -> bool {
    node.outputs.iter().all(|made| left.get(made).is_none_or(|count| *count == 0) && !graph.collection(*made).persist)
}
