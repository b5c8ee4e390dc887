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

/// Resident memory of a process in MiB.
#[derive(Debug)]
struct Resident {
    all: f64,
    own: f64,
}

/// The goal is 10 MB; what a build holds beyond that are pages of its own file.
const AGENT: f64 = 12.0;
const OPERATOR: f64 = 16.0;
const SMALL_FLOW: Duration = Duration::from_secs(5);

fn idle_agents_and_operators_are_small(cluster: &Cluster) -> Result<()> {
    product::install(cluster)?;
    // What they did to start is over.
    thread::sleep(Duration::from_secs(5));
    let agents = resident("gleamflow-agent")?;
    let operators = resident("gleamflow-operator")?;
    eprintln!("figure: idle agents {agents:.1?} MiB resident, operators {operators:.1?} MiB resident");
    if agents.is_empty() && operators.is_empty() {
        eprintln!("NOT MEASURED: this cluster's processes cannot be seen from here");
        return Ok(());
    }
    ensure!(agents.len() == cluster.nodes().len() && operators.len() == 2, "agents {agents:?}, operators {operators:?}");
    ensure!(agents.iter().all(|size| size.all < AGENT), "agents {agents:?}");
    // How many pages of its file a program holds depends on how it was built and on the kernel's reading ahead.
    ensure!(operators.iter().all(|size| size.own < OPERATOR), "operators {operators:?}");
    Ok(())
}

/// The resident memory of the processes of a program.
fn resident(program: &str) -> Result<Vec<Resident>> {
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

/// All of it, and what of it is no file's (the program's own pages are); a process may end while we look at it.
fn resident_of(process: &Path) -> Option<Resident> {
    let status = fs::read_to_string(process.join("status")).ok()?;
    let mebibytes = |field: &str| -> Option<f64> {
        let line = status.lines().find_map(|line| line.strip_prefix(field))?;
        let kibibytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kibibytes / 1024.0)
    };
    Some(Resident { all: mebibytes("VmRSS:")?, own: mebibytes("RssAnon:")? })
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
