//! Random flows through checker, planner and interpreter: every pass keeps the multiset of rows that each sink gets.

use oracle::GeneratedFlow;
use planner::Options;

/// How many flows an ordinary test run tries; `GLEAMFLOW_RANDOM_GRAPHS` says another number.
const FLOWS: u64 = 2_000;

#[test]
fn planning_a_random_flow_changes_no_result() {
    let flows = std::env::var("GLEAMFLOW_RANDOM_GRAPHS").map_or(FLOWS, |text| text.parse().unwrap());
    let mut failures = Vec::new();
    for seed in 0..flows {
        let flow = oracle::generate(seed);
        if let Err(message) = check(&flow) {
            eprintln!("seed {seed}: {message}\n{}", flow.yaml);
            failures.push(seed);
        }
        assert!(failures.len() < 10, "many random flows fail, seeds {failures:?}");
    }
    assert!(failures.is_empty(), "random flows fail, seeds {failures:?}");
}

fn check(flow: &GeneratedFlow) -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    flow.write_files(folder.path()).map_err(|error| error.to_string())?;
    let checked = flow.checked()?;
    let expected = oracle::interpret(&checked.graph, &checked.prelude, folder.path())?;
    let plan = planner::plan_checked(checked.graph, checked.prelude, &Options::default(), planner::passes::Lua::default())
        .map_err(|faults| faults.join("\n"))?;
    let optimized =
        oracle::interpret(&plan.graph, &plan.prelude, folder.path()).map_err(|message| format!("optimized: {message}"))?;
    oracle::compare::difference(&expected, &optimized)
}
