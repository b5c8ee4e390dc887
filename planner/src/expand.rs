//! Checked steps to the deferred graph: each operator becomes the elementary operations that it stands for.

mod fit;
mod operators;
mod sink;

use crds::step::{ErrorPolicy, SideShape};
use crds::{Direction, FieldRef, Operator, OrderField, Step};
use plan::{Collection, CollectionId, Do, Function, Graph, Group, Node, NodeId, OnError, Op, Order, SideInput};

use crate::Facts;
use crate::check::aside;
use crate::check::wiring::{Port, Wiring};
use crate::check::{CheckOptions, FlowProblem};
use crate::names::{Missing, Names, Rest};

/// The outcome: a graph of all steps, those that reach no write too (the pass `dead-code` decides about them).
pub(crate) struct Expanded {
    pub(crate) graph: Graph,
    /// False where a name was taken on trust.
    pub(crate) certain: bool,
    pub(crate) problems: Vec<FlowProblem>,
}

/// Expands all steps, each with its operator.
pub(crate) fn expand(
    steps: &[Step],
    operators: &[Operator<'_>],
    wiring: &Wiring,
    facts: &Facts,
    options: &CheckOptions<'_>,
) -> Expanded {
    let mut expansion = Expansion {
        facts,
        options,
        graph: Graph::default(),
        made: vec![Vec::new(); steps.len()],
        letters: vec![None; steps.len()],
        sinks: Vec::new(),
        certain: true,
        problems: Vec::new(),
    };
    for index in &wiring.order {
        expansion.step(*index, &steps[*index], &operators[*index], wiring);
    }
    Expanded { graph: expansion.graph, certain: expansion.certain, problems: expansion.problems }
}

/// What a step makes: one collection, and what is known of its rows.
#[derive(Clone, Debug)]
struct Made {
    id: CollectionId,
    /// The step, or `step.output`.
    label: String,
    names: Names,
    ordered: bool,
    /// Whether it is in one partition for certain.
    single: bool,
    /// Whether it is the output of a `groupBy`.
    grouped: bool,
}

struct Expansion<'a> {
    facts: &'a Facts,
    options: &'a CheckOptions<'a>,
    graph: Graph,
    /// The outputs of each step.
    made: Vec<Vec<Made>>,
    /// The dead letters of each step.
    letters: Vec<Option<Made>>,
    /// Paths of sinks, and the steps that write them.
    sinks: Vec<(String, String)>,
    certain: bool,
    problems: Vec<FlowProblem>,
}

/// The step that is being expanded.
struct Current<'a> {
    index: usize,
    step: &'a Step,
    operator: &'a Operator<'a>,
    inputs: Vec<Made>,
    sides: Vec<SideInput>,
}

impl Current<'_> {
    fn path(&self, field: &str) -> String {
        format!("steps[{}]{field}", self.index)
    }

    /// A field of the operator.
    fn option(&self, field: &str) -> String {
        format!("steps[{}].{}.{field}", self.index, self.operator.name())
    }

    fn ids(&self) -> Vec<CollectionId> {
        self.inputs.iter().map(|input| input.id).collect()
    }

    /// The first input; a broken one where there is none, which was reported.
    fn input(&self) -> Made {
        self.inputs.first().cloned().unwrap_or_else(broken)
    }

    /// An output with the step's name.
    fn made(&self, id: CollectionId, names: Names) -> Made {
        Made { id, label: self.step.name.clone(), names, ordered: false, single: false, grouped: false }
    }
}

/// Stands for an output that a problem left without one; the graph is thrown away then.
fn broken() -> Made {
    let id = CollectionId(u32::MAX);
    Made { id, label: String::new(), names: Names::with_rest(Rest::Broken), ordered: false, single: false, grouped: false }
}

