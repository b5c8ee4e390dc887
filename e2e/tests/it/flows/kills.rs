//! Executors and agents that are killed mid-run: the result is exact.

use anyhow::{Context, Result, ensure};
use e2e::Cluster;
use serde_json::{Value, json};

use crate::ClusterTest;
use crate::gate::Gate;
use crate::product::{self, Shared, User, await_agents, await_complete, await_executors, await_progress, text};

const ROWS: u32 = 48;
const CLAIM: &str = "gates";

pub(crate) fn all() -> Vec<(&'static str, ClusterTest)> {
    vec![
        ("flows::a_killed_executor_costs_no_row", a_killed_executor_costs_no_row),
        ("flows::a_killed_agent_costs_no_row", a_killed_agent_costs_no_row),
    ]
}

/// Tasks behind a gate, then a count of what they made, one row per number.
fn two_stages(name: &str, gate: &Gate) -> Value {
    let steps = json!([
        {"name": "numbers", "read": {"range": {"to": ROWS}}},
        {"name": "dealt", "roundRobin": {}, "partitions": 12},
        gate.step("gate"),
        {"name": "counts", "count": {}, "partitions": 4},
        {"name": "show", "write": {"stdout": {"format": "%s %d"}}}
    ]);
    let executors = json!({"minReplicas": 3, "maxReplicas": 3});
    product::flow(name, steps, json!({"storage": Shared::storage(CLAIM), "executors": executors}))
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
    let shared = Shared::new(cluster, namespace.name(), CLAIM)?;
    let gate = Gate::new(shared.path(), "bereft", 4)?;
    cluster.apply(namespace.name(), &two_stages("bereft", &gate))?;
    await_executors(cluster, namespace.name(), "bereft", 3)?;
    await_progress(cluster, namespace.name(), "bereft", 4)?;
    gate.await_waiting(3)?;
    // One that is in the middle of a task.
    let victim = gate.waiting()?.pop().context("nobody waits")?;
    cluster.kubectl(&["delete", "pod", &victim, "-n", namespace.name(), "--grace-period=0", "--force"])?;
    gate.open()?;
    check(cluster, namespace.name(), &user, "bereft")
}

fn a_killed_agent_costs_no_row(cluster: &Cluster) -> Result<()> {
    product::install(cluster)?;
    let namespace = cluster.namespace("flows-agentless")?;
    let user = User::new(cluster, namespace.name())?;
    let shared = Shared::new(cluster, namespace.name(), CLAIM)?;
    let gate = Gate::new(shared.path(), "agentless", 6)?;
    cluster.apply(namespace.name(), &two_stages("agentless", &gate))?;
    let pods = await_executors(cluster, namespace.name(), "agentless", 3)?;
    await_progress(cluster, namespace.name(), "agentless", 6)?;
    gate.await_waiting(3)?;
    // One that holds something: where a task has been done.
    let busy = gate.came()?.into_iter().find(|pod| !gate.waiting().is_ok_and(|waiting| waiting.contains(pod)));
    let busy = busy.map_or_else(|| gate.came().map(|came| came[0].clone()), Ok)?;
    let node = pods.iter().find(|pod| pod["metadata"]["name"] == busy.as_str()).map(|pod| text(&pod["spec"]["nodeName"]));
    let node = node.with_context(|| format!("{busy} does not run"))?;
    let agents = product::agents(cluster)?;
    let (victim, _) = agents.iter().find(|(_, of)| *of == node).with_context(|| format!("{node} has no agent"))?;
    cluster.kubectl(&["delete", "pod", victim, "-n", product::HOME, "--grace-period=0", "--force"])?;
    gate.open()?;
    check(cluster, namespace.name(), &user, "agentless")?;
    await_agents(cluster)
}
