//! The deferred graph: nodes and the collections between them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{CollectionId, NodeId, Op};

/// A flow as a DAG of elementary operations. Ordered maps, so that every walk is in the same order every time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Graph {
    pub nodes: BTreeMap<NodeId, Node>,
    pub collections: BTreeMap<CollectionId, Collection>,
}

/// An elementary operation with its edges.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    pub id: NodeId,
    /// The user's step; nodes of one expanded operator and copies of one node share it.
    pub step: String,
    pub op: Op,
    /// Main inputs, in order. The same collection may stand twice (`union` of a step with itself doubles its rows).
    pub inputs: Vec<CollectionId>,
    pub side_inputs: Vec<SideInput>,
    pub outputs: Vec<CollectionId>,
    /// Whether running it again on the same rows gives the same rows.
    pub deterministic: bool,
    /// `partitions` of the step: exact where given.
    pub partitions: Option<u32>,
    /// `hints.sizeRatio`: output bytes to input bytes.
    pub size_ratio: Option<f64>,
    /// `hints.memory` in bytes.
    pub memory: Option<u64>,
    /// `broadcast` of a join, on its tag and untag nodes: `Some(true)` always, `Some(false)` never, `None` auto.
    pub broadcast: Option<bool>,
    pub on_error: OnError,
}

/// A small input that is whole before the first row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SideInput {
    /// The Lua global.
    pub name: String,
    pub from: CollectionId,
    pub shape: SideShape,
}

/// How a side input looks in Lua.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SideShape {
    Value,
    List,
    Map,
}

/// What happens to a row that a step cannot handle.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnError {
    /// The flow fails.
    #[default]
    Fail,
    /// The row is dropped and counted.
    Skip,
    /// The row, unchanged, goes to the node's last output, and is counted.
    DeadLetter,
}

/// What one node puts out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Collection {
    pub id: CollectionId,
    /// The step's name, `step.output` for a parallelDo, `step.onError` for dead letters.
    pub name: String,
    pub producer: NodeId,
    /// Names of the fields, where known.
    pub fields: Option<Vec<String>>,
    /// Whether the order of its rows means something (behind a sort, in an ordered union).
    pub ordered: bool,
    /// `persist`: materialized; nothing fuses across it.
    pub persist: bool,
    /// Estimated bytes, filled in from sources' sizes and ratios; `None` where nothing is known.
    pub bytes: Option<u64>,
}

impl Graph {
    /// The node of an id that came from this graph.
    #[must_use]
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[&id]
    }

    /// The collection of an id that came from this graph.
    #[must_use]
    pub fn collection(&self, id: CollectionId) -> &Collection {
        &self.collections[&id]
    }

    /// Nodes that read each collection as a main input, once per edge, in id order.
    #[must_use]
    pub fn consumers(&self) -> BTreeMap<CollectionId, Vec<NodeId>> {
        self.edges(|node| node.inputs.clone())
    }

    /// Nodes that read each collection as a side input, once per edge, in id order.
    #[must_use]
    pub fn side_consumers(&self) -> BTreeMap<CollectionId, Vec<NodeId>> {
        self.edges(|node| node.side_inputs.iter().map(|side| side.from).collect())
    }

    fn edges(&self, inputs: impl Fn(&Node) -> Vec<CollectionId>) -> BTreeMap<CollectionId, Vec<NodeId>> {
        let mut found: BTreeMap<CollectionId, Vec<NodeId>> = BTreeMap::new();
        for node in self.nodes.values() {
            for input in inputs(node) {
                found.entry(input).or_default().push(node.id);
            }
        }
        found
    }

    /// An id that no node has.
    #[must_use]
    pub fn fresh_node(&self) -> NodeId {
        NodeId(self.nodes.keys().next_back().map_or(0, |id| id.0 + 1))
    }

    /// An id that no collection has.
    #[must_use]
    pub fn fresh_collection(&self) -> CollectionId {
        CollectionId(self.collections.keys().next_back().map_or(0, |id| id.0 + 1))
    }
}
