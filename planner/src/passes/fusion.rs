//! ParallelDos become one: a consumer joins its producer, and siblings that read the same collection join each other.
//!
//! Two are put together only if no path leads out of them and back: a side input made from one of them is such a path.

use std::collections::BTreeMap;

use plan::{CollectionId, Graph, NodeId, Op};

use super::Log;
use crate::{Draft, quotient::Quotient};

/// `f` then `g` becomes one ParallelDo that makes what `f` and what `g` makes.
pub(super) fn producers_and_consumers(draft: &mut Draft, log: &mut Log) {
    let mut fusing = Fusing::of(draft);
    for id in draft.graph.topological().unwrap_or_default() {
        let node = draft.graph.node(id);
        let (true, Some(input)) = (node.is_do(), node.inputs.first()) else { continue };
        let producer = draft.graph.producer(*input);
        if !producer.is_do() {
            continue;
        }
        if draft.graph.collection(*input).persist {
            log.declined(&node.step, format!("not fused with `{}`: its result is persisted", producer.step));
        } else if !draft.is_open(*input, node) {
            log.declined(&node.step, format!("not fused with `{}`: a stage ends between them (fusion-blocks)", producer.step));
        } else if fusing.try_join(producer.id, id) {
            log.did(&node.step, format!("runs in the same pass as `{}`", producer.step));
        } else {
            let why = "one of its side inputs is made from what the other makes";
            log.declined(&node.step, format!("not fused with `{}`: {why}", producer.step));
        }
    }
    draft.fused = fusing.result(&draft.graph);
}

/// ParallelDos over one collection become one with several outputs: one pass over the input.
pub(super) fn siblings(draft: &mut Draft, log: &mut Log) {
    let mut fusing = Fusing::of(draft);
    for (root, fusions) in roots(draft) {
        let mut heads: Vec<NodeId> = Vec::new();
        for fusion in fusions {
            let step = &draft.graph.node(fusion).step;
            match heads.iter().copied().find(|head| fusing.try_join(*head, fusion)) {
                Some(head) => {
                    let (other, read) = (&draft.graph.node(head).step, &draft.graph.collection(root).name);
                    log.did(step, format!("reads `{read}` in the same pass as `{other}`"));
                }
                None => {
                    if let Some(head) = heads.first() {
                        let other = &draft.graph.node(*head).step;
                        let why = "a side input of one is made from what the other makes";
                        log.declined(step, format!("not fused with its sibling `{other}`: {why}"));
                    }
                    heads.push(fusion);
                }
            }
        }
    }
    draft.fused = fusing.result(&draft.graph);
}

/// The fusions so far, by the collection that each reads.
pub(crate) fn roots(draft: &Draft) -> BTreeMap<CollectionId, Vec<NodeId>> {
    let mut found: BTreeMap<CollectionId, Vec<NodeId>> = BTreeMap::new();
    for (head, nodes) in draft.fusions() {
        if let Some(root) = root(&draft.graph, &nodes) {
            found.entry(root).or_default().push(head);
        }
    }
    found
}

/// The one collection that fused nodes read from outside.
pub(crate) fn root(graph: &Graph, nodes: &[NodeId]) -> Option<CollectionId> {
    let inputs = nodes.iter().flat_map(|id| graph.node(*id).inputs.iter().copied());
    let mut outside = inputs.filter(|input| !nodes.contains(&graph.collection(*input).producer));
    outside.next()
}

struct Fusing {
    /// Units are nodes, by their number.
    quotient: Quotient,
    /// Without side inputs every fusion is a tree behind one collection, and no path can return to it.
    safe: bool,
}

impl Fusing {
    fn of(draft: &Draft) -> Self {
        let graph = &draft.graph;
        let units = usize::try_from(graph.fresh_node().0).unwrap_or(usize::MAX);
        let mut quotient = Quotient::new(units);
        let safe = graph.nodes.values().all(|node| node.side_inputs.is_empty() || matches!(node.op, Op::Operate(_)));
        if !safe {
            edges(draft, &mut quotient);
        }
        for (node, head) in &draft.fused {
            quotient.join(unit(*head), unit(*node));
        }
        Self { quotient, safe }
    }

    fn try_join(&mut self, left: NodeId, right: NodeId) -> bool {
        if self.safe {
            self.quotient.join(unit(left), unit(right));
            return true;
        }
        self.quotient.try_join(unit(left), unit(right))
    }

    fn result(&self, graph: &Graph) -> BTreeMap<NodeId, NodeId> {
        let mut heads: BTreeMap<usize, NodeId> = BTreeMap::new();
        let does = graph.nodes.values().filter(|node| node.is_do());
        does.map(|node| (node.id, *heads.entry(self.quotient.block(unit(node.id))).or_insert(node.id))).collect()
    }
}

fn edges(draft: &Draft, quotient: &mut Quotient) {
    let graph = &draft.graph;
    for node in graph.nodes.values() {
        for input in &node.inputs {
            let producer = graph.producer(*input);
            let internal = producer.is_do() && node.is_do() && draft.is_open(*input, node);
            quotient.edge(unit(producer.id), unit(node.id), internal);
        }
        for side in &node.side_inputs {
            quotient.edge(unit(graph.collection(side.from).producer), unit(node.id), false);
        }
    }
}

fn unit(id: NodeId) -> usize {
    id.0 as usize
}
