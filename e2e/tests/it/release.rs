//! The product as users get it: installed by helm, upgraded, used, uninstalled, in both modes of rights.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::{Cluster, IMAGE_TAG, User, root};
use serde_json::{Value, json};

use crate::chart::CHART;
use crate::crd::small_flow;
use crate::flows::examples;
use crate::product::{self, HELM_PATIENCE, items, sorted, text, until};
use crate::{ClusterTest, crd};

/// These need the operator, and the cluster for themselves: an operator of all namespaces would run other tests' flows.
pub(crate) fn all() -> Vec<(&'static str, ClusterTest)> {
    vec![
        ("release::cluster_scoped_installs_runs_upgrades_and_leaves_nothing", |cluster| life(cluster, true)),
        ("release::namespaced_installs_runs_upgrades_and_leaves_nothing", |cluster| life(cluster, false)),
    ]
}

const PATIENCE: Duration = Duration::from_secs(300);

fn life(cluster: &Cluster, cluster_scoped: bool) -> Result<()> {
    crd::install(cluster)?;
    let namespace = cluster.namespace("release")?;
    let home = namespace.name();
    // Another namespace that the release serves.
    let served = cluster.namespace("release-flows")?;
    let before = everything(cluster, home)?;
    cluster.apply(home, &small_flow("before"))?;

    install(cluster, home, served.name(), cluster_scoped)?;
    check_rights(cluster, home, cluster_scoped)?;
    cluster.wait(home, "condition=Complete", &["gleamflow/before".to_owned()], PATIENCE)?;
    cluster.helm(&[
        "upgrade",
        "gleamflow",
        &chart(),
        "-n",
        home,
        "--reuse-values",
        "--set",
        "replicas=2",
        "--wait",
        "--timeout",
        HELM_PATIENCE,
    ])?;
    cluster.apply(home, &small_flow("after"))?;
    cluster.wait(home, "condition=Complete", &["gleamflow/after".to_owned()], PATIENCE)?;
    if !cluster_scoped {
        agents_come_and_go(cluster, home, served.name())?;
        use_elsewhere(cluster, served.name())?;
    }
    cluster.helm(&["uninstall", "gleamflow", "-n", home, "--wait", "--timeout", HELM_PATIENCE])?;

    cluster.kubectl(&["delete", "namespace", served.name(), "--timeout=300s"])?;
    // The user's flows and what they own are the user's; the definition has to be there, or this fails.
    cluster.kubectl(&["delete", "gleamflow", "before", "after", "-n", home])?;
    let left: Vec<String> = everything(cluster, home)?.difference(&before).cloned().collect();
    if !left.is_empty() {
        // Owned objects go a moment after their owner.
        cluster.wait(home, "delete", &left, PATIENCE)?;
    }
    let after = everything(cluster, home)?;
    ensure!(after == before, "left: {:?}; gone: {:?}", after.difference(&before), before.difference(&after));
    Ok(())
}

/// An agent that is new finds its way in, without a right in the whole cluster; what executors shuffle goes over it.
fn agents_come_and_go(cluster: &Cluster, home: &str, served: &str) -> Result<()> {
    let agents = || -> Result<Vec<String>> {
        let pods = cluster.get(home, &["pods", "-l", "gleamflow.io/role=agent"])?;
        let ready = |pod: &&Value| {
            pod["status"]["containerStatuses"][0]["ready"] == true && pod["metadata"]["deletionTimestamp"].is_null()
        };
        Ok(items(&pods).filter(ready).map(|pod| text(&pod["metadata"]["name"])).collect())
    };
    let all = |without: &str| {
        until(PATIENCE, "an agent on every node", || {
            let now = agents()?;
            Ok((now.len() == cluster.nodes().len() && !now.iter().any(|agent| agent == without)).then_some(now))
        })
    };
    let gone = all("")?.pop().context("there is no agent")?;
    cluster.kubectl(&["delete", "pod", &gone, "-n", home, "--grace-period=0", "--force"])?;
    all(&gone)?;
    let steps = json!([
        {"name": "numbers", "read": {"range": {"to": 48}}},
        {"name": "dealt", "roundRobin": {}, "partitions": 12},
        {"name": "counts", "count": {}, "partitions": 4},
        {"name": "show", "write": {"stdout": {"format": "%s %d"}}}
    ]);
    let executors = json!({"executors": {"minReplicas": 3, "maxReplicas": 3}});
    cluster.apply(served, &product::flow("dealt", steps, executors))?;
    product::await_complete(cluster, served, "dealt")?;
    let found = sorted(&output(cluster, served, "dealt")?);
    ensure!(found == sorted(&(0..48).map(|number| format!("{number} 1\n")).collect::<String>()), "dealt gives {found:?}");
    Ok(())
}

