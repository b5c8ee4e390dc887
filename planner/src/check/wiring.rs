//! Which step reads which: names become edges, in an order in which every step stands behind its inputs.

mod circle;

use std::collections::BTreeMap;

use crds::nearest::did_you_mean;
use crds::step::ErrorPolicy;
use crds::{Operator, Step};

use super::{CheckOptions, FlowProblem, aside};
use crate::expand::is_indeterminate;

/// An output of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Port {
    pub(crate) step: usize,
    /// Which of a `parallelDo`'s outputs; 0 for other steps.
    pub(crate) output: usize,
}

/// What a step reads; `None` where that was reported as a problem.
#[derive(Clone, Debug, Default)]
pub(crate) struct Edges {
    pub(crate) inputs: Vec<Option<Port>>,
    pub(crate) sides: Vec<Option<Port>>,
    /// The steps whose dead letters it reads.
    pub(crate) letters: Vec<usize>,
}

/// The edges of all steps.
#[derive(Debug)]
pub(crate) struct Wiring {
    pub(crate) edges: Vec<Edges>,
    /// Steps in an order in which each stands behind what it reads; those that reach a write first.
    pub(crate) order: Vec<usize>,
    /// Whether a step reaches a write.
    pub(crate) kept: Vec<bool>,
    /// Whether a step runs though it reaches no write: it, or one that reads it, is an operate, persisted or not deterministic.
    pub(crate) runs: Vec<bool>,
}

/// Connects the steps; `operators` has the operator of each.
pub(crate) fn connect(steps: &[Step], operators: &[Operator<'_>], options: &CheckOptions<'_>) -> (Wiring, Vec<FlowProblem>) {
    let mut connector = Connector { steps, operators, options, by_name: BTreeMap::new(), problems: Vec::new() };
    connector.check_names();
    let mut edges: Vec<Edges> = (0..steps.len()).map(|_| Edges::default()).collect();
    for index in 0..steps.len() {
        if let Some(to) = connector.dead_letters(index) {
            edges[to].letters.push(index);
        }
    }
    for (index, edges) in edges.iter_mut().enumerate() {
        edges.inputs = connector.inputs(index, !edges.letters.is_empty());
        edges.sides = connector.sides(index);
        edges.inputs.extend(connector.paths_from(index));
    }
    let order = circle::order(steps, &edges, &mut connector.problems);
    let kept = reach(&|step| matches!(operators[step], Operator::Write(_)), &edges, &order);
    let runs = reach(&|step| runs_unread(&steps[step], &operators[step]), &edges, &order);
    let (first, last): (Vec<usize>, Vec<usize>) = order.into_iter().partition(|step| kept[*step]);
    (Wiring { edges, order: [first, last].concat(), kept, runs }, connector.problems)
}

/// Every step that a step reads, in any way.
fn reads(edges: &Edges) -> impl Iterator<Item = usize> + '_ {
    let ports = edges.inputs.iter().chain(&edges.sides).flatten().map(|port| port.step);
    ports.chain(edges.letters.iter().copied())
}

/// Whether a step runs even if nobody reads what it makes.
pub(crate) fn runs_unread(step: &Step, operator: &Operator<'_>) -> bool {
    let deterministic = step.deterministic.unwrap_or(!is_indeterminate(operator));
    let is_view = matches!(operator, Operator::Union(_));
    (!deterministic && !is_view) || step.persist || matches!(operator, Operator::Operate(_))
}

/// The steps that lead to such a one, itself among them.
fn reach(such: &dyn Fn(usize) -> bool, edges: &[Edges], order: &[usize]) -> Vec<bool> {
    let mut kept: Vec<bool> = (0..edges.len()).map(such).collect();
    for step in order.iter().rev().copied() {
        if kept[step] {
            for read in reads(&edges[step]) {
                kept[read] = true;
            }
        }
    }
    kept
}

struct Connector<'a> {
    steps: &'a [Step],
    operators: &'a [Operator<'a>],
    options: &'a CheckOptions<'a>,
    by_name: BTreeMap<&'a str, usize>,
    problems: Vec<FlowProblem>,
}

