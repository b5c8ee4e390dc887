//! Somebody else changes or deletes what is the operator's while a run goes on.

use anyhow::{Result, ensure};
use e2e::Cluster;
use serde_json::{Value, json};

use crate::ClusterTest;
use crate::gate::Gate;
use crate::product::{self, HOME, PATIENCE, Shared, await_complete, condition, gated_steps, text, until};

pub(crate) fn all() -> Vec<(&'static str, ClusterTest)> {
    vec![
        ("flows::a_status_that_others_write_too_is_told_to_its_end", conditions),
        ("flows::what_is_deleted_under_a_run_is_made_again", deleted),
    ]
}

const CLAIM: &str = "gates";

/// Of a condition that is to go, somebody else manages the message: what would stay without the rest is no condition.
fn conditions(cluster: &Cluster) -> Result<()> {
    product::install(cluster)?;
    let namespace = cluster.namespace("flows-others")?;
    let (name, shared) = (namespace.name(), Shared::new(cluster, namespace.name(), CLAIM)?);
    let gate = Gate::new(shared.path(), "held", 0)?;
    cluster.apply(name, &product::flow("held", gated_steps(4, 1, &gate), json!({"storage": Shared::storage(CLAIM)})))?;
    gate.await_waiting(1)?;
    let status = product::status(cluster, name, "held")?;
    let mut held = condition(&status, "Reconciling").clone();
    ensure!(held["status"] == "True", "it goes on: {status:#}");
    held["message"] = "somebody else's words".into();
    let own = json!({"type": "Reviewed", "status": "True", "reason": "Seen", "message": "", "lastTransitionTime": held["lastTransitionTime"]});
    let applied = json!({
        "apiVersion": "gleamflow.io/v1alpha1", "kind": "GleamFlow", "metadata": {"name": "held", "namespace": name},
        "status": {"conditions": [held, own]},
    });
    let file = shared.path().join("applied.json");
    std::fs::write(&file, applied.to_string())?;
    let file = file.display().to_string();
    let words =
        ["apply", "-n", name, "--server-side", "--force-conflicts", "--subresource=status", "--field-manager=somebody", "-f"];
    cluster.kubectl(&[&words[..], &[file.as_str()]].concat())?;
    gate.open()?;
    let status = await_complete(cluster, name, "held")?;
    ensure!(condition(&status, "Reconciling").is_null() && status["phase"] == "Succeeded", "{status:#}");
    ensure!(condition(&status, "Reviewed")["reason"] == "Seen", "what is not the operator's stays: {status:#}");
    Ok(())
}

fn deleted(cluster: &Cluster) -> Result<()> {
    product::install(cluster)?;
    let namespace = cluster.namespace("flows-deleted")?;
    let (name, shared) = (namespace.name(), Shared::new(cluster, namespace.name(), CLAIM)?);
    let gate = Gate::new(shared.path(), "robbed", 0)?;
    cluster.apply(name, &product::flow("robbed", gated_steps(4, 1, &gate), json!({"storage": Shared::storage(CLAIM)})))?;
    gate.await_waiting(1)?;
    let objects = [
        (name, "networkpolicy", "robbed-1", "/spec"),
        (name, "secret", "robbed-1.gleamflow", "/data/run"),
        (HOME, "secret", "gleamflow-authority", "/data"),
        (HOME, "configmap", "gleamflow-ca", "/data"),
    ];
    let found = |at: usize| -> Result<Value> {
        let (namespace, kind, object, _) = objects[at];
        let there = cluster.get(namespace, &[kind, "--field-selector", &format!("metadata.name={object}")])?;
        Ok(there["items"][0].clone())
    };
    let before = (0..objects.len()).map(found).collect::<Result<Vec<_>>>()?;
    for (namespace, kind, object, _) in objects {
        cluster.kubectl(&["delete", kind, object, "-n", namespace])?;
    }
    for (at, (_, kind, object, part)) in objects.into_iter().enumerate() {
        let again = until(PATIENCE, &format!("{kind} {object} is made again"), || {
            let again = found(at)?;
            Ok((!again["metadata"]["uid"].is_null()).then_some(again))
        })?;
        ensure!(again.pointer(part) == before[at].pointer(part), "{kind} {object} is another: {:#}", again["metadata"]);
        let owner = until(PATIENCE, &format!("{kind} {object} has its owner"), || {
            let owner = text(&found(at)?["metadata"]["ownerReferences"][0]["uid"]);
            Ok((!owner.is_empty()).then_some(owner))
        })?;
        ensure!(owner == text(&before[at]["metadata"]["ownerReferences"][0]["uid"]), "{kind} {object} goes with {owner:?}");
    }
    gate.open()?;
    await_complete(cluster, name, "robbed").map(drop)
}
