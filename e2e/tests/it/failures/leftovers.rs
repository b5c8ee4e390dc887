//! What must not be there a minute after the end of all flows: pods, pieces at agents, writers, folders that are not results.

use std::fs;
use std::path::Path;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::Cluster;

use super::hard::names;
use crate::product::{self, items, text};

/// What is promised, on a machine that has the time for it.
const PROMISED: Duration = Duration::from_secs(60);
/// Of an agent's page of metrics: all nothing.
const HELD: [&str; 4] = ["runs", "memory_bytes", "disk_bytes", "writers"];

/// Waits until nothing is left on nodes that live. `flows`: whose results and gates are on the volume.
pub(crate) fn none(cluster: &Cluster, namespace: &str, dead: &[String], volume: &Path, flows: &[&str]) -> Result<()> {
    let (mut left, mut crowd, since) = (Vec::new(), crowd()?, Instant::now());
    loop {
        left.clear();
        left.extend(pods(cluster, namespace, dead)?);
        left.extend(held(cluster, dead)?);
        left.extend(files(volume, flows)?);
        if left.is_empty() {
            break;
        }
        crowd = crowd.max(self::crowd()?);
        let limit = PROMISED.mul_f64(crowd);
        let seconds = limit.as_secs_f64();
        ensure!(since.elapsed() < limit, "not within {seconds:.0} s (load per core {crowd:.1}), left: {left:?}");
        sleep(Duration::from_millis(500));
    }
    let seconds = since.elapsed().as_secs_f64();
    eprintln!("figure: nothing was left {seconds:.0} s after the end (load per core {crowd:.1})");
    Ok(())
}

/// How many want each core of the machine, at least one. What takes a minute of work takes as many minutes where it gets a part of its
/// cores only: the API server, kubelets and containerd, who take pods away, run on them too.
fn crowd() -> Result<f64> {
    let text = fs::read_to_string("/proc/loadavg").context("failed to read /proc/loadavg")?;
    let load: f64 = text.split(' ').next().unwrap_or_default().parse().with_context(|| format!("the load is {text:?}"))?;
    let cores = thread::available_parallelism().context("nobody knows how many cores there are")?;
    Ok((load / cores.get() as f64).max(1.0))
}

fn pods(cluster: &Cluster, namespace: &str, dead: &[String]) -> Result<Vec<String>> {
    let pods = cluster.get(namespace, &["pods", "-l", "gleamflow.io/role=executor"])?;
    let on_live = items(&pods).filter(|pod| !dead.contains(&text(&pod["spec"]["nodeName"])));
    Ok(on_live.map(|pod| format!("{} ({})", text(&pod["metadata"]["name"]), text(&pod["status"]["phase"]))).collect())
}

fn held(cluster: &Cluster, dead: &[String]) -> Result<Vec<String>> {
    let mut left = Vec::new();
    for (agent, node) in product::agents(cluster)?.into_iter().filter(|(_, node)| !dead.contains(node)) {
        for what in HELD {
            match product::agent_metric(cluster, &agent, &format!("gleamflow_agent_{what}")) {
                Ok(0.0) => {}
                Ok(count) => left.push(format!("{what} of {count} at the agent of {node}")),
                // It may just have died: the next look is at another.
                Err(error) => {
                    left.push(format!("{agent} does not answer: {error:#}"));
                    break;
                }
            }
        }
    }
    Ok(left)
}

fn files(volume: &Path, flows: &[&str]) -> Result<Vec<String>> {
    let known = |name: &str| {
        let of_flow = |flow: &&str| name == format!("out-{flow}") || name.starts_with(&format!("gate-{flow}-"));
        name == "left" || name == "right" || flows.iter().any(of_flow)
    };
    Ok(names(volume)?.into_iter().filter(|name| !known(name)).map(|name| format!("{name} on the volume")).collect())
}
