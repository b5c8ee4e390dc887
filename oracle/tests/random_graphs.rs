//! Random flows through checker, planner and interpreter: every pass keeps the multiset of rows that each sink gets.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crds::{Document, GleamFlow};
use oracle::{Expected, GeneratedFlow, Random};
use planner::{Checked, Facts, Options, PASSES, ParamValues, PassName, SourceFacts};

/// How many flows an ordinary test run tries; `GLEAMFLOW_RANDOM_GRAPHS` says another number, or the seeds: `5000..10000`.
const FLOWS: u64 = 2_000;
/// Of so many flows one is also planned without some of the passes, in an ordinary run; else all are.
const ONE_IN: u64 = 4;

#[test]
fn planning_a_random_flow_changes_no_result() {
    let asked = std::env::var("GLEAMFLOW_RANDOM_GRAPHS").ok();
    let one_in = if asked.is_some() { 1 } else { ONE_IN };
    let asked = asked.unwrap_or_else(|| FLOWS.to_string());
    let (from, to) = asked.split_once("..").unwrap_or(("0", &asked));
    let seeds = from.parse::<u64>().unwrap()..to.parse().unwrap();
    println!("flows of the seeds {seeds:?}");
    let mut failures = Vec::new();
    for seed in seeds {
        let flow = oracle::generate(seed);
        if let Err(message) = check(&flow, seed % one_in == 0) {
            eprintln!("seed {seed}: {message}\n{}", flow.yaml);
            failures.push(seed);
        }
        assert!(failures.len() < 10, "many random flows fail, seeds {failures:?}");
    }
    assert!(failures.is_empty(), "random flows fail, seeds {failures:?}");
}

fn check(flow: &GeneratedFlow, also_without: bool) -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    flow.write_files(folder.path()).map_err(|error| error.to_string())?;
    let checked = flow.checked()?;
    let expected = oracle::interpret(&checked.graph, &checked.prelude, folder.path())?;
    let some = also_without.then(|| some_passes(flow.seed));
    for without in std::iter::once(BTreeSet::new()).chain(some) {
        let options = Options { without, ..Options::default() };
        let outcome = planned(&checked, &options, folder.path()).and_then(|found| oracle::compare::difference(&expected, &found));
        outcome.map_err(|message| format!("without {:?}: {message}", options.without))?;
    }
    Ok(())
}

/// What the planned graph makes.
fn planned(checked: &Checked, options: &Options, base: &Path) -> Result<BTreeMap<String, Expected>, String> {
    let lua = planner::passes::Lua::default();
    let plan = planner::plan_checked(checked.graph.clone(), checked.prelude.clone(), options, lua);
    let plan = plan.map_err(|faults| faults.join("\n"))?;
    oracle::interpret(&plan.graph, &plan.prelude, base).map_err(|message| format!("optimized: {message}"))
}

/// Passes to leave out: few, some or most of them.
fn some_passes(seed: u64) -> BTreeSet<PassName> {
    let mut random = Random::new(!seed);
    let percent = *random.pick(&[10, 30, 50, 80]);
    PASSES.into_iter().filter(|_| random.chance(percent)).collect()
}

/// Every step says its inputs, so that it may stand anywhere.
fn said(mut flow: GleamFlow) -> GleamFlow {
    let mut letters = Vec::new();
    for index in 0..flow.spec.steps.len() {
        let before = index.checked_sub(1).map(|before| flow.spec.steps[before].name.clone());
        let step = &mut flow.spec.steps[index];
        letters.extend(step.on_error.as_ref().and_then(|on_error| on_error.to.clone()));
        let reads_nothing = step.read.is_some() || step.operate.is_some() || letters.contains(&step.name);
        if step.from.is_none() && !reads_nothing {
            step.from = before.map(|before| vec![before]);
        }
    }
    flow
}

#[test]
fn a_plan_is_the_same_bytes_in_whatever_order_its_steps_are_written() {
    for seed in 0..300 {
        let generated = oracle::generate(seed);
        let mut flow = said(Document::parse(&generated.yaml, "flow.yaml").unwrap().flow);
        let known = |(step, fields): &(String, Vec<String>)| {
            (step.clone(), SourceFacts { fields: Some(fields.clone()), ..SourceFacts::default() })
        };
        let facts: Facts = generated.headers.iter().map(known).collect();
        let json = |flow: &GleamFlow| {
            let checked = planner::check(flow, &facts, &ParamValues::new()).unwrap_or_else(|faults| panic!("{faults:?}"));
            let plan = planner::plan(checked.graph, checked.prelude, &Options::default());
            (plan::json::render(&plan).to_string(), plan)
        };
        let (as_written, plan) = json(&flow);
        assert_eq!(json(&flow).0, as_written, "seed {seed}, planned twice");
        let mut random = Random::new(seed);
        for left in (1..flow.spec.steps.len()).rev() {
            flow.spec.steps.swap(left, random.below(left + 1));
        }
        let (shuffled, other) = json(&flow);
        assert_eq!(shuffled, as_written, "seed {seed} of\n{}", generated.yaml);
        assert_eq!(other, plan, "seed {seed} of\n{}", generated.yaml);
    }
}
