//! What must not be there a minute after the end of all flows: pods, pieces at agents, writers, folders that are not results.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use e2e::Cluster;

use super::hard::names;
use crate::product::{self, items, text, until};

/// What is promised; a machine that is slow may take longer, which is said.
const PROMISED: Duration = Duration::from_secs(60);
/// Of an agent's page of metrics: all nothing.
const HELD: [&str; 4] = ["runs", "memory_bytes", "disk_bytes", "writers"];

/// Waits until nothing is left on nodes that live. `flows`: whose results and gates are on the volume.
pub(crate) fn none(cluster: &Cluster, namespace: &str, dead: &[String], volume: &Path, flows: &[&str]) -> Result<()> {
    let mut left = Vec::new();
    let since = Instant::now();
    let gone = until(product::PATIENCE, "nothing left", || {
        left = pods(cluster, namespace, dead)?;
        left.extend(held(cluster, dead)?);
        left.extend(files(volume, flows)?);
        Ok(left.is_empty().then_some(()))
    });
    gone.with_context(|| format!("left: {left:?}"))?;
    if since.elapsed() > PROMISED {
        eprintln!("figure: SLOW: nothing was left only {:.0} s after the end", since.elapsed().as_secs_f64());
    }
    Ok(())
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
