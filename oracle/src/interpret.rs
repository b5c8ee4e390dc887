//! The naive interpreter: node after node in topological order, whole collections as vectors, one partition, one thread.

mod files;
mod fits;
mod functions;
mod groups;
mod joins;
mod process;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use plan::{CollectionId, Do, Fold, Graph, Group, Node, NodeId, OnError, Op, Sink, Source};

use crate::value::order_exactly;
use crate::{Expected, Row, Value, text};
use functions::Machine;
use groups::Grouped;

/// A collection as the interpreter holds it.
#[derive(Clone, Debug, Default)]
struct Rows {
    rows: Vec<Row>,
    /// Behind a `limit` without an order: any so many of `rows` are right.
    any: Option<usize>,
}

/// What has been computed so far.
struct Interpreter<'a> {
    graph: &'a Graph,
    prelude: &'a str,
    base: &'a Path,
    collections: BTreeMap<CollectionId, Rows>,
    /// What group nodes made, before it became rows: for combines and untags.
    groups: BTreeMap<CollectionId, Vec<Grouped>>,
    written: BTreeMap<String, Expected>,
}

/// What every write step of a graph must write, by the name of the step.
///
/// # Errors
/// The message of the first step that fails, or what the oracle cannot foresee or read.
pub fn interpret(graph: &Graph, prelude: &str, base: &Path) -> Result<BTreeMap<String, Expected>, String> {
    let (collections, groups, written) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let mut interpreter = Interpreter { graph, prelude, base, collections, groups, written };
    let needed = needed(graph);
    for id in in_order(graph)?.into_iter().filter(|id| needed.contains(id)) {
        let node = graph.node(id);
        interpreter.visit(node).map_err(|message| format!("step {:?}: {message}", node.step))?;
    }
    Ok(interpreter.written)
}

/// The nodes that run: what reaches a write, and what may be there for its effects or for later runs.
fn needed(graph: &Graph) -> BTreeSet<NodeId> {
    let runs = |node: &&Node| {
        let persisted = node.outputs.iter().any(|made| graph.collection(*made).persist);
        node.is_write() || !node.deterministic || persisted || matches!(node.op, Op::Operate(_))
    };
    let mut open: Vec<NodeId> = graph.nodes.values().filter(runs).map(|node| node.id).collect();
    let mut found = BTreeSet::new();
    while let Some(id) = open.pop() {
        if found.insert(id) {
            open.extend(graph.node(id).reads().map(|read| graph.collection(read).producer));
        }
    }
    found
}

/// Nodes such that each comes after what it reads.
fn in_order(graph: &Graph) -> Result<Vec<NodeId>, String> {
    let mut done: Vec<NodeId> = Vec::new();
    while done.len() < graph.nodes.len() {
        let ready = graph.nodes.values().find(|node| {
            let mut reads = node.inputs.iter().chain(node.side_inputs.iter().map(|side| &side.from));
            !done.contains(&node.id) && reads.all(|read| done.contains(&graph.collection(*read).producer))
        });
        done.push(ready.ok_or("the graph has a cycle")?.id);
    }
    Ok(done)
}

