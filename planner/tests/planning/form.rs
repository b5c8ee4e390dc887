//! A small text form of graphs, and short forms of plans to compare with.
//!
//! Statements end at `;` or a line end: `y = pd Y x`, `(a, b) = pd A x`, `write Out y`. Words behind the inputs:
//! `~0.5` size ratio, `@100` bytes, `!nd` not deterministic, `!persist`, `!ordered`, `!skip`, `parts:4`, `as:TEXT` the
//! function's text, `key:0,1`, `cols:2,0`, `n:5`, `fields:a,b`, `bc:always`; `| s t` side inputs.

use std::collections::{BTreeMap, BTreeSet};

use plan::{
    Collection, CollectionId, CsvOptions, Do, Fold, Format, Function, Graph, Group, JoinKind, Key, Mode, Node, NodeId, OnError,
    Op, Order, OutputChannel, Paths, Plan, SideInput, SideShape, Sink, SinkFormat, Source, Values,
};
use planner::{Options, PassName, passes::Lua};

/// Parses the text form.
pub(crate) fn graph(text: &str) -> Graph {
    let mut form = Form::default();
    for statement in text.split([';', '\n']).map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        form.statement(statement);
    }
    form.graph
}

#[derive(Default)]
struct Form {
    graph: Graph,
    names: BTreeMap<String, CollectionId>,
}

/// The words of a statement, sorted out.
#[derive(Default)]
struct Words<'a> {
    results: Vec<&'a str>,
    operator: &'a str,
    step: &'a str,
    inputs: Vec<CollectionId>,
    sides: Vec<CollectionId>,
    flags: Vec<&'a str>,
}

impl Words<'_> {
    fn flag(&self, name: &str) -> bool {
        self.flags.contains(&name)
    }

    fn value(&self, prefix: &str) -> Option<&str> {
        self.flags.iter().find_map(|flag| flag.strip_prefix(prefix))
    }

    fn numbers(&self, prefix: &str) -> Vec<u32> {
        let text = self.value(prefix).unwrap_or("0");
        text.split(',').filter(|word| !word.is_empty()).map(|word| word.parse().unwrap()).collect()
    }

    fn function(&self) -> Function {
        Function { source: self.value("as:").unwrap_or(self.step).into(), place: String::new() }
    }

    fn orders(&self) -> Vec<Order> {
        self.numbers("by:").into_iter().map(|column| Order { column, descending: false }).collect()
    }
}

impl Form {
    fn statement(&mut self, statement: &str) {
        let (results, rest) = match statement.split_once('=') {
            Some((left, right)) if !left.trim().starts_with("write") && !left.contains(':') => (left, right),
            _ => ("", statement),
        };
        let (main, sides) = rest.split_once('|').unwrap_or((rest, ""));
        let mut words = Words { sides: sides.split_whitespace().map(|name| self.names[name]).collect(), ..Words::default() };
        words.results = results.split(['(', ')', ',']).map(str::trim).filter(|name| !name.is_empty()).collect();
        let mut parts = main.split_whitespace();
        words.operator = parts.next().unwrap();
        let is_flag = |word: &str| {
            word.starts_with(['~', '@', '!']) || (word.contains(':') && word.starts_with(|c: char| c.is_ascii_lowercase()))
        };
        let rest: Vec<&str> = parts.collect();
        words.flags = rest.iter().copied().filter(|word| is_flag(word)).collect();
        let plain: Vec<&str> = rest.into_iter().filter(|word| !is_flag(word)).collect();
        let names = match plain.split_first() {
            Some((step, inputs)) => {
                words.step = step;
                inputs
            }
            None => {
                words.step = words.results[0];
                &[]
            }
        };
        words.inputs =
            names.iter().map(|name| *self.names.get(*name).unwrap_or_else(|| panic!("no {name} in {statement}"))).collect();
        self.expand(&words);
    }

