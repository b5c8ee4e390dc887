//! Lua: whether functions and prelude compile, and whether side inputs can have their names.

use crds::{Operator, SourceMap, Step};

use super::FlowProblem;

/// The prelude of a flow.
pub(super) fn prelude(source: &str, path: &str) -> Option<FlowProblem> {
    let error = lua::parse_prelude(source).err()?;
    Some(FlowProblem::new(path, format!("the Lua does not compile: {}", error.message)).line(error.line))
}

/// The function of a step.
pub(super) fn function(
    step: &Step,
    operator: &Operator<'_>,
    prelude: &str,
    path: &str,
    places: Option<&SourceMap>,
) -> Option<FlowProblem> {
    let path = format!("{path}.{}.lua", operator.name());
    let problem = |message: String| FlowProblem::new(path.clone(), message).step(&step.name);
    let function = match lua::parse_behind(prelude, operator.lua()?) {
        Ok(function) => function,
        Err(error) => {
            let help = if places.is_some_and(|places| places.is_cut(&path)) {
                Some("a \" #\" begins a comment in YAML, and cut the text off there: put the text in single quotes".to_owned())
            } else {
                let help = "a function looks like: function(x) return x end".to_owned();
                Some(help).filter(|_| !is_function(operator.lua().unwrap_or_default()))
            };
            return Some(problem(format!("the Lua does not compile: {}", error.message)).line(error.line).help(help));
        }
    };
    let count = function.params.len();
    match operator {
        Operator::Reduce(_) | Operator::Combine(_) | Operator::ReduceBy(_)
            if !function.vararg && (count == 0 || count % 2 != 0) =>
        {
            let message =
                format!("a function that folds takes two rows' values, function(x1..xn, y1..yn), and this one has {count}");
            Some(problem(message + if count == 1 { " parameter" } else { " parameters" }))
        }
        Operator::Operate(_) if count > 0 || function.vararg => {
            Some(problem("the function of an operate takes no parameters".to_owned()).help("use \"sideInputs\"".to_owned()))
        }
        _ => None,
    }
}

/// Whether a text looks like one function: neither a statement around it, nor one with a name.
fn is_function(text: &str) -> bool {
    let is_name = |rest: &str| rest.trim_start().starts_with(|first: char| first.is_alphabetic() || first == '_');
    match text.trim_start().strip_prefix("function") {
        Some(rest) => !is_name(rest),
        None => text.contains("function") && !["return", "local"].iter().any(|word| text.trim_start().starts_with(word)),
    }
}

/// What to say of a function that emits nothing, in a step whose rows are read.
pub(super) fn silent(step: &Step, operator: &Operator<'_>, prelude: &str, path: &str) -> Option<FlowProblem> {
    if !matches!(operator, Operator::ForEach(_) | Operator::ParallelDo(_) | Operator::Operate(_)) {
        return None;
    }
    let text = operator.lua()?;
    // What can reach any global by another name may emit.
    if [prelude, text].iter().any(|text| text.contains("emit")) || lua::looks(prelude, text).outside.is_some() {
        return None;
    }
    let problem =
        FlowProblem::new(format!("{path}.{}.lua", operator.name()), "no row leaves the step: its function never calls emit");
    let call = if matches!(operator, Operator::ParallelDo(_)) { "emit.output(...)" } else { "emit(...)" };
    Some(problem.step(&step.name).help(format!("call {call} for each row, or use \"map\", which takes what is returned")))
}

/// The side inputs of a step.
pub(super) fn side_inputs(step: &Step, operator: &Operator<'_>, path: &str) -> Vec<FlowProblem> {
    let mut problems = Vec::new();
    let mut report = |path: String, message: String, help: &str| {
        let help = Some(help.to_owned()).filter(|help| !help.is_empty());
        problems.push(FlowProblem::new(path, message).step(&step.name).help(help));
    };
    if operator.lua().is_none() && !matches!(operator, Operator::Unclear) && !step.side_inputs.is_empty() {
        let message = format!("{:?} has no function that could use side inputs", operator.name());
        report(format!("{path}.sideInputs"), message, "give them to a step with \"lua\"");
    }
    for (index, side) in step.side_inputs.iter().enumerate() {
        let path = format!("{path}.sideInputs[{index}].name");
        if lua::is_global(&side.name) || !lua::is_name(&side.name) {
            let message = format!("a side input cannot be named {:?}: that is a name of Lua or of the engine", side.name);
            report(path, message, "choose another name");
        } else if step.side_inputs[..index].iter().any(|other| other.name == side.name) {
            report(path, format!("two side inputs are named {:?}", side.name), "");
        }
    }
    problems
}
