//! A source reads only the columns that its consumers use, where the use of every consumer is known.
//!
//! Parameters of functions are positions, so a function that reads its first parameters keeps them in place; `select`,
//! `partition` and `count` are rewritten to where their columns have gone. A typed column is always read: its check is part
//! of the flow's meaning.

use std::collections::{BTreeMap, BTreeSet};

use plan::{CollectionId, CsvOptions, Do, Fold, Format, Graph, Group, Key, Node, NodeId, OnError, Op, Source, Values};

use super::{Context, Log, splice::Readers};

pub(super) fn run(graph: &mut Graph, context: &Context<'_>, log: &mut Log) {
    let reads: Vec<NodeId> = graph.nodes.values().filter(|node| format(node).is_some()).map(|node| node.id).collect();
    let readers = Readers::of(graph);
    for id in reads {
        let node = graph.node(id);
        let step = node.step.clone();
        let Some(columns) = columns(graph, node) else {
            log.declined(&step, "reads all columns: which there are is not known");
            continue;
        };
        match demand(graph, &readers, context, node.outputs[0]).and_then(|demand| demand.layout(&columns)) {
            Ok((demand, layout)) => {
                let count = columns.len();
                log.did(&step, format!("reads {} of {count} columns: nobody uses the others", layout.len()));
                prune(graph, id, &demand, &layout, count);
            }
            Err(why) => log.declined(&step, format!("reads all columns: {why}")),
        }
    }
}

fn format(node: &Node) -> Option<&Format> {
    match &node.op {
        Op::Read(Source::Files { format, .. }) => match format {
            Format::Csv(_) | Format::Tsv(_) | Format::Json { columns: Some(_) } | Format::Parquet { .. } | Format::Orc { .. } => {
                Some(format)
            }
            Format::Json { columns: None } | Format::Text | Format::Whole => None,
        },
        _ => None,
    }
}

/// A column of a source: whether its values are parsed, and so checked.
#[derive(Clone, Copy)]
struct Column {
    typed: bool,
}

/// The columns of a source's rows; `None` where they are not known.
fn columns(graph: &Graph, node: &Node) -> Option<Vec<Column>> {
    let names = graph.collection(node.outputs[0]).fields.as_ref().map(Vec::len);
    match format(node)? {
        Format::Csv(options) | Format::Tsv(options) => {
            let all = (0..super::facts::width(names.filter(|_| options.header)?)).collect();
            let file = options.columns.clone().unwrap_or(all);
            let typed = |column: &u32| options.types.iter().any(|(typed, _)| typed == column);
            Some(file.iter().map(|column| Column { typed: typed(column) }).collect())
        }
        Format::Json { columns } => Some(vec![Column { typed: false }; columns.as_ref()?.len()]),
        Format::Parquet { columns, known } | Format::Orc { columns, known } => {
            Some(vec![Column { typed: false }; by_name(columns, known)?.len()])
        }
        Format::Text | Format::Whole => None,
    }
}

/// The names of the columns of a Parquet or ORC source; `None` where they are not known, or do not tell the columns apart.
fn by_name<'f>(columns: &'f Option<Vec<String>>, known: &'f Option<Vec<String>>) -> Option<&'f Vec<String>> {
    // A name that was no text was made one, and is not found again.
    let is_text = |name: &String| !name.contains(char::REPLACEMENT_CHARACTER);
    let distinct = |names: &&Vec<String>| names.iter().collect::<BTreeSet<_>>().len() == names.len();
    columns.as_ref().or_else(|| known.as_ref().filter(distinct).filter(|names| names.iter().all(is_text)))
}

fn chosen(names: &[String], layout: &[usize]) -> Vec<String> {
    layout.iter().map(|column| names[*column].clone()).collect()
}

/// What all consumers of a source use of it.
#[derive(Default)]
struct Demand {
    /// So many first columns keep their places, for functions.
    leading: usize,
    columns: BTreeSet<usize>,
    /// Nodes that name columns.
    rewrite: Vec<NodeId>,
    /// Collections whose rows are the source's.
    alike: Vec<CollectionId>,
}

fn demand(graph: &Graph, readers: &Readers, context: &Context<'_>, source: CollectionId) -> Result<Demand, String> {
    let mut demand = Demand::default();
    let mut open = vec![source];
    while let Some(id) = open.pop() {
        demand.alike.push(id);
        if graph.collection(id).persist {
            return Err(format!("`{}` is persisted", graph.collection(id).name));
        }
        if let Some(side) = readers.side(id).first() {
            return Err(format!("`{}` takes whole rows as a side input", graph.node(*side).step));
        }
        for reader in readers.main(id).iter().map(|reader| graph.node(*reader)) {
            if reader.on_error != OnError::Fail {
                return Err(format!("`{}` sets whole rows aside", reader.step));
            }
            if demand.add(graph, readers, context, reader)? {
                open.extend(&reader.outputs);
            }
        }
    }
    Ok(demand)
}

