//! `h(f(a) + g(b))` becomes `h(f(a)) + h(g(b))`: a ParallelDo behind a union is copied to each of its inputs, where it fuses.
//!
//! Each row still goes through exactly one of the copies, exactly once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use plan::{Collection, CollectionId, Do, Graph, Node, NodeId, Op};

use super::{Log, splice};

/// Copies stop where the graph would have more nodes than this.
const MOST_NODES: usize = 50_000;
/// So many nodes for each step may come of copies, and so many for each input that a union was given, beside `FREE`: where a flow
/// branches and unites again and again, copies would double each time.
const NODES_PER_STEP: usize = 16;
const NODES_PER_INPUT: usize = 4;
const FREE: usize = 4_000;

pub(super) fn run(graph: &mut Graph, log: &mut Log) {
    let Some(order) = graph.topological() else { return };
    let mut sinking = Sinking {
        readers: graph.consumers(),
        open: order.into_iter().filter(|id| matches!(graph.node(*id).op, Op::Flatten { .. })).collect(),
        next_node: graph.fresh_node().0,
        next_collection: graph.fresh_collection().0,
        emptied: Vec::new(),
        most: most_nodes(graph),
        copied: BTreeSet::new(),
    };
    while let Some(id) = sinking.open.pop_front() {
        sinking.sink(graph, id, log);
    }
    splice::drop_unread_views(graph, sinking.emptied);
}

/// How large the graph may become. It is the same for what the pass makes of it: copies have the names of their steps, and a union in
/// the name of the step whose copies it brings together was not written.
fn most_nodes(graph: &Graph) -> usize {
    let steps: BTreeSet<&str> = graph.nodes.values().map(|node| node.step.as_str()).collect();
    let is_written = |node: &&Node| {
        let own = |input: &CollectionId| graph.producer(*input).step == node.step;
        matches!(node.op, Op::Flatten { .. }) && !node.inputs.iter().all(own)
    };
    let inputs: usize = graph.nodes.values().filter(is_written).map(|node| node.inputs.len()).sum();
    (FREE + NODES_PER_STEP * steps.len() + NODES_PER_INPUT * inputs).min(MOST_NODES)
}

struct Sinking {
    readers: BTreeMap<CollectionId, Vec<NodeId>>,
    /// Unions to look at; again when a copy comes to read them.
    open: VecDeque<NodeId>,
    next_node: u32,
    next_collection: u32,
    emptied: Vec<NodeId>,
    /// No copy is made that the graph would have more nodes with.
    most: usize,
    /// Unions of what the copies of a step make.
    copied: BTreeSet<NodeId>,
}

impl Sinking {
    fn sink(&mut self, graph: &mut Graph, id: NodeId, log: &mut Log) {
        let view = graph.node(id);
        let (inputs, output, step) = (view.inputs.clone(), view.outputs[0], view.step.clone());
        let mut stay = Vec::new();
        for reader in self.readers.remove(&output).unwrap_or_default() {
            match obstacle(graph, id, graph.node(reader), self.most) {
                None => {
                    let name = graph.node(reader).step.clone();
                    self.copy(graph, reader, &inputs);
                    log.did(&name, runs_per_input(&step, inputs.len(), self.copied.contains(&id)));
                }
                Some(why) => {
                    if let Some(why) = why {
                        let why = format!("runs behind the union `{step}`, not on each of its inputs: {why}");
                        log.declined(&graph.node(reader).step, why);
                    }
                    stay.push(reader);
                }
            }
        }
        if stay.is_empty() {
            self.emptied.push(id);
        }
        self.readers.insert(output, stay);
    }

    /// Replaces a ParallelDo by one copy per input; its outputs become unions of what the copies make.
    fn copy(&mut self, graph: &mut Graph, id: NodeId, inputs: &[CollectionId]) {
        let Some(original) = graph.nodes.remove(&id) else { return };
        let mut made: Vec<Vec<CollectionId>> = vec![Vec::new(); original.outputs.len()];
        for (index, input) in inputs.iter().enumerate() {
            let node = if index == 0 { id } else { self.node() };
            let outputs: Vec<CollectionId> =
                original.outputs.iter().map(|output| self.collection(graph, *output, node)).collect();
            for (all, output) in made.iter_mut().zip(&outputs) {
                all.push(*output);
            }
            self.readers.entry(*input).or_default().push(node);
            if matches!(graph.producer(*input).op, Op::Flatten { .. }) {
                self.open.push_back(graph.collection(*input).producer);
            }
            graph.nodes.insert(node, Node { id: node, inputs: vec![*input], outputs, ..original.clone() });
        }
        for (output, inputs) in original.outputs.iter().zip(made) {
            let view = self.node();
            for input in &inputs {
                self.readers.entry(*input).or_default().push(view);
            }
            graph.nodes.insert(view, union(&original, view, inputs, *output));
            if let Some(collection) = graph.collections.get_mut(output) {
                collection.producer = view;
            }
            self.open.push_back(view);
            self.copied.insert(view);
        }
    }

    fn node(&mut self) -> NodeId {
        self.next_node += 1;
        NodeId(self.next_node - 1)
    }

    fn collection(&mut self, graph: &mut Graph, like: CollectionId, producer: NodeId) -> CollectionId {
        let id = CollectionId(self.next_collection);
        self.next_collection += 1;
        let collection = Collection { id, producer, ..graph.collection(like).clone() };
        graph.collections.insert(id, collection);
        id
    }
}

fn runs_per_input(union: &str, inputs: usize, copied: bool) -> String {
    match inputs {
        1 => format!("runs on the one input of the union `{union}`, in the pass that makes it"),
        _ if copied => {
            format!("runs behind each of the {inputs} copies of `{union}`, in the same passes: each row meets it once")
        }
        _ => format!(
            "runs on each of the {inputs} inputs of the union `{union}`, in the passes that make them: each row meets it once"
        ),
    }
}

/// A union in the name of the step whose copies it brings together.
fn union(like: &Node, id: NodeId, inputs: Vec<CollectionId>, output: CollectionId) -> Node {
    Node {
        id,
        step: like.step.clone(),
        op: Op::Flatten { ordered: false },
        inputs,
        side_inputs: Vec::new(),
        outputs: vec![output],
        deterministic: true,
        partitions: None,
        size_ratio: None,
        memory: None,
        broadcast: None,
        on_error: plan::OnError::Fail,
    }
}

/// Why a reader of a union is not copied; `Some(None)` where nobody would expect it to be.
#[expect(clippy::option_option, reason = "no obstacle, an obvious one, one to tell")]
fn obstacle(graph: &Graph, view: NodeId, reader: &Node, most: usize) -> Option<Option<String>> {
    let Op::ParallelDo(work) = &reader.op else { return Some(None) };
    let node = graph.node(view);
    let copies = node.inputs.len() * (1 + reader.outputs.len());
    if matches!(node.op, Op::Flatten { ordered: true }) || graph.collection(node.outputs[0]).ordered {
        Some(Some("the order of the union counts".into()))
    } else if graph.collection(node.outputs[0]).persist {
        Some(Some("the union is persisted".into()))
    } else if matches!(work, Do::Pipe { .. }) {
        Some(Some("a pipe sees whole partitions, not single rows".into()))
    } else if reader.outputs.iter().any(|made| graph.collection(*made).persist) {
        Some(Some("its result is persisted as one".into()))
    } else if graph.nodes.len() + copies > most {
        Some(Some(format!("the plan would have more than {most} operations")))
    } else {
        None
    }
}
