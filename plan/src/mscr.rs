//! MSCRs: which nodes run in one map-shuffle-combine-reduce pass (FlumeJava, section 4.2), and the whole plan.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::schedule::Switch;
use crate::{CollectionId, Decision, Graph, MscrId, NodeId, Recipe};

/// A flow, planned: the graph after the passes, and the stages that run it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub graph: Graph,
    /// `spec.lua`: compiled before every function.
    pub prelude: String,
    /// In an order in which they may run one after the other.
    pub mscrs: Vec<Mscr>,
    pub operates: Vec<OperateStage>,
    /// Collections that are stored: read by another stage, an operate or as a side input, or persisted. Never a flatten's:
    /// it is a view of what it is made of.
    pub materialized: BTreeSet<CollectionId>,
    /// What later runs may reuse: persisted collections that are stored in the cache as soon as they are whole, if there is one.
    #[serde(default)]
    pub keep: BTreeMap<CollectionId, Recipe>,
    /// Shuffled joins that may switch to a broadcast when their sides are measured.
    #[serde(default)]
    pub switches: Vec<Switch>,
    pub operations: Operations,
    pub decisions: Vec<Decision>,
    /// How each function runs, in the order of the flow.
    pub functions: Vec<FunctionTier>,
}

/// How the function of a step runs, and why not faster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionTier {
    pub step: String,
    pub tier: Tier,
    /// For people.
    pub reason: String,
}

/// How a function runs; all ways give the same rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Tier {
    /// As native code.
    Native,
    /// In LuaJIT, many rows at a time.
    Batched,
    /// In LuaJIT, one call for each row or pair of rows.
    PerRow,
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Tier::Native => "native",
            Tier::Batched => "batched",
            Tier::PerRow => "per row",
        })
    }
}

/// One stage: mappers over input channels, shuffles into output channels, reducers behind them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mscr {
    pub id: MscrId,
    /// The stages and operates whose results it waits for.
    pub after: Vec<After>,
    pub inputs: Vec<InputChannel>,
    pub outputs: Vec<OutputChannel>,
}

impl Mscr {
    /// Whether it does nothing but store sources that others need whole (side inputs, lists of paths) or persisted: no
    /// operation of the flow runs in it.
    #[must_use]
    pub fn is_load(&self) -> bool {
        let grouped = self.outputs.iter().any(|output| matches!(output, OutputChannel::Group { .. }));
        !grouped && self.inputs.iter().all(|channel| channel.does.is_empty())
    }
}

/// What a stage waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum After {
    Mscr(MscrId),
    Operate(NodeId),
}

/// One pass over some collections.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InputChannel {
    /// Collections that exist before the stage, one per channel today; no other channel of the stage reads them.
    ///
    /// - a materialized collection, or an operate's output: read from where it is stored;
    /// - a read node's output that is not materialized: the channel runs the read;
    /// - a read node's output that is materialized: the channel runs the read if this stage has it as a pass output
    ///   (and stores it on the way); any other stage comes later and reads what was stored;
    /// - a flatten's output (one that did not sink): what it is made of, in order, each as above.
    pub reads: Vec<CollectionId>,
    /// The mapper: ParallelDo nodes in topological order; each reads one of `reads` or an output of an earlier one. Empty: identity.
    pub does: Vec<NodeId>,
}

/// One result of a stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum OutputChannel {
    Group {
        /// A group node.
        group: NodeId,
        /// Combine nodes that run before the shuffle (and again behind it); more than one: packed.
        combine: Vec<NodeId>,
        /// ParallelDo and combine nodes fused behind the group, in topological order.
        reduce: Vec<NodeId>,
        /// Indices of the input channels that feed it.
        from: Vec<usize>,
    },
    /// A mapper's collection that is needed outside this stage's groups, or a mapper's write. What reducers make and write
    /// is not listed: their stored collections are those in [`Plan::materialized`].
    Pass { what: Pass },
}

/// What a pass-through channel keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pass {
    Collection(CollectionId),
    Write(NodeId),
}

/// An `operate`: run once, outside every MSCR.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OperateStage {
    pub node: NodeId,
    pub after: Vec<After>,
}

/// How many ParallelDos, groups and combines there are (writes among them; reads, flattens and operates not).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operations {
    pub initial: u32,
    pub sunk: u32,
    pub fused: u32,
}
