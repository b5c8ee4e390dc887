//! Who can be killed, and how: as the world does it, without a word to Kubernetes (but for an eviction).

use anyhow::{Context, Result, ensure};
use e2e::Cluster;
use serde_json::{Value, json};

use crate::product::{self, HOME, items, leader, text, until};

/// The control group of `$process`, and the files in it for the memory that it has and may have.
const GROUP: &str = "own=$(sed -n 's/^[0-9]*:memory://p' /proc/$process/cgroup); \
    group=/sys/fs/cgroup/memory$own; used=memory.usage_in_bytes; limit=memory.limit_in_bytes; \
    [ -n \"$own\" ] || { group=/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/$process/cgroup); used=memory.current; limit=memory.max; }";
/// Leaves a container 16 MiB more than it holds, and adds a process to it that wants nearly all that it may hold and may not be killed:
/// however much of what is held is files that can be let go of, the kernel has to kill another, `$process` first, with which the
/// container ends.
const STARVE: &str = "for other in $(cat $group/cgroup.procs); do echo 0 > /proc/$other/oom_score_adj; done; \
    echo 1000 > /proc/$process/oom_score_adj; \
    held=$(cat $group/$used); wanted=$((held + 12582912)); echo $((held + 16777216)) > $group/$limit; \
    (echo -1000 > /proc/self/oom_score_adj; echo 0 > $group/cgroup.procs; head -c $wanted /dev/zero | tail -c $wanted > /dev/null)";
/// A disk for an agent alone, which counts as its memory: it and its pod may have more of that.
const DISK: &str = "for at in $(dirname $group) $group; do echo 2147483648 > $at/$limit; done; \
    mount -N $process -t tmpfs -o size=1g,mode=1777 tmpfs /spill";

/// The whole command line of an agent.
const AGENT: &str = "/usr/bin/gleamflow-agent";

/// A pod whose only container runs.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) pod: String,
    pub(crate) node: String,
    container: String,
    restarts: u64,
}

impl Target {
    /// SIGKILL for all processes of the container at once.
    pub(crate) fn kill(&self, cluster: &Cluster) -> Result<()> {
        cluster.kill_container(&self.node, &self.container, None)
    }

    /// Whether nothing of it was started again in between.
    pub(crate) fn is_same_life(&self, other: &Target) -> bool {
        (&self.container, self.restarts) == (&other.container, other.restarts)
    }

    /// Whether the kubelet would wait long before it starts it once more.
    pub(crate) fn is_worn(&self) -> bool {
        self.restarts >= 2
    }

    /// SIGKILL for the processes of its slots, which are children of the executor.
    pub(crate) fn kill_slots(&self, cluster: &Cluster) -> Result<()> {
        cluster.kill_container(&self.node, &self.container, Some("slot"))
    }

    /// Takes the memory of an executor's container away, until the kernel kills the executor.
    pub(crate) fn starve(&self, cluster: &Cluster) -> Result<()> {
        cluster.outside_container(&self.node, &self.container, "executor", &format!("{GROUP}; {STARVE}"))
    }

    /// Gives an agent that is still empty a disk of its own, so that nobody else's gets full.
    pub(crate) fn isolate_disk(&self, cluster: &Cluster) -> Result<()> {
        self.outside_agent(cluster, &format!("{GROUP}; {DISK}"))
    }

    /// Has a shell outside do something to the agent, which is `$process`.
    pub(crate) fn outside_agent(&self, cluster: &Cluster, deed: &str) -> Result<()> {
        cluster.outside_container(&self.node, &self.container, AGENT, deed)
    }

    /// The kernel is to kill its executor first where the container's memory is short.
    pub(crate) fn offer_to_kernel(&self, cluster: &Cluster) -> Result<()> {
        cluster.kill_first_for_memory(&self.node, &self.container, "executor")
    }
}