impl Expansion<'_> {
    fn step(&mut self, index: usize, step: &Step, operator: &Operator<'_>, wiring: &Wiring) {
        let edges = &wiring.edges[index];
        let mut current = Current { index, step, operator, inputs: Vec::new(), sides: self.sides(step, &edges.sides) };
        let is_unclear = self.options.is_unclear(index);
        // Nothing follows for certain from inputs and options of which some are not known.
        let input = |port: &Option<Port>| if is_unclear { broken() } else { self.output(*port) };
        current.inputs = edges.inputs.iter().map(input).collect();
        self.join_letters(&mut current, &edges.letters);
        self.fit_keys(&mut current);
        let mut made = self.operator(&current);
        if is_unclear {
            made.iter_mut().for_each(|made| made.names = Names::with_rest(Rest::Broken));
        }
        self.check_common(&current);
        self.finish(&current, made);
    }

    fn output(&self, port: Option<Port>) -> Made {
        let made = port.and_then(|port| self.made[port.step].get(port.output).cloned());
        made.unwrap_or_else(broken)
    }

    fn sides(&self, step: &Step, ports: &[Option<Port>]) -> Vec<SideInput> {
        let shape = |shape| match shape {
            SideShape::Value => plan::SideShape::Value,
            SideShape::List => plan::SideShape::List,
            SideShape::Map => plan::SideShape::Map,
        };
        let sides = step.side_inputs.iter().zip(ports);
        sides
            .map(|(side, port)| SideInput { name: side.name.clone(), from: self.output(*port).id, shape: shape(side.shape) })
            .collect()
    }

    /// Dead letters of other steps are one more input, united with the step's own.
    fn join_letters(&mut self, current: &mut Current<'_>, letters: &[usize]) {
        let letters: Vec<Made> = letters.iter().map(|step| self.letters[*step].clone().unwrap_or_else(broken)).collect();
        if letters.is_empty() {
            return;
        }
        current.inputs.extend(letters);
        if matches!(current.operator, Operator::Union(_)) || current.inputs.len() == 1 {
            return;
        }
        let names: Vec<Names> = current.inputs.iter().map(|input| input.names.clone()).collect();
        let id = self.one(current, Op::Flatten { ordered: false }, current.ids());
        current.inputs = vec![current.made(id, Names::union(&names))];
    }

    /// Names, persistence and order of what the step made.
    fn finish(&mut self, current: &Current<'_>, mut made: Vec<Made>) {
        for made in &mut made {
            if let (Some(fields), false) = (&current.step.fields, matches!(current.operator, Operator::Write(_))) {
                self.check_fields(current, fields, &made.names);
                made.names = Names::named(fields.iter().cloned());
            }
            if let Some(collection) = self.graph.collections.get_mut(&made.id) {
                collection.fields = made.names.complete();
                collection.ordered = made.ordered;
                collection.persist = current.step.persist;
            }
        }
        if let Some(node) = self.graph.nodes.values_mut().next_back().filter(|node| node.step == current.step.name) {
            node.size_ratio = current.step.hints.as_ref().and_then(|hints| hints.size_ratio);
        }
        self.made[current.index] = made;
    }

    fn check_fields(&mut self, current: &Current<'_>, fields: &[String], names: &Names) {
        for (index, field) in fields.iter().enumerate() {
            if fields[..index].contains(field) {
                self.report(current, current.path(&format!(".fields[{index}]")), format!("two fields are named {field:?}"), None);
            }
        }
        let (known, given) = (names.fields.len(), fields.len());
        if names.width().is_some_and(|width| width != given) || given < known {
            let at_least = if names.width().is_some() { "" } else { "at least " };
            let message = format!("\"fields\" has {given} names, and the rows have {at_least}{known} fields");
            self.report(current, current.path(".fields"), message, None);
        }
    }

    /// What every step may say, where the operator has a use for it.
    fn check_common(&mut self, current: &Current<'_>) {
        let step = current.step;
        let name = current.operator.name();
        if step.partitions == Some(0) {
            self.report(current, current.path(".partitions"), "there must be at least one partition".to_owned(), None);
        }
        if step.partitions.is_some() && !makes_partitions(current.operator) {
            let help = match current.operator {
                Operator::Combine(_) => "give it to the groupBy",
                _ => "put a partition or roundRobin step with \"partitions\" before it",
            };
            let message = format!("a {name} keeps the partitions of its input, so \"partitions\" does nothing here");
            self.report(current, current.path(".partitions"), message, Some(help.to_owned()));
        }
        if step.persist && matches!(current.operator, Operator::Write(_)) {
            self.report(current, current.path(".persist"), "a write makes no rows that could be kept".to_owned(), None);
        }
        if let Some(Err(error)) = step.hints.as_ref().and_then(|hints| hints.memory.as_ref()).map(crds::Quantity::bytes) {
            self.report(current, current.path(".hints.memory"), error.to_string(), None);
        }
    }

    /// Adds a node of the current step, with its outputs' names.
    fn node(&mut self, current: &Current<'_>, op: Op, inputs: Vec<CollectionId>, outputs: &[String]) -> Vec<CollectionId> {
        let step = current.step;
        let id = self.graph.fresh_node();
        let on_error = self.on_error(current, &op);
        let function = function_of(&op).is_some();
        let partitioned = matches!(op, Op::Group(_) | Op::Read(_));
        let broadcast = operators::broadcast(current.operator).filter(|_| matches!(op, Op::ParallelDo(_)));
        let letters = (on_error == OnError::DeadLetter).then(|| format!("{}.onError", step.name));
        let names: Vec<&String> = outputs.iter().chain(&letters).collect();
        let outputs: Vec<CollectionId> = names.into_iter().map(|name| self.collection(id, name)).collect();
        if let Some((letter, Some(label))) = outputs.last().map(|last| (*last, letters)) {
            let names = if let Op::Read(_) = op { Names::unnamed(1) } else { current.input().names };
            self.letters[current.index] = Some(Made { label, ..current.made(letter, names) });
            if let Some(collection) = self.graph.collections.get_mut(&letter) {
                collection.fields = self.letters[current.index].as_ref().and_then(|made| made.names.complete());
            }
        }
        // A union is a view: it runs nothing that could differ.
        let is_view = matches!(op, Op::Flatten { .. });
        let node = Node {
            id,
            step: step.name.clone(),
            op,
            inputs,
            side_inputs: if function { current.sides.clone() } else { Vec::new() },
            outputs: outputs.clone(),
            deterministic: is_view || step.deterministic.unwrap_or(!is_indeterminate(current.operator)),
            partitions: step.partitions.filter(|_| partitioned),
            size_ratio: None,
            memory: step.hints.as_ref().and_then(|hints| hints.memory.as_ref()).and_then(|memory| memory.bytes().ok()),
            broadcast,
            on_error,
        };
        self.graph.nodes.insert(id, node);
        outputs
    }

    /// Adds a node with one output that is named by the step.
    fn one(&mut self, current: &Current<'_>, op: Op, inputs: Vec<CollectionId>) -> CollectionId {
        let outputs = self.node(current, op, inputs, std::slice::from_ref(&current.step.name));
        outputs[0]
    }

    fn collection(&mut self, producer: NodeId, name: &str) -> CollectionId {
        let id = self.graph.fresh_collection();
        let collection =
            Collection { id, name: name.to_owned(), producer, fields: None, ordered: false, persist: false, bytes: None };
        self.graph.collections.insert(id, collection);
        id
    }

    fn on_error(&self, current: &Current<'_>, op: &Op) -> OnError {
        let by_itself = aside::by_itself(current.operator) && !matches!(op, Op::Flatten { .. });
        if !by_itself && !matches!(op, Op::ParallelDo(Do::Fit(_))) {
            return OnError::Fail;
        }
        match aside::policy(current.step) {
            ErrorPolicy::Fail => OnError::Fail,
            ErrorPolicy::Skip => OnError::Skip,
            ErrorPolicy::DeadLetter => OnError::DeadLetter,
        }
    }

    fn function(&self, current: &Current<'_>, source: &str) -> Function {
        let path = current.option("lua");
        let place = self.options.places.map(|places| places.line_place(&path, 1).to_string());
        Function { source: source.to_owned(), place: place.unwrap_or_default() }
    }

    /// The columns of some fields of an input.
    fn columns(&mut self, current: &Current<'_>, input: &Made, fields: &[FieldRef], option: &str) -> Vec<u32> {
        let indexed = fields.iter().enumerate();
        let columns =
            indexed.map(|(index, field)| self.column(current, input, field, current.option(&format!("{option}[{index}]"))));
        columns.collect()
    }

    fn orders(&mut self, current: &Current<'_>, by: &[OrderField], option: &str) -> Vec<Order> {
        let input = current.input();
        let indexed = by.iter().enumerate();
        let order = |(index, by): (usize, &OrderField)| Order {
            column: self.column(current, &input, &by.field, current.option(&format!("{option}[{index}].field"))),
            descending: by.order == Direction::Desc,
        };
        indexed.map(order).collect()
    }

    fn column(&mut self, current: &Current<'_>, input: &Made, field: &FieldRef, path: String) -> u32 {
        match input.names.column(field) {
            Ok(column) => column,
            Err(Missing::Unread(_)) if self.options.lenient => {
                self.certain = false;
                0
            }
            Err(missing) => {
                if let Some((message, help)) = missing.describe(&input.label) {
                    self.report(current, path, message, help);
                }
                0
            }
        }
    }

    fn report(&mut self, current: &Current<'_>, path: String, message: String, help: Option<String>) {
        self.problems.push(FlowProblem::new(path, message).step(&current.step.name).help(help));
    }
}

