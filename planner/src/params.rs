//! `$(params.name)` in the strings of steps: replaced, as plain text, by the parameter's value.

use std::collections::{BTreeMap, BTreeSet};

use crds::nearest::did_you_mean;
use crds::{GleamFlowSpec, Step};
use serde_json::Value;

use crate::check::{CheckOptions, FlowProblem};

const OPEN: &str = "$(params.";

/// Values of parameters, and what went wrong with them.
pub(crate) struct Params<'a> {
    values: BTreeMap<&'a str, Given<'a>>,
    /// Where relative paths that `--param` gave resolve.
    working_directory: Option<&'a str>,
    /// Whether there may be others, in fields that are wrong themselves.
    unclear: bool,
    problems: Vec<FlowProblem>,
    hollow: BTreeSet<String>,
}

/// What became of a flow's steps.
pub(crate) struct Substituted {
    /// With all parameters replaced.
    pub(crate) steps: Vec<Step>,
    pub(crate) problems: Vec<FlowProblem>,
    /// Paths of strings in which a parameter is missing: what else seems wrong with them need not be.
    pub(crate) hollow: BTreeSet<String>,
}

struct Given<'a> {
    /// `None`: reported once, where it is declared.
    value: Option<&'a str>,
    /// By `--param`, not by the flow.
    from_outside: bool,
}

/// Replaces all parameters.
pub(crate) fn substitute<'a>(
    spec: &'a GleamFlowSpec,
    outside: &'a BTreeMap<String, String>,
    options: &CheckOptions<'a>,
) -> Substituted {
    let mut params = Params {
        values: BTreeMap::new(),
        working_directory: options.working_directory,
        unclear: options.has_unclear_params(),
        problems: Vec::new(),
        hollow: BTreeSet::new(),
    };
    params.declare(spec, outside);
    let steps = spec.steps.iter().enumerate().map(|(index, step)| params.step(index, step));
    let steps = steps.collect();
    Substituted { steps, problems: params.problems, hollow: params.hollow }
}

impl<'a> Params<'a> {
    fn declare(&mut self, spec: &'a GleamFlowSpec, outside: &'a BTreeMap<String, String>) {
        for (index, param) in spec.params.iter().enumerate() {
            let path = format!("params[{index}]");
            let name = param.name.as_str();
            let given = outside.get(name);
            let value = given.or(param.value.as_ref()).map(String::as_str);
            if value.is_none() {
                let problem = FlowProblem::new(path.clone(), format!("parameter {name:?} has no value"));
                self.problems.push(problem.help(format!("give \"value\" here, or --param {name}=... on the command line")));
            }
            if self.values.insert(name, Given { value, from_outside: given.is_some() }).is_some() {
                self.problems.push(FlowProblem::new(path + ".name", format!("there are two parameters named {name:?}")));
            }
        }
        for name in outside.keys().filter(|name| !self.unclear && !self.values.contains_key(name.as_str())) {
            let problem = FlowProblem::new("params", format!("the flow has no parameter {name:?}, which --param sets"));
            self.problems.push(problem.help(self.known(name)));
        }
    }

    fn known(&self, name: &str) -> String {
        did_you_mean(name, self.values.keys().copied()).unwrap_or_else(|| match self.values.len() {
            0 => "declare it in \"params\"".to_owned(),
            _ => format!("its parameters are {}", self.values.keys().copied().collect::<Vec<_>>().join(", ")),
        })
    }

    fn step(&mut self, index: usize, step: &Step) -> Step {
        let path = format!("steps[{index}]");
        let replaced = serde_json::to_value(step).and_then(|mut value| {
            self.value(&mut value, &path, &step.name);
            serde_json::from_value(value)
        });
        replaced.unwrap_or_else(|error| {
            let message = format!("the step is not one any more when its parameters are replaced: {error}");
            self.problems.push(FlowProblem::new(path, message).step(&step.name));
            step.clone()
        })
    }

    fn value(&mut self, value: &mut Value, path: &str, step: &str) {
        match value {
            Value::String(text) if text.contains(OPEN) => *text = self.text(text, path, step),
            Value::Array(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.value(item, &format!("{path}[{index}]"), step);
                }
            }
            Value::Object(fields) => {
                for (name, field) in fields.iter_mut() {
                    self.value(field, &format!("{path}.{name}"), step);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn text(&mut self, text: &str, path: &str, step: &str) -> String {
        let mut done = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.find(OPEN) {
            done.push_str(&rest[..start]);
            let line = 1 + text[..text.len() - rest.len() + start].matches('\n').count();
            let line = u32::try_from(line).unwrap_or(u32::MAX);
            let problem = |message: String| FlowProblem::new(path, message).step(step).line(line);
            rest = &rest[start + OPEN.len()..];
            let Some(end) = rest.find(')') else {
                self.problems.push(problem(format!("{OPEN:?} has no \")\" behind it")));
                self.hollow.insert(path.to_owned());
                return done + OPEN + rest;
            };
            let name = &rest[..end];
            rest = &rest[end + 1..];
            match self.values.get(name) {
                Some(Given { value: Some(value), from_outside }) => {
                    if *from_outside && done.is_empty() && is_path(path) && is_relative(value) {
                        done.extend(self.working_directory.map(|directory| format!("{}/", directory.trim_end_matches('/'))));
                    }
                    done.push_str(value);
                    continue;
                }
                Some(Given { value: None, .. }) => {}
                None if self.unclear => {}
                None => {
                    let problem = problem(format!("there is no parameter {name:?}")).help(self.known(name));
                    self.problems.push(problem.of_flow());
                }
            }
            self.hollow.insert(path.to_owned());
        }
        done + rest
    }
}

/// Whether the string at this path is a path of files: of a read, or of a sink.
fn is_path(path: &str) -> bool {
    path.contains("].read.") && path.contains(".paths[") || path.contains("].write.") && path.ends_with(".path")
}

fn is_relative(path: &str) -> bool {
    !path.starts_with('/') && !path.contains("://")
}
