//! What stages are built of: fused ParallelDos, groups, operates, and sources that must be stored. Unions are views and vanish.

use std::collections::{BTreeMap, BTreeSet};

use plan::{CollectionId, Graph, Node, NodeId, Op};

use crate::{Draft, passes, quotient::Quotient};

/// One thing that a stage can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// A fused ParallelDo, by its first node.
    Fusion(NodeId),
    Group(NodeId),
    Operate(NodeId),
    /// A source whose rows must be stored: a side input, read by an operate, or persisted.
    Load(CollectionId),
}

/// All units of a draft and how they hang together.
#[derive(Debug)]
pub(super) struct Units {
    pub(super) list: Vec<Unit>,
    pub(super) edges: Vec<(usize, usize, bool)>,
    /// How many shuffles lie before a unit; a group's own included. Groups of equal depth do not depend on each other.
    pub(super) depth: Vec<u32>,
    pub(super) fusions: BTreeMap<NodeId, Vec<NodeId>>,
    pub(super) loads: BTreeMap<CollectionId, usize>,
    of_node: BTreeMap<NodeId, usize>,
    load_nodes: BTreeMap<usize, NodeId>,
    roots: Vec<Option<CollectionId>>,
}

impl Units {
    pub(super) fn of(draft: &Draft) -> Self {
        let graph = &draft.graph;
        let fusions = draft.fusions();
        let mut units = Self {
            list: Vec::new(),
            edges: Vec::new(),
            depth: Vec::new(),
            loads: BTreeMap::new(),
            of_node: BTreeMap::new(),
            load_nodes: BTreeMap::new(),
            roots: Vec::new(),
            fusions,
        };
        for node in graph.nodes.values() {
            units.add(draft, node);
        }
        for id in sources_to_store(graph) {
            let unit = units.list.len();
            units.list.push(Unit::Load(id));
            units.loads.insert(id, unit);
            units.load_nodes.insert(unit, graph.collection(id).producer);
        }
        units.roots = units.list.iter().map(|unit| units.root_of(graph, *unit)).collect();
        units.connect(draft);
        units.measure();
        units
    }

    fn add(&mut self, draft: &Draft, node: &Node) {
        let unit = match node.op {
            Op::ParallelDo(_) | Op::Combine(_) => Unit::Fusion(draft.fusion(node.id)),
            Op::Group(_) => Unit::Group(node.id),
            Op::Operate(_) => Unit::Operate(node.id),
            Op::Read(_) | Op::Flatten { .. } => return,
        };
        let place = match unit {
            Unit::Fusion(head) if head != node.id => self.of_node.get(&head).copied(),
            Unit::Fusion(_) | Unit::Group(_) | Unit::Operate(_) | Unit::Load(_) => None,
        };
        let place = place.unwrap_or_else(|| {
            self.list.push(unit);
            self.list.len() - 1
        });
        self.of_node.insert(node.id, place);
    }

    /// The unit that makes a collection; `None` for sources that are not stored.
    pub(super) fn maker(&self, graph: &Graph, id: CollectionId) -> Option<usize> {
        self.of_node.get(&graph.collection(id).producer).or_else(|| self.loads.get(&id)).copied()
    }

    /// The unit that a ParallelDo, combine, group or operate is in.
    pub(super) fn of_node(&self, node: NodeId) -> Option<usize> {
        self.of_node.get(&node).copied()
    }

    /// A node that stands for a unit in the order of stages.
    pub(super) fn node(&self, unit: usize) -> NodeId {
        match self.list[unit] {
            Unit::Fusion(node) | Unit::Group(node) | Unit::Operate(node) => node,
            Unit::Load(_) => self.load_nodes[&unit],
        }
    }

    /// The collection that a fusion reads.
    pub(super) fn root(&self, unit: usize) -> Option<CollectionId> {
        self.roots[unit]
    }

    fn root_of(&self, graph: &Graph, unit: Unit) -> Option<CollectionId> {
        match unit {
            Unit::Fusion(head) => passes::root(graph, &self.fusions[&head]),
            Unit::Load(id) => Some(id),
            Unit::Group(_) | Unit::Operate(_) => None,
        }
    }

    pub(super) fn quotient(&self) -> Quotient {
        let mut quotient = Quotient::new(self.list.len());
        for (from, to, internal) in &self.edges {
            quotient.edge(*from, *to, *internal);
        }
        quotient
    }

