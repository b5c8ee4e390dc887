//! How small and how fast: the idle product's memory, a small flow's time.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::Cluster;
use serde_json::json;

use crate::ClusterTest;
use crate::crd::small_flow;
use crate::nodes::shell_pod;
use crate::product::{self, PATIENCE, until};

pub(crate) fn all() -> Vec<(&'static str, ClusterTest)> {
    vec![
        ("flows::idle_agents_and_operators_are_small", idle_agents_and_operators_are_small),
        ("flows::a_small_flow_is_complete_in_5_seconds", a_small_flow_is_complete_in_5_seconds),
    ]
}

/// As the design says, in MB.
const AGENT: f64 = 10.0;
const OPERATOR: f64 = 16.0;
const SMALL_FLOW: Duration = Duration::from_secs(5);
/// A cluster that is slow itself: a small flow takes no longer than so many pods, one after the other, that do nothing.
const SLOW_CLUSTER: u32 = 4;
const RUNS: usize = 5;

fn idle_agents_and_operators_are_small(cluster: &Cluster) -> Result<()> {
    product::install(cluster)?;
    if resident("gleamflow-agent")?.is_empty() && resident("gleamflow-operator")?.is_empty() {
        eprintln!("NOT MEASURED: this cluster's processes cannot be seen from here");
        return Ok(());
    }
    // What they did to start is over when they have given back what they needed for it.
    let (mut agents, mut operators) = (Vec::new(), Vec::new());
    let small = until(PATIENCE, "small agents and operators", || {
        (agents, operators) = (resident("gleamflow-agent")?, resident("gleamflow-operator")?);
        let are_all_there = agents.len() == cluster.nodes().len() && operators.len() == 2;
        Ok((are_all_there && largest(&agents) < AGENT && largest(&operators) < OPERATOR).then_some(()))
    });
    eprintln!("figure: idle agents {agents:.1?}, operators {operators:.1?} MB resident");
    small.with_context(|| format!("agents {agents:?}, operators {operators:?} MB"))
}

fn largest(processes: &[f64]) -> f64 {
    processes.iter().copied().fold(0.0, f64::max)
}

/// The resident memory of the processes of a program, in MB.
fn resident(program: &str) -> Result<Vec<f64>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("failed to list /proc")?.flatten() {
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let path = command.split(|byte| *byte == 0).map(String::from_utf8_lossy).next();
        if path.is_some_and(|path| path.rsplit('/').next() == Some(program)) {
            found.extend(resident_of(&entry.path()));
        }
    }
    Ok(found)
}

/// A process may end while we look at it.
fn resident_of(process: &Path) -> Option<f64> {
    let status = fs::read_to_string(process.join("status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024.0 / 1e6)
}

fn a_small_flow_is_complete_in_5_seconds(cluster: &Cluster) -> Result<()> {
    product::install(cluster)?;
    let namespace = cluster.namespace("flows-small")?;
    let (mut times, mut bare) = (Vec::new(), Vec::new());
    for number in 0..RUNS {
        let pod = format!("bare-{number}");
        let start = Instant::now();
        cluster.apply(namespace.name(), &shell_pod(&pod, "true"))?;
        cluster.wait(namespace.name(), "jsonpath={.status.phase}=Succeeded", &[format!("pod/{pod}")], PATIENCE)?;
        bare.push(start.elapsed());
        let name = format!("small-{number}");
        let flow = small_flow(&name);
        let start = Instant::now();
        cluster.apply(namespace.name(), &flow)?;
        cluster.wait(namespace.name(), "condition=Complete", &[format!("gleamflow/{name}")], PATIENCE)?;
        times.push(start.elapsed());
    }
    times.sort();
    bare.sort();
    let seconds: Vec<String> = times.iter().map(|time| format!("{:.2}", time.as_secs_f64())).collect();
    let pod = bare[RUNS / 2];
    eprintln!(
        "figure: a small flow from apply to Complete: {} s; a pod that does nothing: {:.2} s",
        json!(seconds),
        pod.as_secs_f64()
    );
    ensure!(times[RUNS / 2] < SMALL_FLOW.max(pod * SLOW_CLUSTER), "it took {seconds:?} s, a pod that does nothing {pod:?}");
    Ok(())
}
