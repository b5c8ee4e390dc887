//! Walks over a graph: topological order, and views (unions) resolved to what is behind them. Iterative: any depth, any width.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap},
};

use crate::{CollectionId, Do, Fold, Graph, Group, Node, NodeId, Op};

impl Node {
    /// Every collection that must be there before this node can finish: main inputs and side inputs.
    pub fn reads(&self) -> impl Iterator<Item = CollectionId> + '_ {
        self.inputs.iter().copied().chain(self.side_inputs.iter().map(|side| side.from))
    }

    /// Whether it is a ParallelDo in FlumeJava's sense: a combine behind its group is one.
    #[must_use]
    pub fn is_do(&self) -> bool {
        matches!(self.op, Op::ParallelDo(_) | Op::Combine(_))
    }

    /// Whether only the group before it can do it, on the way: the untag of a join or coGroup, and every fold but a function.
    #[must_use]
    pub fn belongs_to_its_group(&self) -> bool {
        match &self.op {
            Op::ParallelDo(Do::UntagCoGroup { .. } | Do::UntagJoin { .. }) => true,
            Op::Combine(fold) => !matches!(fold, Fold::Lua(_)),
            Op::Read(_) | Op::ParallelDo(_) | Op::Flatten { .. } | Op::Group(_) | Op::Operate(_) => false,
        }
    }

    /// Whether it is a sink.
    #[must_use]
    pub fn is_write(&self) -> bool {
        matches!(self.op, Op::ParallelDo(Do::Write(_)))
    }

    /// Whether it counts as an operation (design, section 3): reads, unions and operates do not.
    #[must_use]
    pub fn is_counted(&self) -> bool {
        matches!(self.op, Op::ParallelDo(_) | Op::Combine(_) | Op::Group(_))
    }
}

impl Graph {
    /// All nodes, producers first, the smallest id first among those that are ready; `None` where there is a cycle.
    #[must_use]
    pub fn topological(&self) -> Option<Vec<NodeId>> {
        let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        let (starts, readers) = self.readers_by_place(&ids)?;
        let mut missing = vec![0_usize; ids.len()];
        readers.iter().for_each(|reader| missing[*reader] += 1);
        let mut ready: BinaryHeap<Reverse<usize>> = (0..ids.len()).filter(|place| missing[*place] == 0).map(Reverse).collect();
        let mut order = Vec::with_capacity(ids.len());
        while let Some(Reverse(place)) = ready.pop() {
            order.push(ids[place]);
            for reader in &readers[starts[place]..starts[place + 1]] {
                missing[*reader] -= 1;
                if missing[*reader] == 0 {
                    ready.push(Reverse(*reader));
                }
            }
        }
        (order.len() == ids.len()).then_some(order)
    }

    /// The readers of all nodes in one list, and where each node's begin in it; nodes by their place among all.
    fn readers_by_place(&self, ids: &[NodeId]) -> Option<(Vec<usize>, Vec<usize>)> {
        let mut edges: Vec<(usize, usize)> = Vec::with_capacity(ids.len());
        for (place, node) in self.nodes.values().enumerate() {
            for collection in node.reads().filter_map(|read| self.collections.get(&read)) {
                edges.push((ids.binary_search(&collection.producer).ok()?, place));
            }
        }
        let mut starts = vec![0; ids.len() + 1];
        edges.iter().for_each(|(producer, _)| starts[producer + 1] += 1);
        (0..ids.len()).for_each(|place| starts[place + 1] += starts[place]);
        let mut next = starts.clone();
        let mut readers = vec![0; edges.len()];
        for (producer, reader) in edges {
            readers[next[producer]] = reader;
            next[producer] += 1;
        }
        Some((starts, readers))
    }

    /// What makes a collection.
    #[must_use]
    pub fn producer(&self, id: CollectionId) -> &Node {
        self.node(self.collection(id).producer)
    }

    /// Whether a collection is only a view of others.
    #[must_use]
    pub fn is_view(&self, id: CollectionId) -> bool {
        matches!(self.producer(id).op, Op::Flatten { .. })
    }

    /// The collections that a view is made of, through all unions, each once, in first-seen order; of any other collection, itself.
    #[must_use]
    pub fn leaves(&self, id: CollectionId) -> Vec<CollectionId> {
        if !self.is_view(id) {
            return vec![id];
        }
        let mut found = Vec::new();
        let mut seen = BTreeSet::new();
        let mut open = vec![id];
        while let Some(next) = open.pop() {
            if !seen.insert(next) {
                continue;
            }
            let producer = self.producer(next);
            match producer.op {
                Op::Flatten { .. } => open.extend(producer.inputs.iter().rev()),
                Op::Read(_) | Op::ParallelDo(_) | Op::Group(_) | Op::Combine(_) | Op::Operate(_) => found.push(next),
            }
        }
        found
    }

    /// The collections whose rows a group's map tasks bring to it: what its inputs are made of or, where the order of the rows decides what
    /// comes out, those inputs themselves, each read as a whole. (Of parts that are made in passes of their own, rows come as they are made.)
    #[must_use]
    pub fn feeding(&self, group: NodeId) -> Vec<CollectionId> {
        let group = self.node(group);
        group
            .inputs
            .iter()
            .flat_map(|input| if self.is_read_in_order(group, *input) { vec![*input] } else { self.leaves(*input) })
            .collect()
    }

    /// Whether a node is a group that needs the rows of a union one part after the other, and would not get them so. Ids are canonical.
    #[must_use]
    pub fn is_read_in_order(&self, node: &Node, input: CollectionId) -> bool {
        let producer = self.producer(input);
        matches!(node.op, Op::Group(Group::Gather | Group::Limit { .. }))
            && matches!(producer.op, Op::Flatten { ordered: true })
            && !self.come_in_order(&producer.inputs)
    }

    /// Whether collections are read one after the other if each is read by itself: passes of a stage go by what they read.
    fn come_in_order(&self, parts: &[CollectionId]) -> bool {
        let is_read_alone = |part: &CollectionId| matches!(self.producer(*part).op, Op::Read(_) | Op::Group(_));
        parts.is_sorted_by(|a, b| a < b) && parts.iter().all(is_read_alone)
    }

    /// How many operations there are, as the plan counts them.
    #[must_use]
    pub fn operations(&self) -> u32 {
        u32::try_from(self.nodes.values().filter(|node| node.is_counted()).count()).unwrap_or(u32::MAX)
    }
}