/// Whether `partitions` of a step means something: it reads or shuffles.
fn makes_partitions(operator: &Operator<'_>) -> bool {
    match operator {
        Operator::Unclear
        | Operator::Read(_)
        | Operator::Reduce(_)
        | Operator::GroupBy(_)
        | Operator::ReduceBy(_)
        | Operator::CoGroup(_)
        | Operator::Join(_)
        | Operator::Distinct(_)
        | Operator::Count(_)
        | Operator::Sort(_)
        | Operator::Top(_)
        | Operator::Limit(_)
        | Operator::Partition(_)
        | Operator::RoundRobin(_)
        | Operator::Merge(_) => true,
        Operator::Map(_)
        | Operator::FlatMap(_)
        | Operator::Filter(_)
        | Operator::ForEach(_)
        | Operator::ParallelDo(_)
        | Operator::Select(_)
        | Operator::Combine(_)
        | Operator::Union(_)
        | Operator::Pipe(_)
        | Operator::PipeAsArgs(_)
        | Operator::Operate(_)
        | Operator::Write(_) => false,
    }
}

/// Whether a step is not expected to make the same rows again, unless it says so.
pub(crate) fn is_indeterminate(operator: &Operator<'_>) -> bool {
    matches!(operator, Operator::Pipe(_) | Operator::PipeAsArgs(_) | Operator::ForEach(_))
}

fn function_of(op: &Op) -> Option<&Function> {
    match op {
        Op::ParallelDo(Do::Map(function) | Do::FlatMap(function) | Do::Filter(function) | Do::ForEach(function))
        | Op::ParallelDo(Do::Split { function, .. })
        | Op::Combine(plan::Fold::Lua(function))
        | Op::Operate(function) => Some(function),
        Op::Read(_) | Op::ParallelDo(_) | Op::Flatten { .. } | Op::Group(_) | Op::Combine(_) => None,
    }
}

/// Whether a group's output is in one partition whatever `--partitions` says.
fn is_single(group: &Group, partitions: Option<u32>) -> bool {
    match (group, partitions) {
        (_, Some(partitions)) => partitions == 1,
        (Group::Merge { .. } | Group::Gather | Group::Limit { .. }, None) => true,
        (Group::ByKey { key: plan::Key::Columns(key), .. }, None) => key.is_empty(),
        (Group::ByKey { .. } | Group::ByLeg { .. } | Group::Sort { .. } | Group::Hash { .. } | Group::RoundRobin, None) => false,
    }
}
