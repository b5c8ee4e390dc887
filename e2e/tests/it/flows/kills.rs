//! Executors and agents that are killed mid-run: the result is exact.

use anyhow::{Context, Result, ensure};
use e2e::Cluster;
use serde_json::{Value, json};

use crate::ClusterTest;
use crate::product::{self, User, await_complete, await_progress, executors, text, until};

const ROWS: u32 = 48;

pub(crate) fn all() -> Vec<(&'static str, ClusterTest)> {
    vec![
        ("flows::a_killed_executor_costs_no_row", a_killed_executor_costs_no_row),
        ("flows::a_killed_agent_costs_no_row", a_killed_agent_costs_no_row),
    ]
}

/// Slow tasks, then a count of what they made, one row per number.
fn two_stages(name: &str) -> Value {
    let steps = json!([
        {"name": "numbers", "read": {"range": {"to": ROWS}}},
        {"name": "dealt", "roundRobin": {}, "partitions": 12},
        {"name": "slow", "pipeAsArgs": {"command": "sleep 0.5; echo $1"}, "deterministic": true},
        {"name": "counts", "count": {}, "partitions": 4},
        {"name": "show", "write": {"stdout": {"format": "%s %d"}}}
    ]);
    product::flow(name, steps, json!({"executors": {"minReplicas": 3, "maxReplicas": 3}}))
}

fn check(cluster: &Cluster, namespace: &str, user: &User, name: &str) -> Result<()> {
    let status = await_complete(cluster, namespace, name)?;
    let found = product::sorted(&user.gleamflow(cluster, &["output", name])?);
    let wanted = product::sorted(&(0..ROWS).map(|number| format!("{number} 1\n")).collect::<String>());
    ensure!(found == wanted, "{name} gives {found:?}");
    ensure!(text(&status["currentRun"]["id"]).ends_with("-1"), "it ran twice: {}", status["currentRun"]);
    eprintln!("figure: {name}: stages {}, failures {}", status["stages"], status["failures"]);
    Ok(())
}

fn a_killed_executor_costs_no_row(cluster: &Cluster) -> Result<()> {
    product::install(cluster)?;
    let namespace = cluster.namespace("flows-killed")?;
    let user = User::new(cluster, namespace.name())?;
    cluster.apply(namespace.name(), &two_stages("bereft"))?;
    await_progress(cluster, namespace.name(), "bereft", 4)?;
    let pods = executors(cluster, namespace.name(), "bereft")?;
    let running = pods.iter().find(|pod| pod["status"]["phase"] == "Running").context("no executor runs")?;
    let victim = text(&running["metadata"]["name"]);
    cluster.kubectl(&["delete", "pod", &victim, "-n", namespace.name(), "--grace-period=0", "--force"])?;
    check(cluster, namespace.name(), &user, "bereft")
}

fn a_killed_agent_costs_no_row(cluster: &Cluster) -> Result<()> {
    product::install(cluster)?;
    let namespace = cluster.namespace("flows-agentless")?;
    let user = User::new(cluster, namespace.name())?;
    cluster.apply(namespace.name(), &two_stages("agentless"))?;
    await_progress(cluster, namespace.name(), "agentless", 6)?;
    // One that holds something: where an executor is.
    let pods = executors(cluster, namespace.name(), "agentless")?;
    let node = pods.iter().find(|pod| pod["status"]["phase"] == "Running").map(|pod| text(&pod["spec"]["nodeName"]));
    let node = node.context("no executor runs")?;
    let agents = product::agents(cluster)?;
    let (victim, _) = agents.iter().find(|(_, of)| *of == node).with_context(|| format!("{node} has no agent"))?;
    cluster.kubectl(&["delete", "pod", victim, "-n", product::HOME, "--grace-period=0", "--force"])?;
    check(cluster, namespace.name(), &user, "agentless")?;
    until(product::PATIENCE, "an agent on every node", || {
        Ok((product::agents(cluster)?.len() == cluster.nodes().len()).then_some(()))
    })
}
