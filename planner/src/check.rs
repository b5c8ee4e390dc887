//! A flow, checked and expanded: every problem at once. Never reads a file, a clock or the environment.
//!
//! ```text
//! GleamFlow --params--> steps --wiring--> edges --expand--> plan::Graph      (problems of all of these together)
//! ```

pub(crate) mod address;
pub(crate) mod aside;
mod cluster;
pub(crate) mod format;
mod functions;
mod own_source;
mod problem;
pub(crate) mod source;
pub(crate) mod wiring;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crds::{GleamFlow, GleamFlowSpec, Operator, SourceMap, Step};

pub use problem::{FlowProblem, locate};

use crate::Facts;
use crate::expand::expand;
use crate::params::{Substituted, substitute};

/// Values of parameters, by name.
pub type ParamValues = BTreeMap<String, String>;

/// How to check a flow.
#[derive(Clone, Copy, Debug, Default)]
pub struct CheckOptions<'a> {
    /// Takes names of fields on trust where the files that have them were not looked at. The graph is then not for running.
    pub lenient: bool,
    /// What `luaFrom` refers to; without it, a flow with `luaFrom` is refused.
    pub lua_from: Option<&'a str>,
    /// Where the flow's fields stand in its file, for the places of functions.
    pub places: Option<&'a SourceMap>,
    /// Where relative paths that `--param` gives resolve; without it, where the file's own do.
    pub working_directory: Option<&'a str>,
}

impl CheckOptions<'_> {
    /// Whether the file was found to be wrong somewhere in a step, so that not all is known of what it reads and makes.
    pub(crate) fn is_unclear(&self, step: usize) -> bool {
        self.places.is_some_and(|places| places.has_doubts_in(&format!("steps[{step}]")))
    }

    /// Whether the file was found to be wrong where it may declare parameters.
    pub(crate) fn has_unclear_params(&self) -> bool {
        self.places.is_some_and(|places| places.is_doubtful("params") || places.has_doubts_in("params"))
    }
}

/// A flow without problems.
#[derive(Clone, Debug)]
pub struct Checked {
    pub graph: plan::Graph,
    /// Lua that stands before every function.
    pub prelude: String,
    pub warnings: Vec<FlowProblem>,
    /// What steps say of `deterministic`, where they say it.
    pub deterministic: BTreeMap<String, bool>,
    /// False where [`CheckOptions::lenient`] took a name on trust: the graph is then not for running.
    pub certain: bool,
}

/// Checks a flow and expands it.
///
/// # Errors
/// Every problem of the flow.
pub fn check(flow: &GleamFlow, facts: &Facts, params: &ParamValues) -> Result<Checked, Vec<FlowProblem>> {
    check_with(flow, facts, params, &CheckOptions::default())
}

/// Checks a flow and expands it, with options.
///
/// # Errors
/// Every problem of the flow. Of one whose file has problems of its own ([`SourceMap::is_mended`]), every further one, which may
/// be none.
pub fn check_with(
    flow: &GleamFlow,
    facts: &Facts,
    params: &ParamValues,
    options: &CheckOptions<'_>,
) -> Result<Checked, Vec<FlowProblem>> {
    let Substituted { steps, problems: of_parameters, hollow } = substitute(&flow.spec, params, options);
    let mut problems = Vec::new();
    problems.extend(cluster::check(&flow.spec));
    let prelude = prelude(&flow.spec, options.lua_from, &mut problems);
    let operators = operators(&steps, &mut problems);
    for (index, (step, operator)) in steps.iter().zip(&operators).enumerate() {
        let path = format!("steps[{index}]");
        problems.extend(functions::function(step, operator, &prelude, &path, options.places));
        problems.extend(functions::side_inputs(step, operator, &path));
    }
    let (wiring, found) = wiring::connect(&steps, &operators, options);
    problems.extend(found);
    let expanded = expand(&steps, &operators, &wiring, facts, options);
    problems.extend(expanded.problems);
    problems.retain(|problem| !hollow.contains(&problem.path));
    problems.splice(0..0, of_parameters);
    if let Some(places) = options.places {
        problems.retain(|problem| !places.is_doubtful(&problem.path));
    }
    if !problems.is_empty() || options.places.is_some_and(SourceMap::is_mended) {
        return Err(problems);
    }
    let mut warnings: Vec<FlowProblem> = Vec::new();
    for (index, (step, operator)) in steps.iter().zip(&operators).enumerate() {
        warnings.extend(unread(index, (step, operator), &wiring));
        if wiring.kept[index] {
            warnings.extend(functions::silent(step, operator, &prelude, &format!("steps[{index}]")));
        }
    }
    warnings.extend(own_source::check(&steps, options));
    let said = steps.iter().filter_map(|step| Some((step.name.clone(), step.deterministic?)));
    Ok(Checked { graph: expanded.graph, prelude, warnings, deterministic: said.collect(), certain: expanded.certain })
}