impl<'a> Connector<'a> {
    fn check_names(&mut self) {
        for (index, step) in self.steps.iter().enumerate() {
            match self.by_name.get(step.name.as_str()) {
                Some(first) => {
                    let help = format!("steps[{first}] has that name before");
                    self.report(index, ".name", format!("there are two steps named {:?}", step.name), Some(help));
                }
                None => {
                    self.by_name.insert(&step.name, index);
                }
            }
        }
    }

    fn inputs(&mut self, index: usize, has_letters: bool) -> Vec<Option<Port>> {
        let operator = &self.operators[index];
        if let Operator::Read(_) | Operator::Operate(_) = operator {
            self.refuse_from(index);
            return Vec::new();
        }
        let inputs = match &self.steps[index].from {
            Some(names) => names.iter().enumerate().map(|(at, name)| self.port(index, name, &format!(".from[{at}]"))).collect(),
            None if has_letters => Vec::new(),
            None => vec![self.step_before(index)],
        };
        self.check_count(index, inputs.len());
        inputs
    }

    fn refuse_from(&mut self, index: usize) {
        if self.steps[index].from.is_none() {
            return;
        }
        let (message, help) = match self.operators[index] {
            Operator::Read(_) => {
                ("a read takes no \"from\"", "where the paths are rows of a step, say \"pathsFrom\" in the source")
            }
            _ => ("an operate takes no \"from\"", "give it \"sideInputs\""),
        };
        self.report(index, ".from", message.to_owned(), Some(help.to_owned()));
    }

    fn check_count(&mut self, index: usize, count: usize) {
        let operator = &self.operators[index];
        let name = operator.name();
        match operator {
            Operator::Join(_) | Operator::CoGroup(_) if count < 2 => {
                let help = "write from: [first, second]".to_owned();
                self.report(index, ".from", format!("a {name} takes two or more inputs, and this one has {count}"), Some(help));
            }
            Operator::Join(_) | Operator::CoGroup(_) | Operator::Unclear => {}
            Operator::Union(_) if self.steps[index].from.is_none() && count > 0 => {
                let help = "write from: [first, second]".to_owned();
                self.report(index, "", "a union needs to be told its inputs".to_owned(), Some(help));
            }
            Operator::Union(_) => {}
            _ if count > 1 => {
                let help = "bring them together in a union or join before".to_owned();
                self.report(index, ".from", format!("a {name} takes one input, and this one has {count}"), Some(help));
            }
            _ => {}
        }
    }

    /// The default input.
    fn step_before(&mut self, index: usize) -> Option<Port> {
        let Some(before) = index.checked_sub(1) else {
            let help = "begin the flow with a read, or give \"from\"".to_owned();
            self.report(index, "", "the first step has no step before it to take rows from".to_owned(), Some(help));
            return None;
        };
        let name = &self.steps[before].name;
        match self.operators[before] {
            Operator::Write(_) => {
                let message = format!("the step before, {name:?}, is a write and makes no rows");
                self.report(index, "", message, Some("name the input in \"from\"".to_owned()));
                None
            }
            Operator::ParallelDo(split) => {
                let message = format!("the step before, {name:?}, has several outputs");
                let outputs: Vec<String> = split.outputs.iter().map(|output| format!("{name}.{output}")).collect();
                self.report(index, "", message, Some(format!("name one in \"from\": {}", outputs.join(", "))));
                None
            }
            _ => Some(Port { step: before, output: 0 }),
        }
    }

    fn sides(&mut self, index: usize) -> Vec<Option<Port>> {
        let sides = self.steps[index].side_inputs.iter().enumerate();
        sides.map(|(at, side)| self.port(index, &side.from, &format!(".sideInputs[{at}].from"))).collect()
    }

    fn paths_from(&mut self, index: usize) -> Option<Option<Port>> {
        let Operator::Read(read) = self.operators[index] else { return None };
        let (source, name) = super::source::paths_from(read)?;
        Some(self.port(index, name, &format!(".read.{source}.pathsFrom")))
    }

