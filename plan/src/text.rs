//! A plan as text that a person reads at a glance: the flow, what each pass decided and why, the stages.

mod about;
mod graph;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

use crate::{
    After, FunctionTier, Graph, InputChannel, Mscr, NodeId, OutputChannel, Pass, Plan,
    json::{pass_name, side_inputs, steps},
};

pub use graph::{graph, operator};

/// The whole story: the graph before, the decisions, the stages, the functions.
#[must_use]
pub fn render(before: &Graph, plan: &Plan) -> String {
    let mut text = format!(
        "flow, as the operations that its steps are made of\n{}\ndecisions, by what they are about: + done, - not done, and why\n{}\nstages, each after those that make what it needs\n{}",
        indented(&graph::steps(before)),
        indented(&decisions(plan)),
        indented(&stages(plan))
    );
    if !plan.functions.is_empty() {
        let _ = write!(text, "\nfunctions, and how each runs\n{}", indented(&functions(plan)));
    }
    text
}

/// How each function runs, and why.
#[must_use]
pub fn functions(plan: &Plan) -> String {
    let line = |function: &FunctionTier| format!("{}: {}, {}\n", function.step, function.tier, function.reason);
    plan.functions.iter().map(line).collect()
}

/// What each pass did (`+`) and did not do (`-`), and why, in the order of the passes.
#[must_use]
pub fn decisions(plan: &Plan) -> String {
    let mut order: Vec<&str> = Vec::new();
    // What several steps have in common is told once.
    let mut told: BTreeMap<&str, Vec<(bool, &str, Vec<&str>)>> = BTreeMap::new();
    let mut places: BTreeMap<(&str, bool, &str), usize> = BTreeMap::new();
    let mut said: BTreeSet<(&str, bool, &str, &str)> = BTreeSet::new();
    for decision in &plan.decisions {
        let lines = told.entry(decision.pass.as_str()).or_default();
        if lines.is_empty() {
            order.push(&decision.pass);
        }
        let (did, reason) = (decision.did, decision.reason.as_str());
        let place = *places.entry((&decision.pass, did, reason)).or_insert(lines.len());
        if place == lines.len() {
            lines.push((did, reason, Vec::new()));
        }
        if said.insert((&decision.pass, did, reason, &decision.step)) {
            lines[place].2.push(&decision.step);
        }
    }
    let mut text = String::new();
    for pass in order {
        let about = about::pass(pass).map(|about| format!(": {about}")).unwrap_or_default();
        let _ = writeln!(text, "{pass}{about}");
        for (did, reason, steps) in &told[pass] {
            let _ = writeln!(text, "  {} {}: {reason}", if *did { '+' } else { '-' }, steps.join(", "));
        }
    }
    text
}

/// Operations before and after, and each stage with its passes, groups and results.
#[must_use]
pub fn stages(plan: &Plan) -> String {
    let counts = plan.operations;
    let mut text = format!(
        "operations: {} in the flow, {} after the rewrites, {} with those that run in one pass as one; stages: {}\n",
        counts.initial,
        counts.sunk,
        counts.fused,
        plan.mscrs.iter().filter(|mscr| !mscr.is_load()).count()
    );
    for mscr in &plan.mscrs {
        let _ = writeln!(text, "{}{}", mscr.id, after(plan, &mscr.after));
        text.push_str(&stage(plan, mscr));
    }
    for operate in &plan.operates {
        let node = plan.graph.node(operate.node);
        let reads: Vec<&str> = node.reads().map(|id| plan.graph.collection(id).name.as_str()).collect();
        let _ = writeln!(text, "operate {}{}\n  reads {}", node.step, after(plan, &operate.after), reads.join(", "));
    }
    text
}

fn after(plan: &Plan, waits: &[After]) -> String {
    let names = waits.iter().map(|wait| match wait {
        After::Mscr(id) => id.to_string(),
        After::Operate(id) => format!("operate {}", plan.graph.node(*id).step),
    });
    let names: Vec<String> = names.collect();
    if names.is_empty() { String::new() } else { format!(", after {}", names.join(", ")) }
}

fn stage(plan: &Plan, mscr: &Mscr) -> String {
    let mut text = String::new();
    if mscr.is_load() {
        let stored: Vec<String> = mscr.inputs.iter().map(|channel| reads(plan, channel)).collect();
        return format!("  stores {}, which is needed whole\n", stored.join(", "));
    }
    for channel in &mscr.inputs {
        let does = steps(plan, &channel.does);
        let does = if does.is_empty() { String::new() } else { format!(" -> {}", does.join(" + ")) };
        let _ = writeln!(text, "  reads {}{does}{}", reads(plan, channel), beside(&side_inputs(plan, &channel.does)));
    }
    let mut passes = Vec::new();
    for output in &mscr.outputs {
        match output {
            OutputChannel::Group { group, combine, reduce, from } => {
                let from: Vec<String> = from.iter().map(|index| reads(plan, &mscr.inputs[*index])).collect();
                let mut line = format!("  shuffles {} for {}", from.join(", "), plan.graph.node(*group).step);
                if !combine.is_empty() {
                    let _ = write!(line, ", folded before the shuffle{}", folds(plan, *group, combine));
                }
                if !reduce.is_empty() {
                    let _ = write!(line, " -> {}", steps(plan, reduce).join(" + "));
                }
                if plan.switches.iter().any(|switch| switch.group == *group) {
                    line.push_str("; may switch to broadcast at run time");
                }
                let _ = writeln!(text, "{line}{}", beside(&side_inputs(plan, reduce)));
            }
            OutputChannel::Pass { what } => {
                let line = match what {
                    Pass::Write(_) => format!("  writes {}\n", pass_name(plan, *what)),
                    Pass::Collection(_) => format!("  keeps {} for other stages\n", pass_name(plan, *what)),
                };
                if !passes.contains(&line) {
                    passes.push(line);
                }
            }
        }
    }
    text + &passes.concat()
}

/// Which folds run before a shuffle, where it is not the one of the step that shuffles.
fn folds(plan: &Plan, group: NodeId, combine: &[NodeId]) -> String {
    let names = steps(plan, combine);
    if names == [plan.graph.node(group).step.as_str()] { String::new() } else { format!(" by {}", names.join(" and ")) }
}

fn reads(plan: &Plan, channel: &InputChannel) -> String {
    let names: Vec<&str> = channel.reads.iter().map(|id| plan.graph.collection(*id).name.as_str()).collect();
    names.join(" and ")
}

fn beside(sides: &[String]) -> String {
    if sides.is_empty() { String::new() } else { format!(" (beside {})", sides.join(", ")) }
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}
