//! The graph as text: one line per operation, producers first.

use std::{collections::BTreeMap, fmt::Write};

use crate::{Alone, CollectionId, Do, Fit, Fold, Graph, Group, JoinKind, Key, Node, OnError, Op, Order, Source};

/// One line per node: its step, what it does, what it reads, and what was said about it.
#[must_use]
pub fn graph(graph: &Graph) -> String {
    let mut text = String::new();
    let order = graph.topological().unwrap_or_else(|| graph.nodes.keys().copied().collect());
    for node in order.into_iter().map(|id| graph.node(id)) {
        let inputs: Vec<&str> = node.inputs.iter().map(|id| graph.collection(*id).name.as_str()).collect();
        let from = if inputs.is_empty() { String::new() } else { format!(" of {}", inputs.join(", ")) };
        let _ = writeln!(text, "{}: {}{from}{}", node.step, operator(&node.op), remarks(graph, node));
    }
    text
}

/// One line per step: the operations that it is made of, one behind the other, and what it reads of other steps.
#[must_use]
pub(super) fn steps(graph: &Graph) -> String {
    let order = graph.topological().unwrap_or_else(|| graph.nodes.keys().copied().collect());
    let mut nodes: BTreeMap<&str, Vec<&Node>> = BTreeMap::new();
    for node in order.iter().map(|id| graph.node(*id)) {
        nodes.entry(&node.step).or_default().push(node);
    }
    let mut text = String::new();
    // A step stands where its last operation does: behind all that it reads.
    for node in order.into_iter().map(|id| graph.node(id)) {
        if nodes[node.step.as_str()].last().is_some_and(|last| last.id == node.id) {
            text.push_str(&step(graph, &nodes[node.step.as_str()]));
        }
    }
    text
}

fn step(graph: &Graph, nodes: &[&Node]) -> String {
    let own = |id: &CollectionId| nodes.iter().any(|node| node.outputs.contains(id));
    let mut operations = String::new();
    for (place, node) in nodes.iter().enumerate() {
        let is_side = |node: &Node| matches!(node.op, Op::ParallelDo(Do::Tag { .. }));
        let before = place.checked_sub(1).map(|before| nodes[before]);
        operations.push_str(match before {
            None => "",
            Some(before) if is_side(before) && is_side(node) => ", ",
            Some(_) => " -> ",
        });
        operations.push_str(&operator(&node.op));
    }
    let inputs: Vec<&str> = nodes.iter().flat_map(|node| &node.inputs).filter(|id| !own(id)).map(|id| name(graph, *id)).collect();
    let from = match (inputs.is_empty(), nodes.len()) {
        (true, _) => String::new(),
        (false, 1) => format!(" of {}", inputs.join(", ")),
        (false, _) => format!(", of {}", inputs.join(", ")),
    };
    let mut remarks: Vec<String> = Vec::new();
    for remark in nodes.iter().flat_map(|node| remarks_of(graph, node)).chain(nodes.last().and_then(|last| size(graph, last))) {
        if !remarks.contains(&remark) {
            remarks.push(remark);
        }
    }
    format!("{}: {operations}{from}{}\n", nodes[0].step, bracketed(&remarks))
}

fn name(graph: &Graph, id: CollectionId) -> &str {
    &graph.collection(id).name
}

fn remarks(graph: &Graph, node: &Node) -> String {
    let mut remarks = remarks_of(graph, node);
    remarks.extend(size(graph, node));
    bracketed(&remarks)
}

fn bracketed(remarks: &[String]) -> String {
    if remarks.is_empty() { String::new() } else { format!(" ({})", remarks.join("; ")) }
}

fn size(graph: &Graph, node: &Node) -> Option<String> {
    let bytes = node.outputs.iter().find_map(|made| graph.collection(*made).bytes);
    bytes.map(|bytes| format!("about {bytes} bytes"))
}

fn remarks_of(graph: &Graph, node: &Node) -> Vec<String> {
    let mut remarks = Vec::new();
    for side in &node.side_inputs {
        remarks.push(format!("beside {} as {}", graph.collection(side.from).name, side.name));
    }
    if !node.deterministic {
        remarks.push("not deterministic".into());
    }
    if node.outputs.iter().any(|made| graph.collection(*made).persist) {
        remarks.push("persisted".into());
    }
    if let Some(partitions) = node.partitions {
        remarks.push(format!("{partitions} partitions"));
    }
    if let Some(ratio) = node.size_ratio {
        remarks.push(format!("size ratio {ratio}"));
    }
    match node.on_error {
        OnError::Fail => {}
        OnError::Skip => remarks.push("bad rows skipped".into()),
        OnError::DeadLetter => remarks.push("bad rows set aside".into()),
    }
    remarks
}

