//! What goes wrong is said, with the cause, where users look for it.

use anyhow::{Context, Result, ensure};
use e2e::Cluster;
use serde_json::{Value, json};

use crate::ClusterTest;
use crate::gate::Gate;
use crate::product::{
    self, PATIENCE, Shared, User, await_complete, await_condition, await_progress, condition, gated_steps, text, until,
};

pub(crate) fn all() -> Vec<(&'static str, ClusterTest)> {
    vec![
        ("flows::a_function_that_always_fails_fails_the_flow_with_its_words", a_failing_function),
        ("flows::executors_without_room_are_unschedulable_in_the_schedulers_words", no_room),
        ("flows::a_missing_image_is_said", a_missing_image),
        ("flows::an_invalid_flow_is_not_accepted_with_all_its_problems", an_invalid_flow),
        ("flows::a_changed_flow_is_queued_or_replaces_its_run", a_changed_flow),
        ("flows::a_deleted_flow_leaves_nothing", a_deleted_flow),
    ]
}

const CLAIM: &str = "gates";

fn quick() -> Value {
    json!([{"name": "numbers", "read": {"range": {"to": 4}}}, {"name": "show", "write": {"stdout": {}}}])
}

fn a_failing_function(cluster: &Cluster) -> Result<()> {
    product::install(cluster)?;
    let namespace = cluster.namespace("flows-failing")?;
    let user = User::new(cluster, namespace.name())?;
    let steps = json!([
        {"name": "numbers", "read": {"range": {"to": 4}}},
        {"name": "broken", "map": {"lua": "function(x) if x == 3 then error('three is too many') end return x end"}},
        {"name": "show", "write": {"stdout": {}}}
    ]);
    let retry = json!({"retry": {"limit": 2, "backoff": {"initialSeconds": 1, "factor": 1}}});
    cluster.apply(namespace.name(), &product::flow("failing", steps, retry))?;
    let status = await_condition(cluster, namespace.name(), "failing", "Failed", "True", "UdfError")?;
    let message = text(&condition(&status, "Failed")["message"]);
    ensure!(message.contains("broken") && message.contains("three is too many"), "Failed says {message:?}");
    ensure!(condition(&status, "Complete").is_null(), "it is complete too: {status:#}");
    let failures = status["failures"].as_array().cloned().unwrap_or_default();
    ensure!(failures.len() == 3, "with two retries there are three failures: {failures:#?}");
    for failure in &failures {
        let said = text(&failure["message"]);
        ensure!(failure["step"] == "broken" && failure["reason"] == "UdfError", "{failure:#}");
        ensure!(text(&failure["pod"]).starts_with("failing-1-"), "its pod: {failure:#}");
        ensure!(said.contains("three is too many") && said.contains("row") && said.contains('3'), "its row: {failure:#}");
    }
    let attempts: Vec<&Value> = failures.iter().map(|failure| &failure["attempt"]).collect();
    ensure!(attempts[0] != attempts[1] && attempts[1] != attempts[2], "attempts: {attempts:?}");
    let followed = user.try_gleamflow(cluster, &["status", "failing", "-w"])?;
    ensure!(!followed.success && followed.stdout.contains("FAILURES"), "status -w: {followed:?}");
    let output = user.try_gleamflow(cluster, &["output", "failing"])?;
    ensure!(!output.success && output.stdout.is_empty(), "partial output: {output:?}");
    let logs = user.gleamflow(cluster, &["logs", "failing", "--failed"])?;
    ensure!(logs.contains("three is too many"), "the executors' logs: {logs:?}");
    Ok(())
}

fn no_room(cluster: &Cluster) -> Result<()> {
    product::install(cluster)?;
    let namespace = cluster.namespace("flows-no-room")?;
    let user = User::new(cluster, namespace.name())?;
    let spec = json!({"executors": {"resources": {"requests": {"cpu": 100}}}});
    cluster.apply(namespace.name(), &product::flow("wide", quick(), spec))?;
    let status = await_condition(cluster, namespace.name(), "wide", "ExecutorsReady", "False", "Unschedulable")?;
    let message = text(&condition(&status, "ExecutorsReady")["message"]);
    ensure!(message.contains("Insufficient cpu"), "not the scheduler's words: {message:?}");
    let why = user.gleamflow(cluster, &["why", "wide"])?;
    ensure!(why.contains("Unschedulable") && why.contains("Insufficient cpu"), "why: {why}");
    Ok(())
}

fn a_missing_image(cluster: &Cluster) -> Result<()> {
    product::install(cluster)?;
    let namespace = cluster.namespace("flows-image")?;
    let spec = json!({"executors": {"image": "localhost:1/no/such:image"}});
    cluster.apply(namespace.name(), &product::flow("pictured", quick(), spec))?;
    let status = await_condition(cluster, namespace.name(), "pictured", "ExecutorsReady", "False", "ImagePullFailed")?;
    let message = text(&condition(&status, "ExecutorsReady")["message"]);
    ensure!(message.contains("localhost:1/no/such:image"), "not the image: {message:?}");
    Ok(())
}

