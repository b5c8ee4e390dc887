//! The cluster itself: three nodes of different size, pods on each of them.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use e2e::{Cluster, IMAGE_TAG};
use serde_json::{Value, json};

use crate::ClusterTest;
use crate::product::PATIENCE;

pub(crate) fn all() -> Vec<(&'static str, ClusterTest)> {
    vec![
        ("nodes::there_are_three_of_different_size", there_are_three_of_different_size),
        ("nodes::pods_run_on_all_of_them_and_reach_each_other", pods_run_on_all_of_them_and_reach_each_other),
        ("nodes::a_container_past_its_memory_limit_is_killed", a_container_past_its_memory_limit_is_killed),
    ]
}

fn there_are_three_of_different_size(cluster: &Cluster) -> Result<()> {
    let mut sizes = BTreeSet::new();
    for node in cluster.nodes() {
        let found = cluster.get("default", &["node", node])?;
        let allocatable = &found["status"]["allocatable"];
        sizes.insert((allocatable["cpu"].to_string(), allocatable["memory"].to_string()));
    }
    ensure!(sizes.len() == 3, "the nodes offer {sizes:?}");
    Ok(())
}

fn pods_run_on_all_of_them_and_reach_each_other(cluster: &Cluster) -> Result<()> {
    let namespace = cluster.namespace("nodes")?;
    let name = namespace.name();
    for (number, node) in cluster.nodes().iter().enumerate() {
        let mut pod = shell_pod(&format!("pod{number}"), "echo ready; exec sleep 600");
        pod["spec"]["nodeName"] = json!(node);
        cluster.apply(name, &pod)?;
    }
    let pods: Vec<String> = (0..cluster.nodes().len()).map(|number| format!("pod/pod{number}")).collect();
    cluster.wait(name, "condition=Ready", &pods, PATIENCE)?;
    for pod in &pods {
        let log = cluster.kubectl(&["logs", "--namespace", name, pod])?;
        ensure!(log == "ready\n", "{pod} said {log:?}");
        let answer = cluster.kubectl(&["exec", "--namespace", name, pod, "--", "sh", "-c", "echo $((6 * 7))"])?;
        ensure!(answer == "42\n", "{pod} answered {answer:?}");
    }
    Ok(())
}

fn a_container_past_its_memory_limit_is_killed(cluster: &Cluster) -> Result<()> {
    let namespace = cluster.namespace("memory")?;
    let mut pod = shell_pod("glutton", "sort /dev/zero");
    pod["spec"]["containers"][0]["resources"] = json!({"limits": {"memory": "32Mi"}});
    cluster.apply(namespace.name(), &pod)?;
    let reason = "jsonpath={.status.containerStatuses[0].state.terminated.reason}=OOMKilled";
    cluster.wait(namespace.name(), reason, &["pod/glutton".to_owned()], PATIENCE)?;
    let found = cluster.get(namespace.name(), &["pod", "glutton"])?;
    let code =
        found["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"].as_i64().context("it has no exit code")?;
    ensure!(code == 137, "exit code {code}");
    Ok(())
}

/// A pod that runs a shell command as strictly as our own pods run.
pub(crate) fn shell_pod(name: &str, script: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "terminationGracePeriodSeconds": 0,
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "shell", "image": format!("gleamflow/shell:{IMAGE_TAG}"), "imagePullPolicy": "Never",
                "command": ["/bin/sh", "-c", script],
                "securityContext": {
                    "readOnlyRootFilesystem": true, "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}
                }
            }]
        }
    })
}
