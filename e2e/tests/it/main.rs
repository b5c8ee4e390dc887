//! Tests against a real cluster, which is brought up once for all of them, and of what goes into it.
//!
//! Where no cluster can be brought up, the tests that need one are counted as ignored, and the run fails under `CI`.

mod chart;
mod crd;
mod explain;
mod failures;
mod flows;
mod gate;
mod images;
mod large;
mod nodes;
mod nowhere;
mod outages;
mod pods;
mod product;
mod release;
mod round_trip;
mod rules;
mod schemas;
mod store;

use std::process::ExitCode;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use e2e::{Cluster, Place, Prepared, namespaces, prepare};
use libtest_mimic::{Arguments, Failed, Trial};

/// A test that needs a cluster.
type ClusterTest = fn(&Cluster) -> Result<()>;
/// A test that does not.
type PlainTest = fn() -> Result<()>;

static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// How long this run of tests lasts already.
fn age() -> Duration {
    BEGUN.elapsed()
}

fn main() -> Result<ExitCode> {
    LazyLock::force(&BEGUN);
    let arguments = Arguments::from_args();
    // A question about the tests, or a filter that leaves none that need it, is answered without a cluster.
    if arguments.list || !any_needs_cluster(&arguments) {
        return Ok(run(&arguments, None));
    }
    if namespaces::inside().is_some() {
        return in_cluster(&arguments, Prepared::carried()?);
    }
    match Place::choose() {
        Place::Private => {
            prepare_tests(&arguments)?;
            namespaces::enter(&prepare(&Place::Private)?)
        }
        Place::Kind => {
            prepare_tests(&arguments)?;
            in_cluster(&arguments, prepare(&Place::Kind)?)
        }
        Place::Nowhere(reasons) => Ok(without_cluster(&arguments, &reasons)),
    }
}

/// What tests need from outside of the cluster's network.
fn prepare_tests(arguments: &Arguments) -> Result<()> {
    if any_is_wanted(arguments, &large::all()) { large::prepare() } else { Ok(()) }
}

fn in_cluster(arguments: &Arguments, prepared: Prepared) -> Result<ExitCode> {
    let cluster = Arc::new(Cluster::up(prepared).context("the cluster did not come up")?);
    let code = run(arguments, Some(&cluster));
    cluster.down()?;
    Ok(code)
}

/// Says loudly what was not tested; on a machine that was made for tests, that is a failure.
fn without_cluster(arguments: &Arguments, reasons: &[String]) -> ExitCode {
    let code = run(arguments, None);
    eprintln!("\nThe cluster tests were NOT RUN: no cluster can be brought up on this machine.\n  {}\n", reasons.join("\n  "));
    let is_ci = std::env::var("CI").is_ok_and(|value| !value.is_empty() && value != "false");
    if is_ci { ExitCode::FAILURE } else { code }
}

/// Runs the tests that can share a cluster, then those that need it for themselves.
fn run(arguments: &Arguments, cluster: Option<&Arc<Cluster>>) -> ExitCode {
    let mut shared: Vec<Trial> =
        plain_tests().into_iter().map(|(name, test)| Trial::test(name, move || outcome(test()))).collect();
    shared.extend(trials(shared_tests(), cluster));
    let mut alone = trials(outages::all(), cluster);
    alone.extend(trials(release::all(), cluster));
    let mut flows = trials(flows::all(), cluster);
    flows.extend(trials(large::all(), cluster));
    flows.extend(trials(failures::all(), cluster));
    if arguments.list {
        shared.extend(alone.into_iter().chain(flows));
        return libtest_mimic::run(arguments, shared).exit_code();
    }
    let shared = libtest_mimic::run(arguments, shared);
    let one_by_one = Arguments { test_threads: Some(1), ..arguments.clone() };
    let alone = libtest_mimic::run(&one_by_one, alone);
    let flows = libtest_mimic::run(&one_by_one, flows);
    let failed = [&shared, &alone, &flows].into_iter().find(|run| run.has_failed());
    if let (Some(_), Some(cluster)) = (failed, cluster) {
        // Before what they are of is uninstalled.
        let collected = cluster.collect_logs();
        collected.map_or_else(|error| eprintln!("e2e: the logs are not collected: {error:?}"), drop);
    }
    let uninstalled = cluster.map_or(Ok(()), |cluster| product::uninstall(cluster));
    if let Err(error) = &uninstalled {
        eprintln!("e2e: the release of the flows' tests is not uninstalled: {error:?}");
    }
    let failed = failed.map(libtest_mimic::Conclusion::exit_code);
    failed.unwrap_or(if uninstalled.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Tests as the harness wants them; ignored, where they have no cluster. `GLEAMFLOW_TIMES` runs each so often, to find what is luck.
fn trials(tests: Vec<(&'static str, ClusterTest)>, cluster: Option<&Arc<Cluster>>) -> Vec<Trial> {
    let times = std::env::var("GLEAMFLOW_TIMES").ok().and_then(|times| times.parse().ok()).unwrap_or(1);
    let trial = |(name, test): (&'static str, ClusterTest)| {
        let shared = cluster.cloned();
        let trial = Trial::test(name, move || match shared {
            Some(cluster) => outcome(explained(&cluster, test)),
            None => Err("this test needs what is not there".into()),
        });
        trial.with_ignored_flag(cluster.is_none())
    };
    tests.into_iter().flat_map(|test| std::iter::repeat_n(test, times)).map(trial).collect()
}

/// Runs a test; what comes of it if it fails says how everything stood. Its namespaces go only then.
fn explained(cluster: &Cluster, test: ClusterTest) -> Result<()> {
    let result = test(cluster);
    let namespaces = Cluster::ended_namespaces();
    let result = result.map_err(|error| anyhow::anyhow!("{error:?}\n{}", explain::state(cluster, &namespaces)));
    cluster.delete_namespaces(&namespaces);
    result
}

fn outcome(result: Result<()>) -> Result<(), Failed> {
    result.map_err(|error| format!("{error:?}").into())
}

fn any_needs_cluster(arguments: &Arguments) -> bool {
    any_is_wanted(
        arguments,
        &[shared_tests(), outages::all(), release::all(), flows::all(), large::all(), failures::all()].concat(),
    )
}

fn any_is_wanted(arguments: &Arguments, tests: &[(&'static str, ClusterTest)]) -> bool {
    let fits = |name: &str| match &arguments.filter {
        Some(filter) if arguments.exact => name == filter,
        Some(filter) => name.contains(filter.as_str()),
        None => true,
    };
    tests.iter().any(|(name, _)| fits(name) && !arguments.skip.iter().any(|skip| name.contains(skip.as_str())))
}

fn plain_tests() -> Vec<(&'static str, PlainTest)> {
    [chart::plain(), nowhere::plain(), schemas::plain()].concat()
}

fn shared_tests() -> Vec<(&'static str, ClusterTest)> {
    [nodes::all(), images::all(), crd::all(), rules::all(), round_trip::all(), chart::all()].concat()
}