/// What an operation is, in a few words.
#[must_use]
pub fn operator(op: &Op) -> String {
    match op {
        Op::Read(Source::Files { .. }) => "read".into(),
        Op::Read(Source::Inline { rows }) => format!("read {} inline rows", rows.len()),
        Op::Read(Source::Range { from, to, step }) => format!("range {from} to {to} by {step}"),
        Op::Read(Source::Cached { .. }) => "read from the cache".into(),
        Op::ParallelDo(work) => parallel_do(work),
        Op::Flatten { ordered: false } => "union".into(),
        Op::Flatten { ordered: true } => "ordered union".into(),
        Op::Group(group) => grouping(group),
        Op::Combine(fold) => combine(fold).into(),
        Op::Operate(_) => "operate".into(),
    }
}

fn parallel_do(work: &Do) -> String {
    match work {
        Do::Map(_) => "map".into(),
        Do::FlatMap(_) => "flatMap".into(),
        Do::Filter(_) => "filter".into(),
        Do::ForEach(_) => "forEach".into(),
        Do::Split { outputs, .. } => format!("parallelDo into {}", outputs.join(", ")),
        Do::Select(columns) => format!("select {}", positions(columns)),
        Do::Pipe { .. } => "pipe".into(),
        Do::PipeAsArgs { .. } => "pipeAsArgs".into(),
        Do::Identity => "rows as they are".into(),
        Do::Fit(Fit::Width(width)) => format!("rows of at least {width} fields"),
        Do::Fit(Fit::Line(_)) => "rows that fit the format".into(),
        Do::Tag { leg, key } => format!("side {} by field {}", leg + 1, positions(key)),
        Do::UntagCoGroup { legs } => format!("lists of {legs} sides"),
        Do::Regroup { sides, .. } => format!("groups of {} sides again", sides.len()),
        Do::Alone { key, made } => {
            let made = match made {
                Alone::List => "list of one item",
                Alone::Values => "row",
            };
            format!("a {made} each by {}, not shuffled", by(key))
        }
        Do::UntagJoin { kind, legs, .. } => format!("{} join of {legs} sides", join(*kind)),
        Do::ProbeJoin { kind, big, .. } => format!("{} join of side {} with the others held whole", join(*kind), big + 1),
        Do::Write(_) => "write".into(),
    }
}

fn join(kind: JoinKind) -> &'static str {
    match kind {
        JoinKind::Inner => "inner",
        JoinKind::Left => "left",
        JoinKind::Right => "right",
        JoinKind::Full => "full",
    }
}

fn grouping(group: &Group) -> String {
    match group {
        Group::ByKey { key: Key::Columns(columns), order_by, .. } if columns.is_empty() && order_by.is_empty() => {
            "group all".into()
        }
        Group::ByKey { key, order_by, .. } if order_by.is_empty() => format!("group by {}", by(key)),
        Group::ByKey { key, order_by, .. } => format!("group by {}, items ordered by {}", by(key), ordered(order_by)),
        Group::ByLeg { legs } => format!("bring together {legs} sides"),
        Group::Sort { by } => format!("sort by {}", ordered(by)),
        Group::Merge { by } => format!("sorted merge by {}", ordered(by)),
        Group::Gather => "gather".into(),
        Group::Hash { key } => format!("partition by {}", by(key)),
        Group::RoundRobin => "dealt out".into(),
        Group::Limit { n, offset: 0 } => format!("limit {n}"),
        Group::Limit { n, offset } => format!("limit {n} after {offset}"),
    }
}

fn combine(fold: &Fold) -> &'static str {
    match fold {
        Fold::Lua(_) => "combine",
        Fold::Count => "count",
        Fold::Smallest => "keep the smallest",
        Fold::Top { .. } => "keep the first",
    }
}

fn by(key: &Key) -> String {
    match key {
        Key::Row => "the whole row".into(),
        Key::Columns(columns) if columns.is_empty() => "nothing".into(),
        Key::Columns(columns) => positions(columns),
    }
}

fn positions(columns: &[u32]) -> String {
    let shown: Vec<String> = columns.iter().map(|column| (column + 1).to_string()).collect();
    shown.join(",")
}

fn ordered(by: &[Order]) -> String {
    let shown = by.iter().map(|order| format!("{}{}", order.column + 1, if order.descending { " down" } else { "" }));
    let shown: Vec<String> = shown.collect();
    shown.join(", ")
}
