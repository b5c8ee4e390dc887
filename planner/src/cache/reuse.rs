//! Reads what the cache has instead of making it, and drops what was only needed for that.

use std::collections::{BTreeMap, BTreeSet};

use plan::{Collection, CollectionId, Graph, Node, NodeId, OnError, Op, Recipe, Source};

use super::Known;
use crate::{estimate, passes::Log};

/// Replaces persisted collections that are in the cache by sources.
pub(crate) fn reuse(graph: &mut Graph, cache: &BTreeMap<String, Known>, log: &mut Log) {
    let read = readers(graph);
    let mut reused: BTreeMap<CollectionId, Option<CollectionId>> = BTreeMap::new();
    for collection in graph.collections.clone().into_values().filter(|collection| collection.persist) {
        let step = graph.node(collection.producer).step.clone();
        match cache.get(&collection.name) {
            None => {}
            Some(Known::Never { why }) => log.declined(&step, format!("neither kept nor reused: {why}")),
            Some(Known::Missing { why, .. }) => log.declined(&step, format!("made, and kept for later runs: {why}")),
            Some(Known::There { recipe, rows, bytes }) => {
                let size = estimate::shown(*bytes);
                log.did(&step, format!("`{}` is read from the cache: {rows} rows, {size}", collection.name));
                let source = read.contains(&collection.id).then(|| source(graph, &collection, recipe, *bytes));
                reused.insert(collection.id, source);
            }
        }
    }
    for id in reused.keys() {
        if let Some(collection) = graph.collections.get_mut(id) {
            collection.persist = false;
        }
    }
    redirect(graph, &reused);
    let starts = reused.keys().map(|id| graph.collection(*id).producer).collect();
    for step in prune(graph, starts, &read) {
        if !graph.nodes.values().any(|node| node.step == step) {
            log.did(&step, "not run: what it makes is needed only for what is in the cache");
        }
    }
}

/// The persisted collections of a graph that are to be kept.
pub(crate) fn kept(graph: &Graph, cache: &BTreeMap<String, Known>) -> BTreeMap<CollectionId, Recipe> {
    let persisted = graph.collections.values().filter(|collection| collection.persist);
    let missing = persisted.filter_map(|collection| match cache.get(&collection.name)? {
        Known::Missing { recipe, .. } => Some((collection.id, recipe.clone())),
        Known::Never { .. } | Known::There { .. } => None,
    });
    missing.collect()
}

fn readers(graph: &Graph) -> BTreeSet<CollectionId> {
    graph.nodes.values().flat_map(Node::reads).collect()
}

/// A source that stands for a collection. It is stored already, so it need not be persisted, and anything may fuse with it.
fn source(graph: &mut Graph, of: &Collection, recipe: &Recipe, bytes: u64) -> CollectionId {
    let (id, output) = (graph.fresh_node(), graph.fresh_collection());
    let node = Node {
        id,
        step: graph.node(of.producer).step.clone(),
        op: Op::Read(Source::Cached { entry: recipe.fingerprint.clone(), bytes }),
        inputs: Vec::new(),
        side_inputs: Vec::new(),
        outputs: vec![output],
        deterministic: true,
        partitions: None,
        size_ratio: None,
        memory: None,
        broadcast: None,
        on_error: OnError::Fail,
    };
    let collection = Collection { id: output, producer: id, persist: false, bytes: Some(bytes), ..of.clone() };
    graph.nodes.insert(id, node);
    graph.collections.insert(output, collection);
    output
}

fn redirect(graph: &mut Graph, reused: &BTreeMap<CollectionId, Option<CollectionId>>) {
    for node in graph.nodes.values_mut() {
        let sides = node.side_inputs.iter_mut().map(|side| &mut side.from);
        for read in node.inputs.iter_mut().chain(sides) {
            if let Some(Some(source)) = reused.get(read) {
                *read = *source;
            }
        }
    }
}

/// Removes nodes that nobody needs any more, from some nodes up; what was never read was made for its own sake and stays.
/// Their steps.
fn prune(graph: &mut Graph, mut open: Vec<NodeId>, read_before: &BTreeSet<CollectionId>) -> BTreeSet<String> {
    let mut readers: BTreeMap<CollectionId, usize> = BTreeMap::new();
    for read in graph.nodes.values().flat_map(Node::reads) {
        *readers.entry(read).or_default() += 1;
    }
    let mut dropped = BTreeSet::new();
    while let Some(id) = open.pop() {
        let Some(node) = graph.nodes.get(&id).cloned() else { continue };
        let needed = |made: &CollectionId| {
            let wanted = graph.collection(*made).persist && !read_before.contains(made);
            wanted || readers.get(made).is_some_and(|count| *count > 0)
        };
        if node.is_write() || node.outputs.iter().any(needed) {
            continue;
        }
        for read in node.reads() {
            if let Some(count) = readers.get_mut(&read) {
                *count -= 1;
            }
            open.push(graph.collection(read).producer);
        }
        graph.nodes.remove(&id);
        node.outputs.iter().for_each(|made| drop(graph.collections.remove(made)));
        dropped.insert(node.step);
    }
    dropped
}