    fn expand(&mut self, words: &Words<'_>) {
        match words.operator {
            "join" => self.legs(words, |legs| {
                let kind = match words.value("kind:") {
                    None | Some("inner") => JoinKind::Inner,
                    Some("left") => JoinKind::Left,
                    Some("right") => JoinKind::Right,
                    Some("full") => JoinKind::Full,
                    Some(other) => panic!("no kind {other}"),
                };
                Do::UntagJoin { kind, legs, widths: vec![Some(1); legs as usize] }
            }),
            "cogroup" => self.legs(words, |legs| Do::UntagCoGroup { legs }),
            "count" => {
                let inner = self.node(words, Op::ParallelDo(Do::Identity), words.inputs.clone(), 1);
                let group = self.node(words, by_key(words, Values::Rest), vec![inner[0]], 1);
                let out = self.node(words, Op::Combine(Fold::Count), vec![group[0]], 1);
                self.name(words, out);
            }
            "distinct" => {
                let inner = self.node(words, Op::ParallelDo(Do::Identity), words.inputs.clone(), 1);
                let group = self.node(words, by_key(words, Values::Row), vec![inner[0]], 1);
                let out = self.node(words, Op::Combine(Fold::Smallest), vec![group[0]], 1);
                self.name(words, out);
            }
            "reduceby" => {
                let group = self.node(words, by_key(words, Values::Rest), words.inputs.clone(), 1);
                let out = self.node(words, Op::Combine(Fold::Lua(words.function())), vec![group[0]], 1);
                self.name(words, out);
            }
            _ => {
                let op = op(words);
                let outputs = if words.operator == "write" { 0 } else { words.results.len().max(1) };
                let out = self.node(words, op, words.inputs.clone(), outputs);
                self.name(words, out);
            }
        }
    }

    fn legs(&mut self, words: &Words<'_>, untag: impl Fn(u32) -> Do) {
        let mut tagged = Vec::new();
        for (leg, input) in words.inputs.iter().enumerate() {
            let tag = Do::Tag { leg: leg as u32, key: words.numbers("key:") };
            tagged.extend(self.node(words, Op::ParallelDo(tag), vec![*input], 1));
        }
        let legs = tagged.len() as u32;
        let union = self.node(words, Op::Flatten { ordered: false }, tagged, 1);
        let group = self.node(words, Op::Group(Group::ByLeg { legs }), union, 1);
        let out = self.node(words, Op::ParallelDo(untag(legs)), group, 1);
        self.name(words, out);
    }

    fn name(&mut self, words: &Words<'_>, out: Vec<CollectionId>) {
        for (name, id) in words.results.iter().zip(&out) {
            self.names.insert((*name).into(), *id);
            let collection = self.graph.collections.get_mut(id).unwrap();
            collection.name = (*name).into();
            collection.persist = words.flag("!persist");
            collection.bytes = words.value("@").map(|bytes| bytes.parse().unwrap());
            collection.ordered = words.flag("!ordered") || words.operator == "sort" || words.operator == "flo";
            collection.fields = words.value("fields:").map(|names| names.split(',').map(String::from).collect());
        }
    }

    fn node(&mut self, words: &Words<'_>, op: Op, inputs: Vec<CollectionId>, outputs: usize) -> Vec<CollectionId> {
        let id = self.graph.fresh_node();
        let mut made = Vec::new();
        for _ in 0..outputs {
            let collection = self.graph.fresh_collection();
            let name = words.step.to_owned();
            let new =
                Collection { id: collection, name, producer: id, fields: None, ordered: false, persist: false, bytes: None };
            self.graph.collections.insert(collection, new);
            made.push(collection);
        }
        let is_join = matches!(op, Op::ParallelDo(Do::Tag { .. } | Do::UntagJoin { .. }));
        let sides = words.sides.iter().map(|from| SideInput {
            name: self.graph.collection(*from).name.clone(),
            from: *from,
            shape: SideShape::List,
        });
        let node = Node {
            id,
            step: words.step.into(),
            inputs,
            side_inputs: sides.collect(),
            outputs: made.clone(),
            deterministic: !words.flag("!nd"),
            partitions: words.value("parts:").filter(|_| matches!(op, Op::Group(_))).map(|n| n.parse().unwrap()),
            size_ratio: words.value("~").map(|ratio| ratio.parse().unwrap()),
            memory: None,
            broadcast: words.value("bc:").filter(|_| is_join).map(|wish| wish == "always"),
            on_error: if words.flag("!skip") { OnError::Skip } else { OnError::Fail },
            op,
        };
        self.graph.nodes.insert(id, node);
        made
    }
}