/// Examples, in a namespace of a list.
fn use_elsewhere(cluster: &Cluster, served: &str) -> Result<()> {
    let folder = root().join("examples");
    let started = ["wordcount", "left-join", "dead-letters"].map(|name| examples::start(cluster, served, folder.join(name)));
    let output = |name: &str| output(cluster, served, name);
    for example in started {
        examples::check(cluster, served, &output, &example?)?;
    }
    Ok(())
}

/// `gleamflow output`, as somebody who may do everything.
fn output(cluster: &Cluster, namespace: &str, flow: &str) -> Result<String> {
    let output = User::new(cluster)?.command("gleamflow").args(["output", flow, "-n", namespace]).output();
    let output = output.context("failed to start gleamflow")?;
    ensure!(output.status.success(), "gleamflow output {flow}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).context("its output is no text")
}

fn install(cluster: &Cluster, home: &str, served: &str, cluster_scoped: bool) -> Result<()> {
    // Without a word about them it is all of them, or its own.
    let served = (!cluster_scoped).then(|| format!("namespaces={{{home},{served}}}"));
    let values = [
        format!("rbac.clusterScoped={cluster_scoped}"),
        // Another test may have installed the definition; helm takes it over in one mode, and leaves it alone in the other.
        format!("crds.install={cluster_scoped}"),
        format!("image.tag={IMAGE_TAG}"),
        format!("executorImage.tag={IMAGE_TAG}"),
    ];
    let chart = chart();
    let mut arguments =
        vec!["install", "gleamflow", &chart, "-n", home, "--wait", "--timeout", HELM_PATIENCE, "--take-ownership"];
    arguments.extend(values.iter().chain(&served).flat_map(|value| ["--set", value.as_str()]));
    cluster.helm(&arguments).map(drop)
}

fn chart() -> String {
    root().join(CHART).display().to_string()
}

/// What the operator may do, and what it may not.
fn check_rights(cluster: &Cluster, home: &str, cluster_scoped: bool) -> Result<()> {
    let operator = format!("--as=system:serviceaccount:{home}:gleamflow-operator");
    let cases = [
        ("list", "nodes", "--all-namespaces", cluster_scoped),
        ("create", "tokenreviews", "--all-namespaces", cluster_scoped),
        ("list", "gleamflows", "--all-namespaces", cluster_scoped),
        ("create", "pods", "--all-namespaces", cluster_scoped),
        ("create", "pods", home, true),
        ("update", "gleamflows", home, false),
        ("patch", "gleamflows", home, false),
        ("watch", "secrets", home, false),
        ("update", "secrets", home, false),
        ("delete", "leases.coordination.k8s.io", home, false),
        ("patch", "gleamflows/status", home, true),
        ("create", "daemonsets.apps", home, true),
        ("create", "daemonsets.apps", "default", false),
        ("delete", "nodes", "--all-namespaces", false),
        ("create", "clusterroles", "--all-namespaces", false),
    ];
    for (verb, resource, place, expected) in cases {
        let place = if place.starts_with("--") { place.to_owned() } else { format!("--namespace={place}") };
        // What stands behind a slash would be a name.
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let subresource = format!("--subresource={subresource}");
        let answer = cluster.try_kubectl(&["auth", "can-i", verb, resource, &subresource, &place, &operator], "")?;
        ensure!(answer.success == expected, "may it {verb} {resource} {place}: {}{}", answer.stdout, answer.stderr);
    }
    Ok(())
}

/// The names of all objects of a namespace, and of what charts make outside of namespaces.
fn everything(cluster: &Cluster, namespace: &str) -> Result<BTreeSet<String>> {
    let kinds = cluster.kubectl(&["api-resources", "--verbs=list", "--namespaced", "-o", "name"])?;
    let kinds: Vec<&str> = kinds.lines().filter(|kind| !kind.starts_with("events")).collect();
    let inside = cluster.kubectl(&["get", &kinds.join(","), "-n", namespace, "-o", "name", "--ignore-not-found"])?;
    let outside = "clusterroles,clusterrolebindings,customresourcedefinitions,persistentvolumes";
    let outside = cluster.kubectl(&["get", outside, "-o", "name"])?;
    Ok(inside.lines().chain(outside.lines()).map(str::to_owned).collect())
}