/// The file sources with listed paths, by step: what there is to look at before the check.
///
/// # Errors
/// Problems of parameters.
pub fn sources(flow: &GleamFlow, params: &ParamValues) -> Result<Vec<(String, plan::Source)>, Vec<FlowProblem>> {
    sources_with(flow, params, &CheckOptions::default())
}

/// The file sources with listed paths, by step, with options.
///
/// # Errors
/// Problems of parameters.
pub fn sources_with(
    flow: &GleamFlow,
    params: &ParamValues,
    options: &CheckOptions<'_>,
) -> Result<Vec<(String, plan::Source)>, Vec<FlowProblem>> {
    let Substituted { steps, problems, .. } = substitute(&flow.spec, params, options);
    if !problems.is_empty() {
        return Err(problems);
    }
    let source = |step: &Step| Some((step.name.clone(), source::unseen(step.read.as_ref()?)?));
    Ok(steps.iter().filter_map(source).collect())
}

/// The operator of each step; problems where a step has not exactly one.
fn operators<'a>(steps: &'a [Step], problems: &mut Vec<FlowProblem>) -> Vec<Operator<'a>> {
    let mut operators = Vec::with_capacity(steps.len());
    for (index, step) in steps.iter().enumerate() {
        match step.operators().as_slice() {
            [operator] => operators.push(*operator),
            found => {
                let message = format!("a step has exactly one operator, and this one has {}", found.len());
                problems.push(FlowProblem::new(format!("steps[{index}]"), message).step(&step.name));
                operators.push(Operator::Unclear);
            }
        }
    }
    operators
}

/// The prelude, compiled for its problems.
fn prelude(spec: &GleamFlowSpec, lua_from: Option<&str>, problems: &mut Vec<FlowProblem>) -> String {
    let (source, path) = match (&spec.lua, &spec.lua_from, lua_from) {
        (Some(_), Some(_), _) => {
            problems.push(FlowProblem::new("luaFrom", "\"lua\" and \"luaFrom\" cannot both be given"));
            return String::new();
        }
        (Some(lua), None, _) => (lua.as_str(), "lua"),
        (None, Some(_), Some(lua)) => (lua, "luaFrom"),
        (None, Some(from), None) => {
            let from = &from.config_map_key_ref;
            let message = format!("\"luaFrom\" names key {:?} of ConfigMap {:?}, which is on a cluster", from.key, from.name);
            let help = "for a local run, put the functions into \"lua\"".to_owned();
            problems.push(FlowProblem::new("luaFrom", message).help(help));
            return String::new();
        }
        (None, None, _) => return String::new(),
    };
    problems.extend(functions::prelude(source, path));
    source.to_owned()
}

/// What to say of a step that reaches no write; nothing where that is as it should be.
fn unread(index: usize, (step, operator): (&Step, &Operator<'_>), wiring: &wiring::Wiring) -> Option<FlowProblem> {
    let message = if wiring.kept[index] || step.persist {
        return None;
    } else if !wiring.runs[index] {
        "the step is dropped: what it makes reaches no write"
    } else if matches!(operator, Operator::Operate(_)) {
        "what the step makes reaches no write; it runs all the same, as an operate may be there for its effects"
    } else if wiring::runs_unread(step, operator) {
        "what the step makes reaches no write; it runs all the same: it is not deterministic and may be there for its effects"
    } else {
        // It is read by a step that runs.
        return None;
    };
    let problem = FlowProblem::new(format!("steps[{index}]"), message);
    Some(problem.step(&step.name).help("read it in a step that does, or leave it out".to_owned()))
}