fn by_key(words: &Words<'_>, values: Values) -> Op {
    let key = if words.flag("!row") { Key::Row } else { Key::Columns(words.numbers("key:")) };
    let order_by = if words.value("by:").is_some() { words.orders() } else { Vec::new() };
    Op::Group(Group::ByKey { key, values, order_by })
}

fn op(words: &Words<'_>) -> Op {
    let function = words.function();
    let work = match words.operator {
        "read" => return Op::Read(source(words)),
        "fl" => return Op::Flatten { ordered: false },
        "flo" => return Op::Flatten { ordered: true },
        "op" => return Op::Operate(function),
        "gbk" => return by_key(words, Values::Rest),
        "cv" => return Op::Combine(Fold::Lua(function)),
        "sort" => return Op::Group(Group::Sort { by: words.orders() }),
        "hash" => return Op::Group(Group::Hash { key: Key::Columns(words.numbers("key:")) }),
        "deal" => return Op::Group(Group::RoundRobin),
        "limit" => return Op::Group(Group::Limit { n: words.numbers("n:")[0].into(), offset: 0 }),
        "pd" if words.results.len() > 1 => {
            Do::Split { function, outputs: words.results.iter().map(|name| (*name).into()).collect() }
        }
        "pd" => Do::Map(function),
        "fi" => Do::Filter(function),
        "fm" => Do::FlatMap(function),
        "select" => Do::Select(words.numbers("cols:")),
        "pipe" => Do::Pipe { command: words.step.into() },
        "args" => Do::PipeAsArgs { command: words.step.into() },
        "write" => Do::Write(Sink::Files { format: SinkFormat::Text, path: words.step.into(), mode: Mode::Fail, fields: None }),
        other => panic!("no operator {other}"),
    };
    Op::ParallelDo(work)
}

fn source(words: &Words<'_>) -> Source {
    let paths = if words.inputs.is_empty() {
        Paths::Listed(vec![words.value("path:").unwrap_or(words.step).into()])
    } else {
        Paths::Rows
    };
    let columns = words.value("columns:").map(|names| names.split(',').map(String::from).collect());
    let format = match words.value("format:") {
        None => Format::Text,
        Some("csv") => {
            let types = words.value("typed:").map(|column| (column.parse().unwrap(), plan::ValueType::Integer));
            let options = CsvOptions {
                header: true,
                delimiter: b',',
                quote: Some(b'"'),
                columns: None,
                types: types.into_iter().collect(),
            };
            Format::Csv(options)
        }
        Some("json") => Format::Json { columns },
        Some("parquet") => {
            let fields = words.value("fields:").filter(|_| columns.is_none());
            Format::Parquet { columns, known: fields.map(|names| names.split(',').map(String::from).collect()) }
        }
        Some(other) => panic!("no format {other}"),
    };
    Source::Files { format, paths, allow_empty: false }
}

/// A stand-in for the analysis of functions: a text like `reads:0,2` reads those parameters and is a plain expression, which may raise an
/// error for what is no string if `!` stands behind; one like `keeps:1,_` returns its second parameter and something else.
pub(crate) fn lua() -> Lua {
    fn reads(source: &str) -> Option<BTreeSet<usize>> {
        let columns = source.strip_prefix("reads:")?.trim_end_matches('!');
        Some(columns.split(',').filter(|word| !word.is_empty()).map(|word| word.parse().unwrap()).collect())
    }
    fn passes_on(source: &str, _: &str) -> Option<Vec<Option<usize>>> {
        Some(source.strip_prefix("keeps:")?.split(',').map(|place| place.parse().ok()).collect())
    }
    let is_plain_filter = |source: &str, _: &str| source.starts_with("reads:");
    let never_raises = |source: &str, _: &str, texts: &BTreeSet<usize>| {
        !source.ends_with('!') || reads(source).is_some_and(|reads| reads.is_subset(texts))
    };
    Lua { reads, is_plain_filter, never_raises, passes_on }
}

