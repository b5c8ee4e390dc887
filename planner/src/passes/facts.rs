//! What is known of the rows of a collection without running anything: how wide they are at least, and what is unique in them.

use std::collections::{BTreeMap, BTreeSet};

use plan::{Alone, CollectionId, Do, Fold, Format, Graph, Group, Key, Node, Op, Order, Source, Values};

use super::Context;

/// Columns that no two rows have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unique {
    Columns(BTreeSet<u32>),
    /// The whole row.
    Row,
}

impl Unique {
    /// Whether rows that are unique so are unique by a key, too.
    pub(super) fn implies(&self, key: &Key) -> bool {
        match (self, key) {
            (_, Key::Row) => true,
            (Self::Columns(columns), Key::Columns(key)) => columns.iter().all(|column| key.contains(column)),
            (Self::Row, Key::Columns(_)) => false,
        }
    }

    /// What it is behind a step that makes at most one row of each; `places`: the column that stands in each place as it came.
    fn behind(self, places: &[Option<u32>]) -> Option<Self> {
        let Self::Columns(columns) = self else { return None };
        let place = |column: &u32| places.iter().position(|from| *from == Some(*column)).map(width);
        columns.iter().map(place).collect::<Option<_>>().map(Self::Columns)
    }
}

/// What makes a collection unique; `None` where nothing is known.
pub(super) fn unique(graph: &Graph, context: &Context<'_>, id: CollectionId) -> Option<Unique> {
    let mut next = id;
    // What is between, the last first: where each column of a row comes from.
    let mut moved: Vec<Vec<Option<u32>>> = Vec::new();
    let unique = loop {
        let node = graph.producer(next);
        match &node.op {
            Op::Combine(fold) => break folded(graph, node, fold),
            Op::Group(Group::ByKey { key: Key::Columns(columns), .. }) => break Some(first_columns(columns.len())),
            Op::ParallelDo(Do::UntagCoGroup { .. }) => break tagged(graph, node).map(first_columns),
            Op::ParallelDo(Do::Alone { key, .. }) => {
                break Some(match key {
                    Key::Columns(columns) => first_columns(columns.len()),
                    Key::Row => Unique::Row,
                });
            }
            Op::ParallelDo(Do::Regroup { keys, .. }) => break Some(Unique::Columns((0..*keys).collect())),
            _ if passes_rows_on(node) => next = node.inputs[0],
            _ => {
                moved.push(context.passes_on(node)?);
                next = node.inputs[0];
            }
        }
    }?;
    moved.iter().rev().try_fold(unique, |unique, places| unique.behind(places))
}

fn first_columns(count: usize) -> Unique {
    Unique::Columns((0..width(count)).collect())
}

/// How many key fields the rows of a join or coGroup begin with.
pub(super) fn tagged(graph: &Graph, untag: &Node) -> Option<usize> {
    let shuffle = graph.producer(untag.inputs[0]);
    let leaf = *graph.leaves(*shuffle.inputs.first()?).first()?;
    match &graph.producer(leaf).op {
        Op::ParallelDo(Do::Tag { key, .. }) => Some(key.len()),
        _ => None,
    }
}

fn folded(graph: &Graph, combine: &Node, fold: &Fold) -> Option<Unique> {
    let Op::Group(Group::ByKey { key, .. }) = &graph.producer(combine.inputs[0]).op else { return None };
    match (fold, key) {
        (Fold::Top { .. }, _) => None,
        (Fold::Smallest, Key::Row) => Some(Unique::Row),
        (Fold::Smallest, Key::Columns(columns)) => Some(Unique::Columns(columns.iter().copied().collect())),
        (Fold::Lua(_) | Fold::Count, Key::Columns(columns)) => Some(first_columns(columns.len())),
        (Fold::Lua(_) | Fold::Count, Key::Row) => None,
    }
}

/// Whether every row out is a row in, none twice.
pub(super) fn passes_rows_on(node: &Node) -> bool {
    match &node.op {
        Op::ParallelDo(Do::Filter(_) | Do::Identity | Do::Fit(_)) => true,
        Op::Group(group) => !matches!(group, Group::ByKey { .. } | Group::ByLeg { .. }),
        Op::ParallelDo(_) | Op::Read(_) | Op::Flatten { .. } | Op::Combine(_) | Op::Operate(_) => false,
    }
}

/// How many fields every row has at least: a column below that never fails the flow. 0 where nothing is known.
pub(super) fn least_width(graph: &Graph, context: &Context<'_>, id: CollectionId) -> u32 {
    let mut known: BTreeMap<CollectionId, u32> = BTreeMap::new();
    let mut open = vec![id];
    while let Some(next) = open.pop() {
        if known.contains_key(&next) {
            continue;
        }
        let node = graph.producer(next);
        let needs: Vec<CollectionId> = width_from(graph, node).into_iter().filter(|input| !known.contains_key(input)).collect();
        if needs.is_empty() {
            let width = own_width(graph, context, node, (next, &known));
            known.insert(next, width);
        } else {
            open.push(next);
            open.extend(needs);
        }
    }
    known[&id]
}