impl Interpreter<'_> {
    fn visit(&mut self, node: &Node) -> Result<(), String> {
        let outputs = match &node.op {
            Op::Read(source) => vec![self.read(node, source)?],
            Op::ParallelDo(Do::Write(sink)) => return self.write(node, sink),
            Op::ParallelDo(what) => self.parallel_do(node, what)?,
            Op::Flatten { .. } => vec![self.all_inputs(node)?],
            Op::Group(group) => return self.group(node, group),
            Op::Combine(fold) => vec![self.combine(node, fold)?],
            Op::Operate(function) => {
                let machine = self.machine(node, &function.source, &[])?;
                vec![machine.emitted(&[])?.into_iter().map(|(_, row)| row).collect()]
            }
        };
        for (id, rows) in node.outputs.iter().zip(outputs) {
            self.collections.insert(*id, Rows { rows, any: None });
        }
        Ok(())
    }

    /// The rows of a collection whose rows are known one by one.
    fn rows(&self, id: CollectionId) -> Result<&[Row], String> {
        let found = &self.collections[&id];
        match found.any {
            None => Ok(&found.rows),
            Some(_) => {
                Err("reads a limit without an order: any rows would do, so the oracle cannot foresee the result".to_owned())
            }
        }
    }

    fn all_inputs(&self, node: &Node) -> Result<Vec<Row>, String> {
        let inputs: Vec<_> = node.inputs.iter().map(|id| self.rows(*id)).collect::<Result<_, _>>()?;
        Ok(inputs.concat())
    }

    fn read(&self, node: &Node, source: &Source) -> Result<Vec<Row>, String> {
        match source {
            Source::Inline { rows } => Ok(rows.iter().map(|row| row.iter().map(text::from_json).collect()).collect()),
            Source::Cached { entry, .. } => Err(format!("{} reads {entry} from a cache, which the oracle has not", node.step)),
            Source::Range { from, to, step } => {
                let mut rows = Vec::new();
                let mut at = i128::from(*from);
                while (*step > 0 && at < i128::from(*to)) || (*step < 0 && at > i128::from(*to)) {
                    rows.push(vec![Value::Int(i64::try_from(at).map_err(|error| error.to_string())?)]);
                    at += i128::from(*step);
                }
                Ok(rows)
            }
            Source::Files { format, paths, allow_empty } => {
                let named = files::named(paths, &self.all_inputs(node)?, self.base, *allow_empty)?;
                let read: Vec<_> = named.iter().map(|path| files::read(path, format)).collect::<Result<_, _>>()?;
                Ok(read.concat())
            }
        }
    }

    fn write(&mut self, node: &Node, sink: &Sink) -> Result<(), String> {
        let input = &self.collections[&node.inputs[0]];
        let ordered = self.graph.collection(node.inputs[0]).ordered;
        let expected = Expected { rows: input.rows.clone(), any: input.any, ordered, sink: sink.clone() };
        // A pass may have copied the write to each input of a union.
        match self.written.get_mut(&node.step) {
            Some(Expected { any: Some(_), .. }) => return Err("two copies of a write of a limit".to_owned()),
            Some(written) => written.rows.extend(expected.rows),
            None => drop(self.written.insert(node.step.clone(), expected)),
        }
        Ok(())
    }

    fn machine(&self, node: &Node, source: &str, outputs: &[String]) -> Result<Machine, String> {
        let mut sides = Vec::new();
        for side in &node.side_inputs {
            sides.push((side, self.rows(side.from)?));
        }
        Machine::new(self.prelude, source, outputs, &sides)
    }

    /// One vector per output of the node.
    fn parallel_do(&self, node: &Node, what: &Do) -> Result<Vec<Vec<Row>>, String> {
        let input = self.all_inputs(node)?;
        match what {
            Do::Map(function) => self.each(node, &input, &self.machine(node, &function.source, &[])?, Machine::map),
            Do::FlatMap(function) => self.each(node, &input, &self.machine(node, &function.source, &[])?, Machine::flat_map),
            Do::Filter(function) => self.each(node, &input, &self.machine(node, &function.source, &[])?, Machine::filter),
            Do::ForEach(function) => self.each(node, &input, &self.machine(node, &function.source, &[])?, Machine::emitted),
            Do::Split { function, outputs } => {
                self.each(node, &input, &self.machine(node, &function.source, outputs)?, Machine::emitted)
            }
            Do::Select(columns) => self.each(node, &input, columns, |columns, row| one(pick(row, columns))),
            Do::PipeAsArgs { command } => self.each(node, &input, command, |command, row| {
                Ok(process::with_arguments(command, row)?.into_iter().map(|row| (0, row)).collect())
            }),
            Do::Pipe { command } => Ok(vec![process::fed(command, &input)?]),
            Do::Identity => Ok(vec![input]),
            Do::Fit(fit) => self.each(node, &input, fit, |fit, row| one(fits::fit(fit, row))),
            Do::Tag { leg, key } => self.each(node, &input, &(*leg, key), |(leg, key), row| one(joins::tag(*leg, key, row))),
            Do::UntagCoGroup { legs } => Ok(vec![joins::co_group(&input, *legs)]),
            Do::Regroup { kind, keys, sides } => Ok(vec![joins::regroup(&input, *kind, *keys as usize, sides)]),
            Do::Alone { key, made } => {
                self.each(node, &input, &(key, *made), |(key, made), row| one(groups::alone(row, key, *made)))
            }
            Do::UntagJoin { kind, legs, widths } => Ok(vec![joins::join(&input, *kind, *legs, widths)]),
            Do::ProbeJoin { kind, big, keys, widths } => {
                let others = node.side_inputs.iter().map(|side| self.rows(side.from)).collect::<Result<Vec<_>, _>>()?;
                Ok(vec![joins::probe(&input, &others, *kind, *big, keys, widths)?])
            }
            Do::Write(_) => Err("a write has no outputs".to_owned()),
        }
    }

    /// Runs `make` on each row; what it cannot handle goes where `onError` says.
    fn each<C>(
        &self,
        node: &Node,
        input: &[Row],
        with: &C,
        make: impl Fn(&C, &[Value]) -> Result<Vec<(usize, Row)>, String>,
    ) -> Result<Vec<Vec<Row>>, String> {
        let mut outputs = vec![Vec::new(); node.outputs.len()];
        for row in input {
            match (make(with, row), &node.on_error) {
                (Ok(made), _) => made.into_iter().for_each(|(output, row)| outputs[output].push(row)),
                (Err(_), OnError::Skip) => {}
                (Err(_), OnError::DeadLetter) => {
                    outputs.last_mut().ok_or("dead letters need an output")?.push(row.clone());
                }
                (Err(message), OnError::Fail) => return Err(format!("{message} on row {row:?}")),
            }
        }
        Ok(outputs)
    }

    fn group(&mut self, node: &Node, group: &Group) -> Result<(), String> {
        let output = node.outputs[0];
        if let Group::Limit { n, offset } = group {
            let limited = self.limit(node, *n, *offset);
            self.collections.insert(output, limited);
            return Ok(());
        }
        let input = self.all_inputs(node)?;
        let rows = match group {
            Group::ByKey { key, values, order_by } => {
                let grouped = groups::by_key(&input, key, *values, order_by)?;
                let rows = grouped.iter().map(Grouped::as_row).collect();
                self.groups.insert(output, grouped);
                rows
            }
            Group::ByLeg { legs } => joins::by_leg(&input, *legs),
            Group::Sort { by } | Group::Merge { by } if !by.is_empty() => groups::sorted(input, by)?,
            Group::Hash { key } => {
                input.iter().try_for_each(|row| groups::key_of(row, key).map(|_| ()))?;
                input
            }
            Group::Sort { .. } | Group::Merge { .. } | Group::Gather | Group::RoundRobin | Group::Limit { .. } => input,
        };
        self.collections.insert(output, Rows { rows, any: None });
        Ok(())
    }

    fn limit(&self, node: &Node, n: u64, offset: u64) -> Rows {
        let input = &self.collections[&node.inputs[0]];
        let (n, offset) = (usize::try_from(n).unwrap_or(usize::MAX), usize::try_from(offset).unwrap_or(usize::MAX));
        let there = input.any.unwrap_or(input.rows.len());
        let kept = there.saturating_sub(offset).min(n);
        let determined = input.any.is_none() && (self.graph.collection(node.inputs[0]).ordered || kept == there);
        if determined {
            return Rows { rows: input.rows.iter().skip(offset).take(n).cloned().collect(), any: None };
        }
        Rows { rows: input.rows.clone(), any: Some(kept) }
    }

    fn combine(&self, node: &Node, fold: &Fold) -> Result<Vec<Row>, String> {
        let grouped = self.groups.get(&node.inputs[0]).ok_or("a combine must read a group")?;
        match fold {
            Fold::Lua(function) => {
                let machine = self.machine(node, &function.source, &[])?;
                grouped.iter().map(|group| group.folded(&machine)).collect()
            }
            Fold::Count => Ok(grouped.iter().map(Grouped::counted).collect()),
            Fold::Smallest => {
                let smallest = |group: &Grouped| group.items.iter().min_by(|a, b| order_exactly(a, b)).cloned();
                Ok(grouped.iter().filter_map(smallest).collect())
            }
            Fold::Top { by, n } => {
                let all = grouped.iter().flat_map(|group| group.items.clone()).collect();
                let mut rows = groups::sorted(all, by)?;
                rows.truncate(usize::try_from(*n).unwrap_or(usize::MAX));
                Ok(rows)
            }
        }
    }
}

fn one(row: Result<Row, String>) -> Result<Vec<(usize, Row)>, String> {
    Ok(vec![(0, row?)])
}

/// Fields of a row by 0-based columns.
fn pick(row: &[Value], columns: &[u32]) -> Result<Row, String> {
    columns.iter().map(|column| at(row, *column)).collect()
}

fn at(row: &[Value], column: u32) -> Result<Value, String> {
    row.get(column as usize).cloned().ok_or_else(|| format!("field {} is beyond the row {row:?}", column + 1))
}

#[cfg(test)]
mod tests;
