//! What can happen to nodes: the cluster sees it, and sees them come back.

use std::time::Duration;

use anyhow::Result;
use e2e::{Cluster, Namespace};
use serde_json::json;

use crate::ClusterTest;
use crate::nodes::shell_pod;

/// These need the cluster for themselves.
pub(crate) fn all() -> Vec<(&'static str, ClusterTest)> {
    vec![("outages::a_killed_and_a_cut_off_node_are_missed_and_come_back", a_killed_and_a_cut_off_node_are_missed_and_come_back)]
}

const PATIENCE: Duration = Duration::from_secs(300);

fn a_killed_and_a_cut_off_node_are_missed_and_come_back(cluster: &Cluster) -> Result<()> {
    let (killed, cut) = (cluster.nodes()[1].clone(), cluster.nodes()[2].clone());
    let nodes = [format!("node/{killed}"), format!("node/{cut}")];
    cluster.kill_node(&killed)?;
    cluster.cut_link(&cut)?;
    cluster.wait("default", "condition=Ready=Unknown", &nodes, PATIENCE)?;
    cluster.start_node(&killed)?;
    cluster.mend_link(&cut)?;
    cluster.wait("default", "condition=Ready", &nodes, PATIENCE)?;
    // They are not ready by name alone.
    let namespace = cluster.namespace("outages")?;
    for node in [&killed, &cut] {
        run_pod(cluster, &namespace, node)?;
    }
    Ok(())
}

fn run_pod(cluster: &Cluster, namespace: &Namespace, node: &str) -> Result<()> {
    let mut pod = shell_pod(node, "true");
    pod["spec"]["nodeName"] = json!(node);
    // The node's mark of the outage goes a moment after it is ready.
    pod["spec"]["tolerations"] = json!([{"operator": "Exists"}]);
    cluster.apply(namespace.name(), &pod)?;
    cluster.wait(namespace.name(), "jsonpath={.status.phase}=Succeeded", &[format!("pod/{node}")], PATIENCE)
}