/// The collections that the width of a node's rows comes from.
fn width_from(graph: &Graph, node: &Node) -> Vec<CollectionId> {
    match &node.op {
        Op::Flatten { .. } => node.inputs.clone(),
        Op::Combine(Fold::Smallest | Fold::Top { .. }) => graph.producer(node.inputs[0]).inputs.clone(),
        _ if passes_rows_on(node) => node.inputs.clone(),
        _ => Vec::new(),
    }
}

fn own_width(
    graph: &Graph,
    context: &Context<'_>,
    node: &Node,
    (id, known): (CollectionId, &BTreeMap<CollectionId, u32>),
) -> u32 {
    let inherited = width_from(graph, node).iter().map(|input| known[input]).min();
    let key_width = |group: CollectionId| match &graph.producer(group).op {
        Op::Group(Group::ByKey { key: Key::Columns(columns), .. }) => width(columns.len()),
        _ => 0,
    };
    match &node.op {
        Op::Read(source) => read_width(source, graph.collection(id).fields.as_ref()),
        Op::ParallelDo(Do::Select(_) | Do::Map(_)) => context.passes_on(node).map_or(0, |places| width(places.len())),
        Op::Combine(Fold::Count) => key_width(node.inputs[0]) + 1,
        Op::Combine(Fold::Lua(_)) => key_width(node.inputs[0]),
        Op::Group(Group::ByKey { key: Key::Columns(columns), .. }) => width(columns.len()) + 1,
        Op::ParallelDo(Do::Alone { key: Key::Columns(columns), made }) => width(columns.len()) + u32::from(*made == Alone::List),
        Op::ParallelDo(Do::UntagCoGroup { legs }) => tagged(graph, node).map_or(0, width) + legs,
        _ => inherited.unwrap_or(0),
    }
}

fn read_width(source: &Source, fields: Option<&Vec<String>>) -> u32 {
    match source {
        Source::Range { .. } | Source::Files { format: Format::Text, .. } => 1,
        Source::Files { format: Format::Whole, .. } => 2,
        Source::Files { format: Format::Json { columns: None }, .. } => 1,
        Source::Cached { .. } => 0,
        Source::Inline { rows } => width(rows.iter().map(Vec::len).min().unwrap_or(0)),
        Source::Files { format: Format::Json { columns: Some(columns) }, .. } => width(columns.len()),
        // A header gives every record its width; names alone promise nothing.
        Source::Files { format: Format::Csv(options) | Format::Tsv(options), .. } if !options.header => {
            options.columns.as_ref().map_or(0, |columns| width(columns.len()))
        }
        Source::Files { format: Format::Csv(_) | Format::Tsv(_) | Format::Parquet { .. } | Format::Orc { .. }, .. } => {
            fields.map_or(0, |fields| width(fields.len()))
        }
    }
}

/// Whether a column is a string in every row that has it: one of a file of text, as it came.
pub(super) fn is_text(graph: &Graph, context: &Context<'_>, mut id: CollectionId, mut column: u32) -> bool {
    loop {
        let node = graph.producer(id);
        match &node.op {
            Op::Read(Source::Files { format: Format::Text | Format::Whole, .. }) => return true,
            Op::Read(Source::Files { format: Format::Csv(options) | Format::Tsv(options), .. }) => {
                let read = options.columns.as_ref();
                let of_file = read.map_or(Some(column), |columns| columns.get(column as usize).copied());
                return of_file.is_some_and(|of_file| options.types.iter().all(|(typed, _)| *typed != of_file));
            }
            Op::ParallelDo(Do::Filter(_) | Do::Identity) => id = node.inputs[0],
            _ => match context.passes_on(node).and_then(|places| places.get(column as usize).copied().flatten()) {
                Some(from) => (id, column) = (node.inputs[0], from),
                None => return false,
            },
        }
    }
}

/// The columns that a group looks at: a row without them fails the flow.
pub(super) fn looks_at(group: &Group) -> BTreeSet<u32> {
    let ordered = |by: &[Order]| by.iter().map(|order| order.column).collect::<Vec<_>>();
    let columns = match group {
        Group::ByKey { key: Key::Columns(columns), order_by, .. } => [columns.clone(), ordered(order_by)].concat(),
        Group::Hash { key: Key::Columns(columns) } => columns.clone(),
        Group::ByKey { key: Key::Row, order_by, .. } => ordered(order_by),
        Group::Sort { by } | Group::Merge { by } => ordered(by),
        Group::Hash { key: Key::Row } | Group::ByLeg { .. } | Group::Gather | Group::RoundRobin | Group::Limit { .. } => {
            Vec::new()
        }
    };
    columns.into_iter().collect()
}

/// The key columns where they are the first columns of the row, in order, so that positions stay what they are.
pub(super) fn leading(columns: &[u32]) -> bool {
    columns.iter().copied().eq(0..width(columns.len()))
}

/// Whether a group's rows out begin with the key as it stands in the rows in.
pub(super) fn keeps_key_in_place(key: &Key, values: Values) -> bool {
    match key {
        Key::Columns(columns) => values == Values::Row || leading(columns),
        Key::Row => values == Values::Row,
    }
}

pub(super) fn width(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
