//! How small and how fast: the idle product's memory, a small flow's time.

use std::path::Path;
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context, Result, ensure};
use e2e::Cluster;
use serde_json::json;

use crate::ClusterTest;
use crate::crd::small_flow;
use crate::product::{self, PATIENCE};

pub(crate) fn all() -> Vec<(&'static str, ClusterTest)> {
    vec![
        ("flows::idle_agents_and_operators_are_small", idle_agents_and_operators_are_small),
        ("flows::a_small_flow_is_complete_in_5_seconds", a_small_flow_is_complete_in_5_seconds),
    ]
}

/// As the design says, in MB.
const AGENT: f64 = 10.0;
const OPERATOR: f64 = 16.0;
/// How long they are looked at: longer than two rounds of what an idle process does.
const LOOKS: u32 = 25;
const SMALL_FLOW: Duration = Duration::from_secs(5);

fn idle_agents_and_operators_are_small(cluster: &Cluster) -> Result<()> {
    product::install(cluster)?;
    if resident("gleamflow-agent")?.is_empty() && resident("gleamflow-operator")?.is_empty() {
        eprintln!("NOT MEASURED: this cluster's processes cannot be seen from here");
        return Ok(());
    }
    // What they did to start is over when they have given back what they needed for it.
    let small = || -> Result<_> {
        let (agents, operators) = (resident("gleamflow-agent")?, resident("gleamflow-operator")?);
        let all = agents.len() == cluster.nodes().len() && operators.len() == 2;
        Ok((all && largest(&agents) < AGENT && largest(&operators) < OPERATOR).then_some((agents, operators)))
    };
    let (agents, operators) = product::until(PATIENCE, "agents and operators are small", small)?;
    let (mut agent, mut operator) = (largest(&agents), largest(&operators));
    for _ in 0..LOOKS {
        thread::sleep(Duration::from_secs(1));
        agent = agent.max(largest(&resident("gleamflow-agent")?));
        operator = operator.max(largest(&resident("gleamflow-operator")?));
    }
    eprintln!(
        "figure: idle agents {agents:.1?}, operators {operators:.1?} MB; in {LOOKS} s at most {agent:.1} and {operator:.1}"
    );
    ensure!(agent < AGENT, "an agent held {agent:.1} MB");
    ensure!(operator < OPERATOR, "an operator held {operator:.1} MB");
    Ok(())
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
    let mut times = Vec::new();
    for number in 0..5 {
        let name = format!("small-{number}");
        let flow = small_flow(&name);
        let start = Instant::now();
        cluster.apply(namespace.name(), &flow)?;
        cluster.wait(namespace.name(), "condition=Complete", &[format!("gleamflow/{name}")], PATIENCE)?;
        times.push(start.elapsed());
    }
    times.sort();
    let seconds: Vec<String> = times.iter().map(|time| format!("{:.2}", time.as_secs_f64())).collect();
    eprintln!("figure: a small flow from apply to Complete: {} s", json!(seconds));
    ensure!(times[times.len() / 2] < SMALL_FLOW, "it took {seconds:?} s");
    Ok(())
}