fn an_invalid_flow(cluster: &Cluster) -> Result<()> {
    product::install(cluster)?;
    let namespace = cluster.namespace("flows-invalid")?;
    let steps = json!([
        {"name": "numbers", "read": {"range": {"to": 4}}},
        {"name": "mapped", "from": ["nowhere"], "map": {"lua": "function(x) return x end"}},
        {"name": "broken", "from": ["numbers"], "map": {"lua": "function(x) return x +"}},
        {"name": "show", "from": ["broken"], "write": {"stdout": {}}}
    ]);
    cluster.apply(namespace.name(), &product::flow("invalid", steps, json!({})))?;
    let status = await_condition(cluster, namespace.name(), "invalid", "Accepted", "False", "")?;
    let message = text(&condition(&status, "Accepted")["message"]);
    ensure!(message.contains("nowhere") && message.contains("broken"), "not all of its problems: {message:?}");
    ensure!(condition(&status, "Stalled")["status"] == "True" && status["phase"] == "Failed", "{status:#}");
    ensure!(status["currentRun"].is_null(), "it runs: {status:#}");

    let steps = json!([{"name": "lines", "read": {"text": {"paths": ["in.txt"]}}}, {"name": "show", "write": {"stdout": {}}}]);
    cluster.apply(namespace.name(), &product::flow("homeless", steps, json!({})))?;
    let status = await_condition(cluster, namespace.name(), "homeless", "Accepted", "False", "NoStorage")?;
    ensure!(text(&condition(&status, "Accepted")["message"]).contains("in.txt"), "{status:#}");

    // Mended, it runs.
    cluster.apply(namespace.name(), &product::flow("invalid", quick(), json!({})))?;
    await_complete(cluster, namespace.name(), "invalid").map(drop)
}

fn a_changed_flow(cluster: &Cluster) -> Result<()> {
    product::install(cluster)?;
    let namespace = cluster.namespace("flows-changed")?;
    let user = User::new(cluster, namespace.name())?;
    let shared = Shared::new(cluster, namespace.name(), CLAIM)?;
    for (name, policy) in [("queued", "Queue"), ("replaced", "Replace")] {
        let spec = json!({"onSpecChange": policy, "storage": Shared::storage(CLAIM)});
        let gate = Gate::new(shared.path(), name, 1)?;
        cluster.apply(namespace.name(), &product::flow(name, gated_steps(24, 6, &gate), spec.clone()))?;
        await_progress(cluster, namespace.name(), name, 1)?;
        cluster.apply(namespace.name(), &product::flow(name, quick(), spec))?;
        if policy == "Queue" {
            gate.open()?;
        }
        let status = product::await_run(cluster, namespace.name(), name, 2)?;
        ensure!(condition(&status, "Complete")["observedGeneration"] == 2, "{status:#}");
        let found = product::sorted(&user.gleamflow(cluster, &["output", name])?);
        ensure!(found == ["0", "1", "2", "3"], "{name} gives {found:?}");
        let first = &status["history"][0];
        let wanted = if policy == "Queue" { "Succeeded" } else { "Superseded" };
        ensure!(first["result"] == wanted && first["generation"] == 1, "{name}: the first run: {first:#}");
    }
    Ok(())
}

fn a_deleted_flow(cluster: &Cluster) -> Result<()> {
    product::install(cluster)?;
    let namespace = cluster.namespace("flows-deleted")?;
    let shared = Shared::new(cluster, namespace.name(), CLAIM)?;
    let gate = Gate::new(shared.path(), "deleted", 1)?;
    let spec = json!({"storage": Shared::storage(CLAIM)});
    cluster.apply(namespace.name(), &product::flow("deleted", gated_steps(24, 8, &gate), spec))?;
    await_progress(cluster, namespace.name(), "deleted", 1)?;
    cluster.kubectl(&["delete", "gleamflow", "deleted", "-n", namespace.name()])?;
    let kinds = "pods,secrets,configmaps,networkpolicies,serviceaccounts,gleamflows";
    let mut left = Vec::new();
    let gone = until(PATIENCE, "nothing left", || {
        let all = cluster.kubectl(&["get", kinds, "-n", namespace.name(), "-o", "name"])?;
        let of_it = all.lines().filter(|name| !name.ends_with("/default") && !name.ends_with("/kube-root-ca.crt"));
        left = of_it.map(str::to_owned).collect();
        Ok(left.is_empty().then_some(()))
    });
    gone.with_context(|| format!("left: {left:?}"))?;
    let mut runs = Vec::new();
    let forgotten = until(PATIENCE, "nothing of it on agents", || {
        let agents = product::agents(cluster)?.into_iter();
        let count = |(agent, node): (String, String)| Ok((node, product::agent_metric(cluster, &agent, "gleamflow_agent_runs")?));
        runs = agents.map(count).collect::<Result<Vec<(String, f64)>>>()?;
        Ok(runs.iter().all(|(_, count)| *count == 0.0).then_some(()))
    });
    forgotten.with_context(|| format!("runs at agents: {runs:?}"))
}
