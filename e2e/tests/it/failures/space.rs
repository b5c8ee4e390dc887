//! Agents whose disks are full: a flow waits and says why, and goes on when there is room, or fails after its deadline.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use e2e::{Cluster, root};
use serde_json::{Value, json};

use super::fleet::{ALL, Again, Fleet, Moment};
use super::hard::{self, CLAIM, Input};
use super::{kill, leftovers};
use crate::ClusterTest;
use crate::chart::CHART;
use crate::gate::Gate;
use crate::product::{self, HOME, PATIENCE, Shared, await_complete, await_condition, condition, status, text, until};

/// An agent that may hold so little holds 20 MiB in memory and 8 on its disk.
const SMALL: [&str; 2] = ["agent.memory=48Mi", "agent.disk=10Mi"];
/// What is there before and after: the chart's own values.
const USUAL: [&str; 2] = ["agent.memory=256Mi", "agent.disk=8Gi"];
/// An agent that holds 20 MiB in memory, and may hold all that its disk does.
const FORGETFUL: [&str; 2] = ["agent.memory=48Mi", "agent.disk=8Gi"];
/// What the flows read that are to fill their agents' memory.
const BYTES: u64 = 50 << 20;
/// More than one agent holds; and less, but not twice.
const TOO_MUCH: u64 = 44 << 20;
const MOST: u64 = 18 << 20;

pub(crate) fn all() -> Vec<(&'static str, ClusterTest)> {
    vec![
        ("failures::full_agents_are_said_and_waited_for_or_fail_the_flow", full),
        ("failures::full_disks_of_agents_cost_nothing_but_time", full_disks),
    ]
}

fn full(cluster: &Cluster) -> Result<()> {
    product::install(cluster)?;
    resize(cluster, &SMALL)?;
    let tested = too_much_fails(cluster).and_then(|()| room_is_waited_for(cluster));
    resize(cluster, &USUAL)?;
    tested
}

/// The disks of all agents are full, of what is not theirs, while five flows stand at five moments of theirs.
fn full_disks(cluster: &Cluster) -> Result<()> {
    product::install(cluster)?;
    resize(cluster, &FORGETFUL)?;
    let tested = full_disks_of_agents(cluster);
    resize(cluster, &USUAL)?;
    tested
}

fn full_disks_of_agents(cluster: &Cluster) -> Result<()> {
    // What is worn is made anew before, not after it has got its disk.
    kill::await_fresh(cluster)?;
    let agents = kill::running(cluster, HOME, "gleamflow.io/role=agent")?;
    ensure!(agents.len() == cluster.nodes().len(), "these run: {agents:?}");
    agents.iter().try_for_each(|agent| agent.isolate_disk(cluster))?;
    let fleet = Fleet::begin(cluster, "disks", BYTES, &ALL)?;
    fleet.stand()?;
    agents
        .iter()
        .try_for_each(|agent| agent.outside_agent(cluster, "cd /proc/$process/root && cat /dev/zero > spill/foreign"))?;
    fleet.open()?;
    // What has yet to shuffle most waits; what commits or is over needs no room.
    for flow in [Moment::Early, Moment::Shuffling] {
        let status = await_condition(cluster, fleet.namespace(), flow.name(), "Ready", "False", "ShuffleSpace")?;
        let message = text(&condition(&status, "Ready")["message"]);
        eprintln!("figure: disks of agents full: {}: {message}", flow.name());
        ensure!(cluster.nodes().iter().any(|node| message.contains(node)), "it does not say where there is no room: {message:?}");
    }
    await_complete(cluster, fleet.namespace(), Moment::Committing.name())?;
    let since = Instant::now();
    agents.iter().try_for_each(|agent| agent.outside_agent(cluster, "cd /proc/$process/root && rm spill/foreign"))?;
    fleet.finish("disks of agents full, then not", since, |_| Again::Exactly([0; 3]))?;
    let now = kill::running(cluster, HOME, "gleamflow.io/role=agent")?;
    let lives = |agent: &kill::Target| now.iter().any(|other| agent.is_same_life(other));
    ensure!(agents.iter().all(lives), "an agent was started again: {agents:?}, then {now:?}");
    Ok(())
}

/// Agents of another size.
fn resize(cluster: &Cluster, values: &[&str]) -> Result<()> {
    let chart = root().join(CHART).display().to_string();
    let mut arguments =
        vec!["upgrade", "gleamflow", &chart, "-n", HOME, "--reuse-values", "--wait", "--timeout", product::HELM_PATIENCE];
    arguments.extend(values.iter().flat_map(|value| ["--set", *value]));
    cluster.helm(&arguments)?;
    let memory = values[0].rsplit_once('=').map_or("", |(_, size)| size).trim_end_matches("Mi");
    let bytes = (memory.parse::<u64>().context("a size")? << 20).to_string();
    let mut last = Value::Null;
    let resized = until(PATIENCE, "agents of another size", || {
        let agents = cluster.get(HOME, &["daemonset", "gleamflow-agent"])?;
        last = agents["status"].clone();
        let variables = agents["spec"]["template"]["spec"]["containers"][0]["env"].as_array().cloned().unwrap_or_default();
        let told = variables.iter().any(|variable| variable["name"] == "GLEAMFLOW_AGENT_MEMORY" && variable["value"] == bytes);
        let (state, nodes) = (&agents["status"], cluster.nodes().len());
        let all = |field: &str| state[field].as_u64() == u64::try_from(nodes).ok();
        let seen = state["observedGeneration"] == agents["metadata"]["generation"];
        Ok((told && seen && all("updatedNumberScheduled") && all("numberAvailable")).then_some(()))
    });
    resized.with_context(|| format!("the DaemonSet: {last}"))?;
    kill::await_whole(cluster)
}

