//! From a draft to stages: which fused ParallelDos and groups run in one map-shuffle-combine-reduce pass.
//!
//! 1. groups of equal shuffle depth that share an input, or inputs made by one fused ParallelDo, are one stage;
//! 2. a fused ParallelDo that feeds a stage's group joins it as a mapper (the earliest one, where there are several);
//! 3. one that reads a group joins that group's stage as its reducer;
//! 4. what else reads a collection that a stage reads anyway goes along in that pass;
//! 5. everything left is a stage of its own.
//!
//! Every joining is tried on the graph of stages first, which must stay without cycles.

mod channels;
mod joining;
mod units;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
};

use plan::{After, CollectionId, Decision, Mscr, MscrId, NodeId, Op, OperateStage};

use crate::{Draft, Options, quotient::Quotient};
use channels::Parts;
use joining::Joined;
use units::{Unit, Units};

/// Names what is decided while stages are built and no pass can be switched off for.
const STAGES: &str = "stages";

/// A draft with its stages.
#[derive(Debug)]
pub(crate) struct Built {
    /// As it came, but for fusions that had to be cut.
    pub(crate) draft: Draft,
    pub(crate) stages: Stages,
}

/// The stages of a draft.
#[derive(Debug)]
pub(crate) struct Stages {
    pub(crate) mscrs: Vec<Mscr>,
    pub(crate) operates: Vec<OperateStage>,
    pub(crate) materialized: BTreeSet<CollectionId>,
    pub(crate) decisions: Vec<Decision>,
}

/// Builds the stages of a draft whose ids are canonical.
pub(crate) fn build(draft: Draft, options: &Options) -> Built {
    let (draft, units, Joined { quotient, decisions }) = joined(draft, options);
    let blocks: BTreeSet<usize> = (0..units.list.len()).map(|unit| quotient.block(unit)).collect();
    let order = in_order(&units, &quotient, &blocks);
    let parts: BTreeMap<usize, Parts> =
        order.iter().map(|block| (*block, channels::parts(&draft, &units, &quotient, *block))).collect();
    let materialized = channels::stored(&draft, &units, parts.values());
    let mut stages = Stages { mscrs: Vec::new(), operates: Vec::new(), materialized, decisions };
    let mut known: BTreeMap<usize, (After, BTreeSet<After>)> = BTreeMap::new();
    let (mut others, mut loads) = (0, 0);
    for block in order {
        let after = waits(&quotient, block, &known);
        let list: Vec<After> = after.iter().copied().collect();
        let own = if let Unit::Operate(node) = units.list[quotient.members(block)[0]] {
            stages.operates.push(OperateStage { node, after: list });
            After::Operate(node)
        } else {
            let (inputs, outputs) = channels::channels(&draft, &parts[&block], &stages.materialized);
            let stage = Mscr { id: MscrId(0), after: list, inputs, outputs };
            let (count, id): (&mut u32, fn(u32) -> MscrId) =
                if stage.is_load() { (&mut loads, MscrId::load) } else { (&mut others, MscrId) };
            *count += 1;
            let id = id(*count);
            stages.mscrs.push(Mscr { id, ..stage });
            After::Mscr(id)
        };
        known.insert(block, (own, after));
    }
    Built { draft, stages }
}

/// Joins, and where a node that its group's stage must run would run elsewhere, cuts off what is fused to it and joins again.
/// Such a node alone always fits: nothing but its group leads to it.
fn joined(mut draft: Draft, options: &Options) -> (Draft, Units, Joined) {
    let mut cuts = Vec::new();
    loop {
        let units = Units::of(&draft);
        let mut joined = joining::join(&draft, &units, options);
        let mut mended = false;
        for node in lost(&draft, &units, &joined.quotient) {
            let lifted = draft.combines.values().flatten().any(|combine| *combine == node);
            let reason = if draft.cut_off(node) {
                "what follows it is not fused with it: that belongs to another stage, or waits for this one"
            } else if lifted {
                draft.combines.retain(|_, combines| !combines.contains(&node));
                "not lifted after all: it cannot run in the stage of its group"
            } else {
                continue;
            };
            mended = true;
            let step = draft.graph.node(node).step.clone();
            cuts.push(Decision { pass: STAGES.into(), step, did: false, reason: reason.into() });
        }
        if !mended {
            joined.decisions.extend(cuts);
            return (draft, units, joined);
        }
    }
}

/// Nodes that are not in the stage of their group and must be: lifted combines, and what nobody else can do.
fn lost(draft: &Draft, units: &Units, quotient: &Quotient) -> BTreeSet<NodeId> {
    let graph = &draft.graph;
    let place = |node: NodeId| units.of_node(node).map(|unit| quotient.block(unit));
    let lifted = draft.combines.values().flatten().copied();
    let belonging = graph.nodes.values().filter(|node| node.belongs_to_its_group()).map(|node| node.id);
    let before = |node: NodeId| graph.node(node).inputs.first().map(|input| graph.collection(*input).producer);
    let group = |node: NodeId| before(node).filter(|before| matches!(graph.node(*before).op, Op::Group(_)));
    let apart = |node: &NodeId| group(*node).is_some_and(|group| place(group) != place(*node));
    lifted.chain(belonging).filter(apart).collect()
}

/// What a block waits for: the stages it reads from, and what the operates among them wait for.
fn waits(quotient: &Quotient, block: usize, known: &BTreeMap<usize, (After, BTreeSet<After>)>) -> BTreeSet<After> {
    let mut found = BTreeSet::new();
    for (own, after) in quotient.before(block).filter_map(|before| known.get(&before)) {
        found.insert(*own);
        if matches!(own, After::Operate(_)) {
            found.extend(after);
        }
    }
    found
}

/// Blocks, producers first; among those that are ready the one with the smallest node.
fn in_order(units: &Units, quotient: &Quotient, blocks: &BTreeSet<usize>) -> Vec<usize> {
    let before: BTreeMap<usize, BTreeSet<usize>> =
        blocks.iter().map(|block| (*block, quotient.before(*block).collect())).collect();
    let mut readers: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (block, needs) in &before {
        for need in needs {
            readers.entry(*need).or_default().push(*block);
        }
    }
    let mut missing: BTreeMap<usize, usize> = before.iter().map(|(block, needs)| (*block, needs.len())).collect();
    let first = |block: usize| -> Option<NodeId> { quotient.members(block).iter().map(|unit| units.node(*unit)).min() };
    let ready = missing.iter().filter(|(_, count)| **count == 0);
    let mut ready: BinaryHeap<Reverse<(Option<NodeId>, usize)>> =
        ready.map(|(block, _)| Reverse((first(*block), *block))).collect();
    let mut order = Vec::with_capacity(blocks.len());
    while let Some(Reverse((_, block))) = ready.pop() {
        order.push(block);
        for reader in readers.get(&block).into_iter().flatten() {
            let count = missing.entry(*reader).or_default();
            *count -= 1;
            if *count == 0 {
                ready.push(Reverse((first(*reader), *reader)));
            }
        }
    }
    assert_eq!(order.len(), blocks.len(), "joining leaves the graph of stages without cycles");
    order
}