/// Plans with every invariant checked after every pass.
pub(crate) fn planned(text: &str, options: &Options) -> Plan {
    planner::plan_checked(graph(text), String::new(), options, lua()).unwrap_or_else(|faults| panic!("{faults:#?}\nof\n{text}"))
}

/// `[initial → sunk → fused → stages]`.
pub(crate) fn counts(plan: &Plan) -> [usize; 4] {
    let counts = plan.operations;
    [counts.initial as usize, counts.sunk as usize, counts.fused as usize, plan.mscrs.len()]
}

/// The stages in a short form: `in X > A+B; out G[C] > D+E <0; pass P`.
pub(crate) fn short(plan: &Plan) -> String {
    let step = |id: &NodeId| plan.graph.node(*id).step.as_str();
    let joined = |nodes: &[NodeId]| nodes.iter().map(step).collect::<Vec<_>>().join("+");
    let mut lines = Vec::new();
    for mscr in &plan.mscrs {
        let mut parts = Vec::new();
        for channel in &mscr.inputs {
            let reads: Vec<&str> = channel.reads.iter().map(|id| plan.graph.collection(*id).name.as_str()).collect();
            let does = joined(&channel.does);
            parts.push(format!("in {}{}", reads.join(","), if does.is_empty() { does } else { format!(" > {does}") }));
        }
        for output in &mscr.outputs {
            parts.push(match output {
                OutputChannel::Group { group, combine, reduce, from } => {
                    let combine = if combine.is_empty() { String::new() } else { format!("[{}]", joined(combine)) };
                    let reduce = if reduce.is_empty() { String::new() } else { format!(" > {}", joined(reduce)) };
                    let from: Vec<String> = from.iter().map(usize::to_string).collect();
                    format!("out {}{combine}{reduce} <{}", step(group), from.join(","))
                }
                OutputChannel::Pass { what: plan::Pass::Collection(id) } => format!("pass {}", plan.graph.collection(*id).name),
                OutputChannel::Pass { what: plan::Pass::Write(id) } => format!("pass {}", step(id)),
            });
        }
        let after: Vec<String> = mscr
            .after
            .iter()
            .map(|wait| match wait {
                plan::After::Mscr(id) => id.to_string(),
                plan::After::Operate(id) => step(id).into(),
            })
            .collect();
        let after = if after.is_empty() { String::new() } else { format!(" after {}", after.join(",")) };
        lines.push(format!("{}{after}: {}", mscr.id, parts.join("; ")));
    }
    lines.join("\n")
}

/// Plans and compares counts and stages, line by line, indentation aside.
#[track_caller]
pub(crate) fn check(text: &str, expected_counts: [usize; 4], expected: &str) -> Plan {
    check_with(text, &Options::default(), expected_counts, expected)
}

/// [`check`] with options.
#[track_caller]
pub(crate) fn check_with(text: &str, options: &Options, expected_counts: [usize; 4], expected: &str) -> Plan {
    let plan = planned(text, options);
    let expected: Vec<&str> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let found = short(&plan);
    let lines: Vec<&str> = found.lines().collect();
    assert_eq!(lines, expected, "found {:?}:\n{found}", counts(&plan));
    assert_eq!(counts(&plan), expected_counts);
    plan
}

/// Whether a pass said of a step that it did, or did not, for a reason with these words in it.
#[track_caller]
pub(crate) fn told(plan: &Plan, pass: &str, step: &str, did: bool, words: &str) {
    let of_pass: Vec<_> = plan.decisions.iter().filter(|told| told.pass == pass).collect();
    let found = of_pass.iter().any(|told| told.step == step && told.did == did && told.reason.contains(words));
    assert!(found, "{pass} did not tell of {step} ({did}): {words}; it told {of_pass:#?}");
}

/// Options with some passes off.
pub(crate) fn without(passes: &[PassName]) -> Options {
    Options { without: passes.iter().copied().collect(), ..Options::default() }
}
