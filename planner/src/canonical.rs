//! Ids that do not depend on the order in which steps stand in the file: plans are byte-identical however independent steps are shuffled.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

use plan::{Collection, CollectionId, Do, Graph, Node, NodeId, Op};

/// What orders nodes that are ready at the same time. The old id comes last: it decides only between equal copies.
type Rank<'g> = (&'g str, u8, u32, Vec<u32>, NodeId);

/// The same graph with nodes numbered producers first, then by step; collections by their producer. A graph with a cycle stays as it is.
#[must_use]
pub fn canonical(graph: Graph) -> Graph {
    let mut numbering = Numbering::of(&graph);
    while let Some(Reverse(rank)) = numbering.ready.pop() {
        numbering.take(rank.4);
    }
    let Numbering { nodes, collections, .. } = numbering;
    if nodes.len() == graph.nodes.len() { Renumbering { nodes, collections }.renumber(graph) } else { graph }
}

struct Numbering<'g> {
    graph: &'g Graph,
    nodes: BTreeMap<NodeId, NodeId>,
    collections: BTreeMap<CollectionId, CollectionId>,
    /// How many inputs of each node have no number yet, in the order of old ids.
    missing: Vec<(&'g Node, usize)>,
    /// Collections with the places in `missing` of their readers, sorted.
    readers: Vec<(CollectionId, usize)>,
    ready: BinaryHeap<Reverse<Rank<'g>>>,
}

impl<'g> Numbering<'g> {
    fn of(graph: &'g Graph) -> Self {
        let missing: Vec<(&Node, usize)> = graph.nodes.values().map(|node| (node, node.reads().count())).collect();
        let edges = missing.iter().enumerate().flat_map(|(place, (node, _))| node.reads().map(move |read| (read, place)));
        let mut readers: Vec<(CollectionId, usize)> = edges.collect();
        readers.sort_unstable();
        let (nodes, collections, ready) = (BTreeMap::new(), BTreeMap::new(), BinaryHeap::new());
        let mut numbering = Self { graph, nodes, collections, missing, readers, ready };
        for node in graph.nodes.values().filter(|node| node.reads().next().is_none()) {
            numbering.ready.push(Reverse(numbering.rank(node)));
        }
        numbering
    }

    fn rank(&self, node: &'g Node) -> Rank<'g> {
        let (kind, leg) = kind(&node.op);
        let reads = node.reads().filter_map(|read| self.collections.get(&read)).map(|id| id.0).collect();
        (node.step.as_str(), kind, leg, reads, node.id)
    }

    fn take(&mut self, id: NodeId) {
        let number = count(self.nodes.len());
        self.nodes.insert(id, NodeId(number));
        let outputs = &self.graph.node(id).outputs;
        for made in outputs {
            let number = count(self.collections.len());
            self.collections.insert(*made, CollectionId(number));
        }
        for made in outputs {
            let first = self.readers.partition_point(|(read, _)| read < made);
            let edges = self.readers[first..].iter().take_while(|(read, _)| read == made);
            for place in edges.map(|(_, place)| *place).collect::<Vec<_>>() {
                let (node, missing) = &mut self.missing[place];
                *missing -= 1;
                if let (node, 0) = (*node, *missing) {
                    self.ready.push(Reverse(self.rank(node)));
                }
            }
        }
    }
}

/// The new ids by the old ones.
struct Renumbering {
    nodes: BTreeMap<NodeId, NodeId>,
    collections: BTreeMap<CollectionId, CollectionId>,
}

impl Renumbering {
    fn renumber(&self, graph: Graph) -> Graph {
        let nodes = graph.nodes.into_values().map(|node| self.node(node)).map(|node| (node.id, node)).collect();
        let collections = graph.collections.into_values().map(|one| self.collection(one)).map(|one| (one.id, one)).collect();
        Graph { nodes, collections }
    }

    fn node(&self, mut node: Node) -> Node {
        node.id = self.nodes[&node.id];
        node.inputs.iter_mut().chain(&mut node.outputs).for_each(|id| *id = self.collections[id]);
        node.side_inputs.iter_mut().for_each(|side| side.from = self.collections[&side.from]);
        node
    }

    fn collection(&self, mut collection: Collection) -> Collection {
        collection.id = self.collections[&collection.id];
        collection.producer = self.nodes[&collection.producer];
        collection
    }
}

/// The place of a node among those of its step.
fn kind(op: &Op) -> (u8, u32) {
    match op {
        Op::Read(_) => (0, 0),
        Op::ParallelDo(Do::Tag { leg, .. }) => (1, *leg),
        Op::ParallelDo(Do::UntagCoGroup { .. } | Do::UntagJoin { .. }) => (6, 0),
        Op::ParallelDo(_) => (2, 0),
        Op::Flatten { .. } => (3, 0),
        Op::Group(_) => (4, 0),
        Op::Combine(_) => (5, 0),
        Op::Operate(_) => (7, 0),
    }
}

/// Ids are 32 bits wide; a graph that does not fit has long been refused.
fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
