//! The custom resource definition, as users install it and read it.

use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use e2e::Cluster;
use serde_json::json;

use crate::ClusterTest;
use crate::product::{PATIENCE, until};

/// What an annotation may hold, which plain `kubectl apply` writes the whole object to.
const LIMIT: usize = 262_144;

pub(crate) fn all() -> Vec<(&'static str, ClusterTest)> {
    vec![
        ("crd::is_explained_well", is_explained_well),
        ("crd::an_unseen_flow_has_observed_generation_minus_one", an_unseen_flow_has_observed_generation_minus_one),
        ("crd::status_is_written_through_its_subresource_alone", status_is_written_through_its_subresource_alone),
        ("crd::flows_are_listed_in_columns", flows_are_listed_in_columns),
    ]
}

/// Whether a test has installed the definition.
static INSTALLED: Mutex<bool> = Mutex::new(false);

/// Installs the definition with plain `kubectl apply -f`, once for all tests.
pub(crate) fn install(cluster: &Cluster) -> Result<()> {
    let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
    if *installed {
        return Ok(());
    }
    let output = Command::new(&cluster.prepared().gleamflow).arg("crd").output().context("failed to start gleamflow")?;
    ensure!(output.status.success(), "gleamflow crd failed: {}", String::from_utf8_lossy(&output.stderr));
    ensure!(output.stdout.len() < LIMIT, "the definition has {} bytes", output.stdout.len());
    let definition = String::from_utf8(output.stdout).context("gleamflow crd wrote no text")?;
    cluster.apply("default", &definition)?;
    let name = ["customresourcedefinition/gleamflows.gleamflow.io".to_owned()];
    cluster.wait("default", "condition=Established", &name, PATIENCE)?;
    await_discovery(cluster)?;
    *installed = true;
    Ok(())
}

/// Established is said a moment before every part of the API server knows it.
fn await_discovery(cluster: &Cluster) -> Result<()> {
    let mut said = None;
    let served = until(PATIENCE, "an API server that serves gleamflows", || {
        let explained = cluster.try_kubectl(&["explain", "gleamflow.spec.steps"], "")?;
        let listed = cluster.try_kubectl(&["get", "gleamflows"], "")?;
        let is_served = explained.success && listed.success;
        said = Some((explained.stderr, listed.stderr));
        Ok(is_served.then_some(()))
    });
    served.with_context(|| format!("kubectl says {said:?}"))
}

/// A flow that does little.
pub(crate) fn small_flow(name: &str) -> serde_json::Value {
    json!({
        "apiVersion": "gleamflow.io/v1alpha1", "kind": "GleamFlow", "metadata": {"name": name},
        "spec": {"steps": [
            {"name": "numbers", "read": {"range": {"to": 10}}},
            {"name": "show", "write": {"stdout": {}}}
        ]}
    })
}

fn is_explained_well(cluster: &Cluster) -> Result<()> {
    install(cluster)?;
    let expectations = [
        ("gleamflow", vec!["GROUP:      gleamflow.io", "VERSION:    v1alpha1", "A data flow: named steps from sources to sinks"]),
        ("gleamflow.spec", vec!["steps <[]Object> -required-", "How often a task is tried again"]),
        (
            "gleamflow.spec.steps",
            vec!["FIELD: steps <[]Object>", "What the flow does, step by step", "  flatMap\t<Object>", "  reduceBy\t<Object>"],
        ),
        ("gleamflow.spec.onSpecChange", vec!["Queue", "Replace", "Ignore", "What happens when the flow changes while it runs"]),
        ("gf.spec.executors.maxReplicas", vec!["<integer>", "The most executors at a time"]),
        ("gleamflow.status.conditions", vec!["<[]Object>", "Accepted", "lastTransitionTime"]),
    ];
    for (path, parts) in expectations {
        let text = cluster.kubectl(&["explain", path])?;
        // Lines are wrapped where they are long.
        let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for part in parts {
            let part_flat = part.split_whitespace().collect::<Vec<_>>().join(" ");
            ensure!(flat.contains(&part_flat), "`kubectl explain {path}` does not say {part:?}:\n{text}");
        }
        ensure!(
            !flat.contains("<no description>") || path.contains("conditions"),
            "`kubectl explain {path}` lacks descriptions:\n{text}"
        );
    }
    Ok(())
}

fn an_unseen_flow_has_observed_generation_minus_one(cluster: &Cluster) -> Result<()> {
    install(cluster)?;
    let namespace = cluster.namespace("crd")?;
    cluster.apply(namespace.name(), &small_flow("unseen"))?;
    let flow = cluster.get(namespace.name(), &["gleamflow", "unseen"])?;
    ensure!(flow["status"] == json!({"observedGeneration": -1}), "status: {}", flow["status"]);
    ensure!(flow["metadata"]["generation"] == 1, "generation: {}", flow["metadata"]["generation"]);
    Ok(())
}

fn status_is_written_through_its_subresource_alone(cluster: &Cluster) -> Result<()> {
    install(cluster)?;
    let namespace = cluster.namespace("crd")?;
    let mut flow = small_flow("reported");
    flow["status"] = json!({"observedGeneration": 7, "phase": "Running"});
    cluster.apply(namespace.name(), &flow)?;
    let applied = cluster.get(namespace.name(), &["gleamflow", "reported"])?;
    ensure!(applied["status"] == json!({"observedGeneration": -1}), "apply wrote the status: {}", applied["status"]);
    let patch = r#"{"status":{"observedGeneration":1,"phase":"Running"},"spec":{"suspend":true}}"#;
    cluster.kubectl(&["patch", "gf", "reported", "-n", namespace.name(), "--subresource=status", "--type=merge", "-p", patch])?;
    let patched = cluster.get(namespace.name(), &["gleamflow", "reported"])?;
    ensure!(patched["status"]["phase"] == "Running", "status: {}", patched["status"]);
    ensure!(
        patched["spec"]["suspend"] == false && patched["metadata"]["generation"] == 1,
        "a status patch changed the spec: {patched}"
    );
    let running = cluster.get(namespace.name(), &["gf", "--field-selector", "status.phase=Running"])?;
    ensure!(running["items"].as_array().is_some_and(|items| items.len() == 1), "selected by phase: {running}");
    Ok(())
}

fn flows_are_listed_in_columns(cluster: &Cluster) -> Result<()> {
    install(cluster)?;
    let namespace = cluster.namespace("crd")?;
    cluster.apply(namespace.name(), &small_flow("listed"))?;
    let table = cluster.kubectl(&["get", "gleamflow", "-n", namespace.name()])?;
    let head: Vec<&str> = table.lines().next().unwrap_or_default().split_whitespace().collect();
    ensure!(head == ["NAME", "PHASE", "PROGRESS", "EXECUTORS", "REASON", "STARTED", "AGE"], "columns: {head:?}");
    Ok(())
}
