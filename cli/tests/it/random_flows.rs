//! Random flows: the planned, threaded, spilling run must give what the naive interpreter makes of the unoptimized graph.
//!
//! `GLEAMFLOW_RANDOM_FLOWS=5000 cargo test --release -p gleamflow --test it random_flows` runs more of them, and
//! `GLEAMFLOW_RANDOM_SEED=17` only that one.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use engine::report::Quiet;
use engine::run::RunOptions;
use oracle::{Actual, Expected, GeneratedFlow, Seeds};
use plan::Sink;

/// Most of a check's time is waiting for shells and disks.
const SEEDS: Seeds = Seeds { name: "RANDOM", flows: 300, workers: 4, stack: 2 << 20 };

/// What was decided at run time, over all runs.
static SWITCHED: AtomicUsize = AtomicUsize::new(0);
static SPLIT: AtomicUsize = AtomicUsize::new(0);

/// How many of `RUNS` each flow gets, beginning at its seed.
const RUNS_PER_FLOW: usize = 3;

/// Partitions, threads and memory of runs. Where the partitions are free, a reduce task has so little to do that buckets are split.
const RUNS: [(Option<u32>, usize, usize); 6] = [
    (Some(1), 1, 1 << 20),
    (Some(2), 2, 64 << 20),
    (None, 6, 1 << 18),
    (Some(7), 2, 1 << 20),
    (None, 8, 64 << 20),
    (Some(5), 4, 1 << 16),
];

#[test]
fn random_flows_give_what_the_naive_interpreter_gives() {
    SEEDS.check(check);
    let (switched, split) = (SWITCHED.load(Ordering::Relaxed), SPLIT.load(Ordering::Relaxed));
    println!("{switched} joins switched to a broadcast, {split} shuffles had a bucket split");
    if std::env::var_os("GLEAMFLOW_RANDOM_SEED").is_none() {
        assert!(switched >= 20 && split >= 1, "{switched} joins switched, {split} buckets split: the test tests little of that");
    }
}

pub(crate) fn check(flow: &GeneratedFlow) -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let base = folder.path();
    flow.write_files(base).map_err(|error| error.to_string())?;
    let checked = flow.checked()?;
    let expected = oracle::interpret(&checked.graph, &checked.prelude, base)?;
    let first = usize::try_from(flow.seed % RUNS.len() as u64).unwrap_or(0);
    for (partitions, threads, memory) in RUNS.into_iter().cycle().skip(first).take(RUNS_PER_FLOW) {
        let without = (partitions == Some(2)).then(|| without(flow.seed));
        let in_run = |message: String| {
            format!("partitions {partitions:?}, {threads} threads, {memory} bytes, without {without:?}: {message}")
        };
        run(&checked, base, (partitions, threads, memory), without).map_err(in_run)?;
        compare(&expected, base).map_err(in_run)?;
        std::fs::remove_dir_all(base.join("out")).map_err(|error| error.to_string())?;
        let left = std::fs::read_dir(base.join("scratch")).map_err(|error| error.to_string())?.count();
        if left > 0 {
            return Err(in_run(format!("{left} temporary files are left")));
        }
    }
    Ok(())
}

/// A pass to leave out, each in its turn: of as many neighbours as there are `RUNS`, half have the run that leaves one out.
fn without(seed: u64) -> planner::PassName {
    planner::PASSES[usize::try_from(seed).unwrap_or(0) / RUNS.len() % planner::PASSES.len()]
}

pub(crate) fn compare(expected: &BTreeMap<String, Expected>, base: &Path) -> Result<(), String> {
    for (step, expected) in expected {
        let Sink::Files { path, .. } = &expected.sink else {
            return Err(format!("{step} writes no files"));
        };
        let actual = Actual::read(&base.join(path))?;
        oracle::matches(expected, &actual).map_err(|message| format!("{step}: {message}"))?;
    }
    Ok(())
}

fn run(
    checked: &planner::Checked,
    base: &Path,
    (partitions, threads, memory): (Option<u32>, usize, usize),
    without: Option<planner::PassName>,
) -> Result<(), String> {
    let scratch = base.join("scratch");
    std::fs::create_dir_all(&scratch).map_err(|error| error.to_string())?;
    let mut planning = planner::Options::default();
    if partitions.is_none() {
        // What the planner does not broadcast may be broadcast at run time.
        planning.without.insert(planner::PassName::BroadcastJoin);
    }
    planning.without.extend(without);
    let plan = planner::plan(checked.graph.clone(), checked.prelude.clone(), &planning);
    let stop = Arc::new(AtomicBool::new(false));
    let options = RunOptions {
        base: base.to_owned(),
        scratch: Some(scratch),
        threads,
        memory,
        partitions,
        task_bytes: 100,
        seed: 7,
        persistence: None,
        stop,
        cleanup: Arc::default(),
    };
    let report = engine::run::run(&plan, &options, &Quiet).map_err(|error| plan::in_full(&error))?;
    for told in report.decisions.iter().filter(|told| told.did) {
        SWITCHED.fetch_add(usize::from(told.pass == "switch-joins"), Ordering::Relaxed);
        SPLIT.fetch_add(usize::from(told.reason.contains("is split between")), Ordering::Relaxed);
    }
    Ok(())
}
