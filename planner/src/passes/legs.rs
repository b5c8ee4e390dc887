//! A join as it stands in the graph: tags, their union, the group of legs, the untag.

use plan::{CollectionId, Do, Graph, Group, JoinKind, Node, NodeId, Op};

use super::splice::Readers;

/// The parts of one join.
#[derive(Debug)]
pub(super) struct Join {
    pub(super) untag: NodeId,
    pub(super) group: NodeId,
    pub(super) union: NodeId,
    /// By leg.
    pub(super) tags: Vec<NodeId>,
    pub(super) kind: JoinKind,
    pub(super) widths: Vec<Option<u32>>,
}

impl Join {
    /// The join that ends in a node; `None` where it is no join, or parts of it are read by others.
    pub(super) fn at(graph: &Graph, readers: &Readers, untag: &Node) -> Option<Self> {
        let Op::ParallelDo(Do::UntagJoin { kind, widths, .. }) = &untag.op else { return None };
        let Shuffle { untag, group, union, tags } = Shuffle::at(graph, readers, untag)?;
        Some(Self { untag, group, union, tags, kind: *kind, widths: widths.clone() })
    }

    /// The rows of a leg, not yet tagged.
    pub(super) fn input(&self, graph: &Graph, leg: usize) -> CollectionId {
        graph.node(self.tags[leg]).inputs[0]
    }

    /// The key columns of a leg.
    pub(super) fn key(&self, graph: &Graph, leg: usize) -> Vec<u32> {
        key_of(graph, self.tags[leg])
    }

    /// The leg of which every row is in the result; `None` where there are several (full) or none (inner).
    pub(super) fn preserved(&self) -> Option<usize> {
        match self.kind {
            JoinKind::Left => Some(0),
            JoinKind::Right => Some(self.tags.len() - 1),
            JoinKind::Inner | JoinKind::Full => None,
        }
    }
}

/// The parts of one join or coGroup.
#[derive(Debug)]
pub(super) struct Shuffle {
    pub(super) untag: NodeId,
    pub(super) group: NodeId,
    pub(super) union: NodeId,
    /// By leg.
    pub(super) tags: Vec<NodeId>,
}

impl Shuffle {
    /// The join or coGroup that ends in a node; `None` where it is none, or parts of it are read by others.
    pub(super) fn at(graph: &Graph, readers: &Readers, untag: &Node) -> Option<Self> {
        let Op::ParallelDo(Do::UntagJoin { legs, .. } | Do::UntagCoGroup { legs }) = &untag.op else { return None };
        let sole = |id: CollectionId, reader: NodeId| readers.sole(graph, id) == Some(reader);
        let grouped = untag.inputs[0];
        let group = graph.producer(grouped);
        let united = *group.inputs.first()?;
        let union = graph.producer(united);
        let is_shuffle = matches!(group.op, Op::Group(Group::ByLeg { .. })) && matches!(union.op, Op::Flatten { .. });
        if !is_shuffle || !sole(grouped, untag.id) || !sole(united, group.id) || union.inputs.len() != *legs as usize {
            return None;
        }
        let mut tags = vec![None; union.inputs.len()];
        for tagged in &union.inputs {
            let tag = graph.producer(*tagged);
            let Op::ParallelDo(Do::Tag { leg, .. }) = &tag.op else { return None };
            if !sole(*tagged, union.id) {
                return None;
            }
            *tags.get_mut(*leg as usize)? = Some(tag.id);
        }
        let tags = tags.into_iter().collect::<Option<Vec<_>>>()?;
        Some(Self { untag: untag.id, group: group.id, union: union.id, tags })
    }
}

/// The key columns of a leg, by its tag.
pub(super) fn key_of(graph: &Graph, tag: NodeId) -> Vec<u32> {
    match &graph.node(tag).op {
        Op::ParallelDo(Do::Tag { key, .. }) => key.clone(),
        _ => Vec::new(),
    }
}

/// The nodes of a graph that end a join, producers first.
pub(super) fn untags(graph: &Graph) -> Vec<NodeId> {
    ends(graph, |node| matches!(node.op, Op::ParallelDo(Do::UntagJoin { .. })))
}

/// The nodes of a graph that end a join or coGroup, producers first.
pub(super) fn all_untags(graph: &Graph) -> Vec<NodeId> {
    ends(graph, |node| matches!(node.op, Op::ParallelDo(Do::UntagJoin { .. } | Do::UntagCoGroup { .. })))
}

fn ends(graph: &Graph, is_untag: impl Fn(&Node) -> bool) -> Vec<NodeId> {
    if !graph.nodes.values().any(&is_untag) {
        return Vec::new();
    }
    let order = graph.topological().unwrap_or_default();
    order.into_iter().filter(|id| is_untag(graph.node(*id))).collect()
}
