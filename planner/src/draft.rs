//! A plan in the making: the graph, and what passes found out about it.

use std::collections::{BTreeMap, BTreeSet};

use plan::{CollectionId, Graph, Node, NodeId};

/// What passes rewrite. They never glue functions together; fusion is a note beside the graph.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Draft {
    pub graph: Graph,
    /// Combines that run before the shuffle, by their group.
    pub combines: BTreeMap<NodeId, Vec<NodeId>>,
    /// Fusion blocks: collections across which nothing fuses but a write.
    pub blocks: BTreeSet<CollectionId>,
    /// Fused ParallelDos: each node in one, to the first node of its fusion. A node without an entry is alone.
    pub fused: BTreeMap<NodeId, NodeId>,
}

impl Draft {
    /// A draft of which nothing is known yet.
    #[must_use]
    pub fn new(graph: Graph) -> Self {
        Self { graph, ..Self::default() }
    }

    /// The first node of the fusion that a node is in.
    #[must_use]
    pub fn fusion(&self, node: NodeId) -> NodeId {
        self.fused.get(&node).copied().unwrap_or(node)
    }

    /// The fused ParallelDos, by their first node; nodes in id order.
    #[must_use]
    pub fn fusions(&self) -> BTreeMap<NodeId, Vec<NodeId>> {
        let mut found: BTreeMap<NodeId, Vec<NodeId>> = BTreeMap::new();
        for node in self.graph.nodes.values().filter(|node| node.is_do()) {
            found.entry(self.fusion(node.id)).or_default().push(node.id);
        }
        found
    }

    /// How many operations there are when a fused ParallelDo counts once.
    #[must_use]
    pub fn operations(&self) -> u32 {
        let groups = self.graph.nodes.values().filter(|node| node.is_counted() && !node.is_do()).count();
        u32::try_from(groups + self.fusions().len()).unwrap_or(u32::MAX)
    }

    /// Makes a node a fusion of its own; those that read what it makes stay together per collection, with what is behind them.
    /// False where it is alone already.
    pub(crate) fn cut_off(&mut self, node: NodeId) -> bool {
        let head = self.fusion(node);
        let others: Vec<NodeId> = self.fused.iter().filter(|(_, of)| **of == head).map(|(id, _)| *id).collect();
        if others.len() < 2 {
            return false;
        }
        let mut roots: BTreeMap<CollectionId, NodeId> = BTreeMap::new();
        let mut of: BTreeMap<NodeId, NodeId> = BTreeMap::from([(node, node)]);
        // Ids are canonical: a producer comes before its readers.
        for other in others.into_iter().filter(|other| *other != node) {
            let input = self.graph.node(other).inputs[0];
            let producer = self.graph.collection(input).producer;
            let inherited = of.get(&producer).copied().filter(|_| producer != node);
            let head = inherited.unwrap_or_else(|| *roots.entry(input).or_insert(other));
            of.insert(other, head);
        }
        self.fused.extend(of);
        true
    }

    /// Whether `reader` may run in the same pass as the ParallelDo that makes its input. A write of a boundary
    /// collection is the boundary's materialization; across what is persisted nothing fuses.
    #[must_use]
    pub fn is_open(&self, between: CollectionId, reader: &Node) -> bool {
        let persisted = self.graph.collection(between).persist;
        !persisted && (reader.is_write() || !self.blocks.contains(&between))
    }
}
