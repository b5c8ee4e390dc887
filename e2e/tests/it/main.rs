//! Tests against a real cluster, which is brought up once for all of them, and of what goes into it.
//!
//! Where no cluster can be brought up, the tests that need one are counted as ignored, and the run fails under `CI`.

mod chart;
mod crd;
mod images;
mod nodes;
mod release;
mod round_trip;
mod rules;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use e2e::{Cluster, Place, Prepared, namespaces, prepare};
use libtest_mimic::{Arguments, Failed, Trial};

/// A test that needs a cluster.
type ClusterTest = fn(&Cluster) -> Result<()>;
/// A test that does not.
type PlainTest = fn() -> Result<()>;

fn main() -> Result<ExitCode> {
    let arguments = Arguments::from_args();
    // A question about the tests, or a filter that leaves none that need it, is answered without a cluster.
    if arguments.list || !any_needs_cluster(&arguments) {
        return Ok(run(&arguments, None));
    }
    if namespaces::inside().is_some() {
        return in_cluster(&arguments, Prepared::carried()?);
    }
    match Place::choose() {
        Place::Private => namespaces::enter(&prepare(&Place::Private)?),
        Place::Kind => in_cluster(&arguments, prepare(&Place::Kind)?),
        Place::Nowhere(reasons) => Ok(without_cluster(&arguments, &reasons)),
    }
}

fn in_cluster(arguments: &Arguments, prepared: Prepared) -> Result<ExitCode> {
    let cluster = Arc::new(Cluster::up(prepared).context("the cluster did not come up")?);
    let code = run(arguments, Some(&cluster));
    if code != ExitCode::SUCCESS {
        cluster.collect_logs()?;
    }
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

fn run(arguments: &Arguments, cluster: Option<&Arc<Cluster>>) -> ExitCode {
    let mut trials: Vec<Trial> = plain_tests().into_iter().map(|(name, test)| Trial::test(name, move || outcome(test()))).collect();
    for (name, test) in cluster_tests() {
        let shared = cluster.cloned();
        let trial = Trial::test(name, move || match shared {
            Some(cluster) => outcome(test(&cluster)),
            None => Err("this test needs a cluster".into()),
        });
        trials.push(trial.with_ignored_flag(cluster.is_none()));
    }
    libtest_mimic::run(arguments, trials).exit_code()
}

fn outcome(result: Result<()>) -> Result<(), Failed> {
    result.map_err(|error| format!("{error:?}").into())
}

fn any_needs_cluster(arguments: &Arguments) -> bool {
    let fits = |name: &str| match &arguments.filter {
        Some(filter) if arguments.exact => name == filter,
        Some(filter) => name.contains(filter.as_str()),
        None => true,
    };
    cluster_tests().into_iter().any(|(name, _)| fits(name) && !arguments.skip.iter().any(|skip| name.contains(skip.as_str())))
}

fn plain_tests() -> Vec<(&'static str, PlainTest)> {
    chart::plain()
}

fn cluster_tests() -> Vec<(&'static str, ClusterTest)> {
    [nodes::all(), images::all(), crd::all(), rules::all(), round_trip::all(), chart::all(), release::all()].concat()
}
