//! What a test that failed leaves to be read, short: all that a cause can be found by from the output of CI alone.

use std::fmt::Write as _;
use std::fs;

use e2e::Cluster;
use serde_json::Value;

use crate::product::{HOME, items, text};

/// Of a flow's status, in bytes.
const STATUS: usize = 3000;
/// Flows and pods of a namespace; events; lines of each log.
const FLOWS: usize = 6;
const PODS: usize = 8;
const EVENTS: usize = 15;
const LINES: usize = 12;

/// The state of the test's namespaces, of the release and of the nodes. Says too what could not be read.
pub(crate) fn state(cluster: &Cluster, namespaces: &[String]) -> String {
    let mut told = String::from("\n--- the cluster when the test failed ---\n");
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let _ = writeln!(told, "load of the machine: {}", load.trim());
    told.push_str(&asked(cluster, &["get", "nodes", "--no-headers"]));
    for namespace in namespaces {
        let _ = writeln!(told, "--- namespace {namespace}");
        flows(cluster, namespace, &mut told);
        told.push_str(&pods(cluster, namespace));
        events(cluster, namespace, &mut told);
        logs(cluster, namespace, "gleamflow.io/role=executor", &mut told);
    }
    let _ = writeln!(told, "--- namespace {HOME}");
    told.push_str(&asked(cluster, &["get", "lease", "-n", HOME, "--no-headers"]));
    told.push_str(&pods(cluster, HOME));
    logs(cluster, HOME, "gleamflow.io/role=operator", &mut told);
    logs(cluster, HOME, "gleamflow.io/role=agent", &mut told);
    told
}

/// What kubectl says, whatever that is.
fn asked(cluster: &Cluster, arguments: &[&str]) -> String {
    match cluster.try_kubectl(arguments, "") {
        Ok(output) => output.stdout + &output.stderr,
        Err(error) => format!("kubectl {arguments:?}: {error:#}\n"),
    }
}

fn list(cluster: &Cluster, namespace: &str, what: &[&str], told: &mut String) -> Vec<Value> {
    match cluster.get(namespace, what) {
        Ok(found) => items(&found).cloned().collect(),
        Err(error) => {
            let _ = writeln!(told, "{what:?}: {error:#}");
            Vec::new()
        }
    }
}

/// Those that are not complete, and as many of the others as there is room for.
fn flows(cluster: &Cluster, namespace: &str, told: &mut String) {
    let mut flows = list(cluster, namespace, &["gleamflows"], told);
    flows.sort_by_key(|flow| flow["status"]["phase"] == "Succeeded");
    for flow in flows.iter().take(FLOWS) {
        let generation = &flow["metadata"]["generation"];
        let mut status = flow["status"].to_string();
        let end = (0..=STATUS.min(status.len())).rev().find(|at| status.is_char_boundary(*at)).unwrap_or(0);
        status.truncate(end);
        let _ = writeln!(told, "flow {} (generation {generation}): {status}", text(&flow["metadata"]["name"]));
    }
}

fn pods(cluster: &Cluster, namespace: &str) -> String {
    let columns = "custom-columns=POD:.metadata.name,NODE:.spec.nodeName,PHASE:.status.phase,DELETED:.metadata.deletionTimestamp,\
        RESTARTS:.status.containerStatuses[*].restartCount,WAITS:.status.containerStatuses[*].state.waiting.reason,\
        ENDED:.status.containerStatuses[*].state.terminated.reason,LAST:.status.containerStatuses[*].lastState.terminated.reason";
    asked(cluster, &["get", "pods", "-n", namespace, "-o", columns])
}

fn events(cluster: &Cluster, namespace: &str, told: &mut String) {
    let columns = "custom-columns=TIME:.lastTimestamp,TYPE:.type,REASON:.reason,ABOUT:.involvedObject.name,MESSAGE:.message";
    let all = asked(
        cluster,
        &["get", "events", "-n", namespace, "--no-headers", "--sort-by=.metadata.creationTimestamp", "-o", columns],
    );
    let lines: Vec<&str> = all.lines().collect();
    for line in &lines[lines.len().saturating_sub(EVENTS)..] {
        let _ = writeln!(told, "event {line}");
    }
}

/// The ends of the logs of pods; of those that began anew, of both lives.
fn logs(cluster: &Cluster, namespace: &str, label: &str, told: &mut String) {
    let tail = format!("--tail={LINES}");
    for pod in list(cluster, namespace, &["pods", "-l", label], told).iter().take(PODS) {
        let name = text(&pod["metadata"]["name"]);
        let restarts = pod["status"]["containerStatuses"][0]["restartCount"].as_u64().unwrap_or(0);
        let lives: &[&str] = if restarts > 0 { &["--previous=true", "--previous=false"] } else { &["--previous=false"] };
        for life in lives {
            for line in asked(cluster, &["logs", &name, "-n", namespace, &tail, life]).lines() {
                let _ = writeln!(told, "{name}: {line}");
            }
        }
    }
}