/// The running pods that carry a label.
pub(crate) fn running(cluster: &Cluster, namespace: &str, label: &str) -> Result<Vec<Target>> {
    let pods = cluster.get(namespace, &["pods", "-l", label])?;
    let target = |pod: &Value| {
        let container = &pod["status"]["containerStatuses"][0];
        let id = container["containerID"].as_str()?.rsplit_once('/')?.1.to_owned();
        let runs = !container["state"]["running"].is_null() && pod["metadata"]["deletionTimestamp"].is_null();
        let restarts = container["restartCount"].as_u64().unwrap_or(0);
        runs.then(|| Target {
            pod: text(&pod["metadata"]["name"]),
            node: text(&pod["spec"]["nodeName"]),
            container: id,
            restarts,
        })
    };
    Ok(items(&pods).filter_map(target).collect())
}

/// The one executor of a flow. Its tasks may be at a gate before its kubelet has told the API server that it runs.
pub(crate) fn await_executor(cluster: &Cluster, namespace: &str, flow: &str) -> Result<Target> {
    until(product::PATIENCE, &format!("one executor of {flow}"), || {
        let mut running = executors(cluster, namespace, flow)?;
        Ok(running.pop().filter(|_| running.is_empty()))
    })
}

/// The running executors of a flow.
pub(crate) fn executors(cluster: &Cluster, namespace: &str, flow: &str) -> Result<Vec<Target>> {
    running(cluster, namespace, &format!("gleamflow.io/flow={flow}"))
}

/// The agent of a node.
pub(crate) fn agent(cluster: &Cluster, node: &str) -> Result<Target> {
    let agents = running(cluster, HOME, "gleamflow.io/role=agent")?;
    agents.into_iter().find(|agent| agent.node == node).with_context(|| format!("{node} has no agent"))
}

/// The operator that leads, and the one that stands by.
#[derive(Debug)]
pub(crate) struct Operators {
    pub(crate) leader: Target,
    pub(crate) standby: Target,
}

/// Both operators, each on a node of its own.
pub(crate) fn operators(cluster: &Cluster) -> Result<Operators> {
    until(product::PATIENCE, "two operators on two nodes", || {
        let leads = leader(cluster)?;
        let operators = running(cluster, HOME, "gleamflow.io/role=operator")?;
        let (leaders, others): (Vec<Target>, Vec<Target>) = operators.into_iter().partition(|operator| operator.pod == leads);
        let (Some(leader), Some(standby)) = (leaders.into_iter().next(), others.into_iter().next()) else { return Ok(None) };
        if leader.node == standby.node {
            // The scheduler may put them side by side where nodes are busy.
            cluster.kubectl(&["delete", "pod", &standby.pod, "-n", HOME])?;
            return Ok(None);
        }
        Ok(Some(Operators { leader, standby }))
    })
}

/// Asks the API server to evict a pod.
pub(crate) fn evict(cluster: &Cluster, namespace: &str, pod: &str) -> Result<()> {
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": namespace}});
    let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}/eviction");
    let output = cluster.try_kubectl(&["create", "--raw", &path, "-f", "-"], &eviction.to_string())?;
    ensure!(output.success, "evicting {pod}: {}", output.stderr);
    Ok(())
}

/// Everything of the release works, and would be started again soon.
pub(crate) fn await_fresh(cluster: &Cluster) -> Result<()> {
    for role in ["agent", "operator"] {
        let all = running(cluster, HOME, &format!("gleamflow.io/role={role}"))?;
        for worn in all.iter().filter(|target| target.is_worn()) {
            cluster.kubectl(&["delete", "pod", &worn.pod, "-n", HOME])?;
        }
    }
    await_whole(cluster)
}

/// Waits until everything of the release works again: all nodes, an agent on each, two operators.
pub(crate) fn await_whole(cluster: &Cluster) -> Result<()> {
    let nodes: Vec<String> = cluster.nodes().iter().map(|node| format!("node/{node}")).collect();
    cluster.wait("default", "condition=Ready", &nodes, product::PATIENCE)?;
    product::await_agents(cluster)?;
    product::await_operators(cluster)?;
    until(product::PATIENCE, "a leader that runs", || {
        let leads = leader(cluster)?;
        let operators = running(cluster, HOME, "gleamflow.io/role=operator")?;
        Ok(operators.iter().any(|operator| operator.pod == leads).then_some(()))
    })
}
