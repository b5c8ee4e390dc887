//! Two operations that make the same rows of the same rows are one; also two reads of one source.

use std::collections::BTreeMap;

use plan::{CollectionId, Do, Fold, Function, Graph, Group, Node, NodeId, OnError, Op};

use super::{Context, Log, splice};

/// Words that make two copies of a function differ: `math.random` is seeded per step, clocks and files are outside.
const DIFFERING: [&str; 7] = ["random", "os.", "io.", "_G", "_ENV", "getfenv", "require"];

pub(super) fn run(graph: &mut Graph, context: &Context<'_>, log: &mut Log) {
    let Some(order) = graph.topological() else { return };
    let prelude_differs = differs(context.prelude);
    let consumers = graph.consumers();
    let mut first: BTreeMap<String, NodeId> = BTreeMap::new();
    let mut with: BTreeMap<CollectionId, CollectionId> = BTreeMap::new();
    let mut dropped = Vec::new();
    for id in order {
        let Some(node) = graph.nodes.get_mut(&id) else { continue };
        let sides = node.side_inputs.iter_mut().map(|side| &mut side.from);
        for read in node.inputs.iter_mut().chain(sides) {
            *read = with.get(read).copied().unwrap_or(*read);
        }
        let node = graph.node(id);
        let Some(key) = key(graph, node, &consumers) else { continue };
        let Some(same) = first.get(&key).copied() else {
            first.insert(key, id);
            continue;
        };
        let other = &graph.node(same).step;
        match obstacle(node, prelude_differs) {
            Some(why) => log.declined(&node.step, format!("not merged with `{other}`, which reads and does the same: {why}")),
            None => {
                log.did(&node.step, format!("makes the same rows as `{other}`: run once"));
                with.extend(node.outputs.iter().copied().zip(graph.node(same).outputs.iter().copied()));
                dropped.push(id);
            }
        }
    }
    splice::remove(graph, dropped);
}

/// Everything that the rows of a node depend on; `None` for what must run as often as it stands there.
///
/// Some operations are what they are only with those behind them: the shuffle of a join or coGroup has one reader, which says what
/// comes out of it, and the first operation of a count, distinct, reduce or top makes ready for the fold of its own step.
fn key(graph: &Graph, node: &Node, consumers: &BTreeMap<CollectionId, Vec<NodeId>>) -> Option<String> {
    let mut key = own_key(graph, node)?;
    let mut nodes = vec![node];
    for _ in 0..belonging(&node.op) {
        let made = nodes.iter().flat_map(|node| &node.outputs);
        nodes = made.filter_map(|made| consumers.get(made)).flatten().map(|reader| graph.node(*reader)).collect();
        for reader in &nodes {
            key = format!("{key} {}", work(graph, reader)?);
        }
    }
    Some(key)
}

/// How many operations behind one say with it what it is.
fn belonging(op: &Op) -> usize {
    match op {
        Op::ParallelDo(Do::Identity) => 2,
        Op::Group(Group::ByLeg { .. }) => 1,
        Op::Read(_) | Op::ParallelDo(_) | Op::Flatten { .. } | Op::Group(_) | Op::Combine(_) | Op::Operate(_) => 0,
    }
}

fn own_key(graph: &Graph, node: &Node) -> Option<String> {
    Some(format!("{:?} {}", node.inputs, work(graph, node)?))
}

/// What a node does, whatever it reads.
fn work(graph: &Graph, node: &Node) -> Option<String> {
    if node.is_write() || matches!(node.op, Op::Operate(_)) || node.on_error != OnError::Fail {
        return None;
    }
    let persist: Vec<bool> = node.outputs.iter().map(|made| graph.collection(*made).persist).collect();
    let options = (node.partitions, node.size_ratio, node.memory, node.broadcast, node.deterministic);
    Some(format!("{:?} {:?} {options:?} {persist:?}", node.side_inputs, placeless(&node.op)))
}

/// The operation without the places of its functions in the file, which do not matter to its rows.
fn placeless(op: &Op) -> Op {
    let mut op = op.clone();
    if let Some(function) = function_mut(&mut op) {
        function.place = String::new();
    }
    op
}

fn function_mut(op: &mut Op) -> Option<&mut Function> {
    match op {
        Op::ParallelDo(
            Do::Map(function) | Do::FlatMap(function) | Do::Filter(function) | Do::ForEach(function) | Do::Split { function, .. },
        )
        | Op::Combine(Fold::Lua(function))
        | Op::Operate(function) => Some(function),
        Op::Read(_) | Op::ParallelDo(_) | Op::Flatten { .. } | Op::Group(_) | Op::Combine(_) => None,
    }
}

fn obstacle(node: &Node, prelude_differs: bool) -> Option<&'static str> {
    if !node.deterministic {
        return Some("it is not deterministic");
    }
    let mut op = node.op.clone();
    let function = function_mut(&mut op)?;
    if differs(&function.source) {
        Some("its function may draw random numbers or look outside")
    } else if prelude_differs {
        Some("the flow's `lua` may draw random numbers or look outside")
    } else {
        None
    }
}

fn differs(lua: &str) -> bool {
    DIFFERING.iter().any(|word| lua.contains(word))
}