impl Demand {
    /// Notes what a reader uses; true where its rows go on to further readers.
    fn add(&mut self, graph: &Graph, readers: &Readers, context: &Context<'_>, reader: &Node) -> Result<bool, String> {
        match &reader.op {
            Op::ParallelDo(Do::Select(columns)) => {
                self.name(reader, columns);
                Ok(false)
            }
            Op::ParallelDo(
                Do::Map(function)
                | Do::FlatMap(function)
                | Do::ForEach(function)
                | Do::Split { function, .. }
                | Do::Filter(function),
            ) => {
                let any = || format!("the function of `{}` could read any field", reader.step);
                let reads = context.reads(function).ok_or_else(any)?;
                self.leading = self.leading.max(reads.last().map_or(0, |field| field + 1));
                Ok(matches!(reader.op, Op::ParallelDo(Do::Filter(_))))
            }
            Op::ParallelDo(Do::Identity) | Op::Group(Group::RoundRobin | Group::Gather) => Ok(true),
            Op::Group(Group::Hash { key: Key::Columns(key) }) => {
                self.name(reader, key);
                Ok(true)
            }
            Op::Group(Group::ByKey { key: Key::Columns(key), values: Values::Rest, order_by })
                if order_by.is_empty() && is_counted(graph, readers, reader) =>
            {
                self.name(reader, key);
                Ok(false)
            }
            Op::Read(_) | Op::ParallelDo(_) | Op::Flatten { .. } | Op::Group(_) | Op::Combine(_) | Op::Operate(_) => {
                Err(format!("`{}` takes whole rows", reader.step))
            }
        }
    }

    fn name(&mut self, reader: &Node, columns: &[u32]) {
        self.rewrite.push(reader.id);
        self.columns.extend(columns.iter().map(|column| *column as usize));
    }

    /// The columns to read, in their new order, as positions in the old one.
    fn layout(self, columns: &[Column]) -> Result<(Self, Vec<usize>), String> {
        let leading = self.leading.min(columns.len());
        if self.columns.iter().any(|column| *column >= columns.len()) {
            return Err("a column that there is not is asked for".into());
        }
        let typed = (0..columns.len()).filter(|column| columns[*column].typed);
        let rest: BTreeSet<usize> = self.columns.iter().copied().chain(typed).filter(|column| *column >= leading).collect();
        let mut layout: Vec<usize> = (0..leading).chain(rest).collect();
        if layout.is_empty() {
            // A row must have some field to be a row of a file.
            layout.push(0);
        }
        if layout.len() >= columns.len() { Err("all are used".into()) } else { Ok((self, layout)) }
    }
}

/// Whether all that is done with the groups is to count their rows.
fn is_counted(graph: &Graph, readers: &Readers, group: &Node) -> bool {
    let made = group.outputs[0];
    let counts = |id: &NodeId| matches!(graph.node(*id).op, Op::Combine(Fold::Count));
    readers.side(made).is_empty() && !graph.collection(made).persist && readers.main(made).iter().all(counts)
}

fn prune(graph: &mut Graph, read: NodeId, demand: &Demand, layout: &[usize], count: usize) {
    let places: BTreeMap<usize, u32> = layout.iter().copied().zip(0..).collect();
    let moved = |column: &mut u32| *column = places.get(&(*column as usize)).copied().unwrap_or(*column);
    for id in &demand.rewrite {
        match graph.nodes.get_mut(id).map(|node| &mut node.op) {
            Some(
                Op::ParallelDo(Do::Select(columns))
                | Op::Group(Group::Hash { key: Key::Columns(columns) } | Group::ByKey { key: Key::Columns(columns), .. }),
            ) => columns.iter_mut().for_each(moved),
            _ => {}
        }
    }
    for id in &demand.alike {
        if let Some(fields) = graph.collections.get_mut(id).and_then(|collection| collection.fields.as_mut())
            && fields.len() == count
        {
            *fields = layout.iter().map(|column| fields[*column].clone()).collect();
        }
    }
    if let Some(Op::Read(Source::Files { format, .. })) = graph.nodes.get_mut(&read).map(|node| &mut node.op) {
        project(format, layout);
    }
}

fn project(format: &mut Format, layout: &[usize]) {
    match format {
        Format::Csv(options) | Format::Tsv(options) => {
            let CsvOptions { columns, .. } = options;
            let of = |column: &usize| columns.as_ref().map_or(super::facts::width(*column), |all| all[*column]);
            *columns = Some(layout.iter().map(of).collect());
        }
        Format::Json { columns: Some(columns) } => *columns = chosen(columns, layout),
        Format::Parquet { columns, known } | Format::Orc { columns, known } => {
            if let Some(all) = by_name(columns, known) {
                *columns = Some(chosen(all, layout));
            }
        }
        Format::Json { columns: None } | Format::Text | Format::Whole => {}
    }
}