    fn connect(&mut self, draft: &Draft) {
        let graph = &draft.graph;
        let mut edges = BTreeSet::new();
        for (unit, kind) in self.list.iter().enumerate() {
            match kind {
                Unit::Fusion(head) => {
                    if let Some(root) = self.root(unit) {
                        self.root_edges(graph, root, unit, &mut edges);
                    }
                    for side in self.fusions[head].iter().flat_map(|node| &graph.node(*node).side_inputs) {
                        self.whole(graph, side.from, unit, &mut edges);
                    }
                }
                Unit::Group(node) => {
                    for leaf in graph.feeding(*node) {
                        let fused = |maker: &Unit| match maker {
                            Unit::Fusion(_) => !draft.blocks.contains(&leaf),
                            Unit::Load(_) => true,
                            Unit::Group(_) | Unit::Operate(_) => false,
                        };
                        self.leaf(graph, (leaf, unit), fused, &mut edges);
                    }
                }
                Unit::Operate(node) => graph.node(*node).reads().for_each(|read| self.whole(graph, read, unit, &mut edges)),
                Unit::Load(id) => {
                    graph.producer(*id).inputs.iter().for_each(|path| self.whole(graph, *path, unit, &mut edges));
                }
            }
        }
        self.edges = edges.into_iter().collect();
    }

    /// A fusion runs behind a group in its stage, or reads along where a source is stored; it reads a union from its stored parts.
    fn root_edges(&self, graph: &Graph, root: CollectionId, unit: usize, edges: &mut BTreeSet<(usize, usize, bool)>) {
        let is_view = graph.is_view(root);
        for leaf in graph.leaves(root) {
            let fused = |maker: &Unit| !is_view && matches!(maker, Unit::Group(_) | Unit::Load(_));
            self.leaf(graph, (leaf, unit), fused, edges);
        }
    }

    /// Everything that must be done before a collection can be read as a whole.
    fn whole(&self, graph: &Graph, id: CollectionId, unit: usize, edges: &mut BTreeSet<(usize, usize, bool)>) {
        for leaf in graph.leaves(id) {
            self.leaf(graph, (leaf, unit), |_| false, edges);
        }
    }

    fn leaf(
        &self,
        graph: &Graph,
        (leaf, unit): (CollectionId, usize),
        fused: impl Fn(&Unit) -> bool,
        edges: &mut BTreeSet<(usize, usize, bool)>,
    ) {
        match self.maker(graph, leaf) {
            Some(maker) => {
                edges.insert((maker, unit, fused(&self.list[maker]) && !graph.collection(leaf).persist));
            }
            // A source that is read in place needs its paths.
            None => graph.producer(leaf).inputs.iter().for_each(|path| self.whole(graph, *path, unit, edges)),
        }
    }

    /// Depths, along the edges.
    fn measure(&mut self) {
        let count = self.list.len();
        let mut next: Vec<Vec<usize>> = vec![Vec::new(); count];
        let mut missing = vec![0_usize; count];
        for (from, to, _) in &self.edges {
            next[*from].push(*to);
            missing[*to] += 1;
        }
        self.depth = vec![0; count];
        let mut open: Vec<usize> = (0..count).filter(|unit| missing[*unit] == 0).collect();
        while let Some(unit) = open.pop() {
            self.depth[unit] += u32::from(matches!(self.list[unit], Unit::Group(_)));
            for to in &next[unit] {
                self.depth[*to] = self.depth[*to].max(self.depth[unit]);
                missing[*to] -= 1;
                if missing[*to] == 0 {
                    open.push(*to);
                }
            }
        }
    }
}

/// Sources that are read as a whole (side inputs, operates, lists of paths) or persisted.
fn sources_to_store(graph: &Graph) -> BTreeSet<CollectionId> {
    let is_read = |id: &CollectionId| matches!(graph.producer(*id).op, Op::Read(_));
    let mut found = BTreeSet::new();
    let mut read: BTreeSet<CollectionId> = BTreeSet::new();
    let mut whole: Vec<CollectionId> =
        graph.collections.values().filter(|collection| collection.persist).map(|collection| collection.id).collect();
    let mut in_place: Vec<CollectionId> = Vec::new();
    for node in graph.nodes.values() {
        whole.extend(node.side_inputs.iter().map(|side| side.from));
        match node.op {
            Op::Operate(_) => whole.extend(&node.inputs),
            Op::ParallelDo(_) | Op::Combine(_) | Op::Group(_) => in_place.extend(&node.inputs),
            Op::Read(_) | Op::Flatten { .. } => {}
        }
    }
    loop {
        let leaves = |ids: &mut Vec<CollectionId>| -> Vec<CollectionId> {
            ids.drain(..).collect::<BTreeSet<_>>().into_iter().flat_map(|id| graph.leaves(id)).filter(is_read).collect()
        };
        let stored = leaves(&mut whole);
        let used = leaves(&mut in_place);
        found.extend(&stored);
        for id in stored.into_iter().chain(used).filter(|id| read.insert(*id)).collect::<Vec<_>>() {
            whole.extend(&graph.producer(id).inputs);
        }
        if whole.is_empty() {
            return found;
        }
    }
}
