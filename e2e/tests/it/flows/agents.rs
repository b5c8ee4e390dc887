//! The agents' DaemonSet, which people delete and edit, and a flow that has to wait for agents.

use anyhow::{Context, Result, ensure};
use e2e::Cluster;
use serde_json::{Value, json};

use crate::ClusterTest;
use crate::product::{self, HOME, PATIENCE, User, await_agents, await_complete, condition, items, text, until};

pub(crate) fn all() -> Vec<(&'static str, ClusterTest)> {
    vec![("flows::agents_that_cannot_be_are_said_and_their_daemon_set_is_put_right", agents)]
}

const SET: &str = "gleamflow-agent";

fn agents(cluster: &Cluster) -> Result<()> {
    product::install(cluster)?;
    await_agents(cluster)?;
    let namespace = cluster.namespace("flows-agents")?;
    let (name, user) = (namespace.name(), User::new(cluster, namespace.name())?);
    // No pod can be made in the operator's namespace; then all agents go.
    let quota =
        json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "full"}, "spec": {"hard": {"pods": "1"}}});
    cluster.apply(HOME, &quota)?;
    let held = until(PATIENCE, "a quota that counts", || {
        Ok((!cluster.get(HOME, &["resourcequota", "full"])?["status"]["used"]["pods"].is_null()).then_some(()))
    });
    let said = held.and_then(|()| without_agents(cluster, name, &user));
    // Whatever came of it: the tests behind this one need agents.
    cluster.kubectl(&["delete", "resourcequota", "full", "-n", HOME])?;
    said?;

    // Edited by hand, it fits no node; it is put right, and its controller looks at it anew.
    let patch = json!({"spec": {"template": {"spec": {"nodeSelector": {"no": "where"}}}}}).to_string();
    cluster.kubectl(&["patch", "daemonset", SET, "-n", HOME, "-p", &patch])?;
    let mut last = Value::Null;
    let right = until(PATIENCE, "a DaemonSet that is put right", || {
        last = cluster.get(HOME, &["daemonset", SET])?;
        Ok(last["spec"]["template"]["spec"]["nodeSelector"].as_object().is_none_or(serde_json::Map::is_empty).then_some(()))
    });
    right.with_context(|| format!("{last:#}"))?;
    await_agents(cluster)?;
    // The flow that waited goes on by itself.
    await_complete(cluster, name, "waits")?;
    let output = user.gleamflow(cluster, &["output", "waits"])?;
    ensure!(product::sorted(&output) == ["0", "1", "2", "3"], "output: {output:?}");
    Ok(())
}

/// Deletes the DaemonSet: another is made, whose pods are refused, and a flow says so in the cluster's words.
fn without_agents(cluster: &Cluster, namespace: &str, user: &User) -> Result<()> {
    let uid = |set: &Value| text(&set["metadata"]["uid"]);
    let before = uid(&cluster.get(HOME, &["daemonset", SET])?);
    cluster.kubectl(&["delete", "daemonset", SET, "-n", HOME])?;
    until(PATIENCE, "another DaemonSet", || {
        let sets = cluster.get(HOME, &["daemonset", "-l", "gleamflow.io/role=agent"])?;
        let owned = |set: &&Value| set["metadata"]["ownerReferences"][0]["name"] == "gleamflow-operator";
        Ok(items(&sets).filter(owned).any(|set| uid(set) != before).then_some(()))
    })?;
    until(PATIENCE, "no agent", || {
        let pods = cluster.get(HOME, &["pods", "-l", "gleamflow.io/role=agent"])?;
        Ok(items(&pods).next().is_none().then_some(()))
    })?;
    let steps = json!([{"name": "numbers", "read": {"range": {"to": 4}}}, {"name": "show", "write": {"stdout": {}}}]);
    cluster.apply(namespace, &product::flow("waits", steps, json!({})))?;
    let mut last = Value::Null;
    let said = until(PATIENCE, "a flow that says why it has no agents", || {
        last = product::status(cluster, namespace, "waits")?;
        let says =
            |message: &Value| text(message).contains("no agent is connected") && text(message).contains("exceeded quota: full");
        let ready = condition(&last, "Reconciling");
        Ok((last["reason"] == "AgentsNotReady" && says(&last["message"]) && says(&ready["message"])).then_some(()))
    });
    said.with_context(|| format!("its status: {last:#}"))?;
    let why = user.gleamflow(cluster, &["why", "waits"])?;
    ensure!(why.contains("AgentsNotReady") && why.contains("exceeded quota: full"), "why: {why}");
    let told = until(PATIENCE, "an event", || {
        let events = cluster.get(namespace, &["events", "--field-selector=involvedObject.name=waits"])?;
        let told = items(&events).any(|event| event["reason"] == "AgentsNotReady" && event["type"] == "Warning");
        Ok(told.then_some(()))
    });
    told.context("no event AgentsNotReady")
}