/// A flow that shuffles all it reads, from one executor on one node: one agent gets all of it.
fn shuffle(name: &str, node: &str, gate: Option<&Gate>, more: &Value) -> Value {
    let mut steps = vec![
        json!({"name": "left", "read": {"tsv": {"paths": ["left/*.tsv"]}}}),
        json!({"name": "dealt", "roundRobin": {}, "partitions": 2}),
    ];
    steps.extend(gate.map(|gate| gate.step("gate")));
    steps.extend([
        json!({"name": "counted", "reduce": {"lua": "function(a, b) return a + b end"}}),
        json!({"name": "out", "write": {"tsv": {"path": format!("out-{name}")}}}),
    ]);
    steps.insert(steps.len() - 2, json!({"name": "ones", "map": {"lua": "function(k, n, pad) return 1 end"}}));
    let mut spec = json!({
        "storage": Shared::storage(CLAIM),
        "executors": {"maxReplicas": 1, "template": {"spec": {"nodeSelector": {"kubernetes.io/hostname": node}}}},
        "retention": {"failedPodsSeconds": 0}
    });
    for (field, value) in more.as_object().into_iter().flatten() {
        spec[field] = value.clone();
    }
    product::flow(name, steps.into(), spec)
}

/// The flow says that it waits for room, and where.
fn await_waiting(cluster: &Cluster, namespace: &str, name: &str) -> Result<()> {
    let status = await_condition(cluster, namespace, name, "Ready", "False", "ShuffleSpace")?;
    let message = text(&condition(&status, "Ready")["message"]);
    ensure!(message.contains(&cluster.nodes()[0]), "it does not say where there is no room: {message:?}");
    ensure!(condition(&status, "Reconciling")["reason"] == "ShuffleSpace" && status["reason"] == "ShuffleSpace", "{status:#}");
    Ok(())
}

fn too_much_fails(cluster: &Cluster) -> Result<()> {
    let namespace = cluster.namespace("failures-full")?;
    let shared = Shared::new(cluster, namespace.name(), CLAIM)?;
    Input::write(shared.path(), TOO_MUCH)?;
    cluster.apply(namespace.name(), &shuffle("huge", &cluster.nodes()[0], None, &json!({"stallDeadlineSeconds": 6})))?;
    await_waiting(cluster, namespace.name(), "huge")?;
    let since = Instant::now();
    let status = await_condition(cluster, namespace.name(), "huge", "Failed", "True", "Stalled")?;
    let message = text(&condition(&status, "Failed")["message"]);
    eprintln!("figure: an agent was full: Failed after {:.0} s: {message}", since.elapsed().as_secs_f64());
    ensure!(message.contains("no room for shuffles") && message.contains(&cluster.nodes()[0]), "Failed says {message:?}");
    ensure!(!shared.path().join("out-huge").exists(), "it left output");
    leftovers::none(cluster, namespace.name(), &[], shared.path(), &["huge"])
}

fn room_is_waited_for(cluster: &Cluster) -> Result<()> {
    let namespace = cluster.namespace("failures-room")?;
    let shared = Shared::new(cluster, namespace.name(), CLAIM)?;
    Input::write(shared.path(), MOST)?;
    let gate = Gate::new(shared.path(), "older-room", 0)?;
    let [full, other, ..] = cluster.nodes() else { bail!("there is one node only") };
    cluster.apply(namespace.name(), &shuffle("older", full, Some(&gate), &json!({})))?;
    gate.await_waiting(1)?;
    cluster.apply(namespace.name(), &shuffle("younger", full, None, &json!({})))?;
    await_waiting(cluster, namespace.name(), "younger")?;
    // One full agent is nothing to those who have another.
    cluster.apply(namespace.name(), &shuffle("beside", other, None, &json!({})))?;
    await_complete(cluster, namespace.name(), "beside")?;
    check(shared.path(), "beside")?;
    let waits = status(cluster, namespace.name(), "younger")?;
    ensure!(waits["reason"] == "ShuffleSpace", "it does not wait any more: {waits:#}");
    // The older one, which has what it needs, does not wait for anything but its gate.
    let older = status(cluster, namespace.name(), "older")?;
    ensure!(older["reason"] == "Running", "the older one waits, too: {older:#}");
    let since = Instant::now();
    gate.open()?;
    for flow in ["older", "younger"] {
        await_complete(cluster, namespace.name(), flow)?;
        check(shared.path(), flow)?;
    }
    let waited = since.elapsed();
    eprintln!("figure: an agent was full, then had room: complete after {:.0} s", waited.as_secs_f64());
    leftovers::none(cluster, namespace.name(), &[], shared.path(), &["older", "younger", "beside"])
}

/// It has counted all rows.
fn check(volume: &Path, flow: &str) -> Result<()> {
    let mut rows = Vec::new();
    hard::read(&volume.join(format!("out-{flow}")), |row| {
        rows.push(row.to_owned());
        Ok(())
    })?;
    ensure!(rows == [(MOST / 64).to_string()], "{flow} counts {rows:?}");
    Ok(())
}