    /// The output that a step names.
    fn port(&mut self, index: usize, name: &str, field: &str) -> Option<Port> {
        let (step_name, output) = name.split_once('.').map_or((name, None), |(step, output)| (step, Some(output)));
        let Some(step) = self.by_name.get(step_name).copied() else {
            if self.has_unnamed() {
                return None;
            }
            let names = self.steps.iter().map(|step| step.name.as_str()).filter(|other| *other != self.steps[index].name);
            let help = did_you_mean(step_name, names);
            self.report(index, field, format!("there is no step {step_name:?}"), help);
            return None;
        };
        match (self.operators[step], output) {
            (Operator::Unclear, _) => Some(Port { step, output: 0 }),
            (Operator::ParallelDo(_), _) if self.options.is_unclear(step) => Some(Port { step, output: 0 }),
            (Operator::Write(_), _) => {
                self.report(index, field, format!("step {step_name:?} is a write and makes no rows"), None);
                None
            }
            (Operator::ParallelDo(split), _) => {
                let found = split.outputs.iter().position(|known| Some(known.as_str()) == output);
                if found.is_none() {
                    let outputs: Vec<String> = split.outputs.iter().map(|output| format!("{step_name}.{output}")).collect();
                    let message = match output {
                        Some(output) => format!("step {step_name:?} has no output {output:?}"),
                        None => format!("step {step_name:?} has several outputs"),
                    };
                    self.report(index, field, message, Some(format!("choose from {}", outputs.join(", "))));
                }
                found.map(|output| Port { step, output })
            }
            (_, Some(_)) => {
                let message = format!("step {step_name:?} has one output only, without a name");
                self.report(index, field, message, Some(format!("write {step_name}")));
                None
            }
            (_, None) => Some(Port { step, output: 0 }),
        }
    }

    /// Whether any step has no name, or one that cannot be read: it may be the one that is meant.
    fn has_unnamed(&self) -> bool {
        let is_unnamed = |(index, step): (usize, &Step)| step.name == format!("steps[{index}]");
        self.steps.iter().enumerate().any(is_unnamed)
    }

    /// The step that reads this step's dead letters.
    fn dead_letters(&mut self, index: usize) -> Option<usize> {
        let on_error = self.steps[index].on_error.as_ref()?;
        let refused = aside::refused(&self.operators[index]).filter(|_| on_error.policy != ErrorPolicy::Fail);
        if let Some(refused) = refused {
            self.report(index, ".onError", format!("rows cannot be set aside in a {refused}"), None);
            return None;
        }
        match (on_error.policy, &on_error.to) {
            (ErrorPolicy::DeadLetter, Some(to)) => self.dead_letter_reader(index, to),
            (ErrorPolicy::DeadLetter, None) => {
                let help = "name in \"to\" the step that reads the rows set aside".to_owned();
                self.report(index, ".onError", "policy DeadLetter needs \"to\"".to_owned(), Some(help));
                None
            }
            (ErrorPolicy::Fail | ErrorPolicy::Skip, Some(_)) => {
                let message = format!("\"to\" goes with policy DeadLetter, not with {:?}", on_error.policy);
                self.report(index, ".onError.to", message, None);
                None
            }
            (ErrorPolicy::Fail | ErrorPolicy::Skip, None) => None,
        }
    }

    fn dead_letter_reader(&mut self, index: usize, to: &str) -> Option<usize> {
        let field = ".onError.to";
        let Some(step) = self.by_name.get(to).copied() else {
            if self.has_unnamed() {
                return None;
            }
            let help = did_you_mean(to, self.steps.iter().map(|step| step.name.as_str()));
            self.report(index, field, format!("there is no step {to:?}"), help);
            return None;
        };
        match self.operators[step] {
            Operator::Read(_) | Operator::Operate(_) | Operator::Combine(_) | Operator::Join(_) | Operator::CoGroup(_) => {
                let name = self.operators[step].name();
                let help = "name a step with one input, such as a map or a write".to_owned();
                self.report(index, field, format!("step {to:?} is a {name}, which cannot read dead letters"), Some(help));
                None
            }
            _ => Some(step),
        }
    }

    fn report(&mut self, index: usize, field: &str, message: String, help: Option<String>) {
        let problem = FlowProblem::new(format!("steps[{index}]{field}"), message);
        self.problems.push(problem.help(help).step(&self.steps[index].name));
    }
}
