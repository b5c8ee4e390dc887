//! The chart: what it refuses, what it makes in each of its modes, and that an API server takes that.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use e2e::{Cluster, gleamflow, helm, root};
use serde_json::{Value, json};

use crate::{ClusterTest, PlainTest, crd};

pub(crate) const CHART: &str = "charts/gleamflow";

pub(crate) fn plain() -> Vec<(&'static str, PlainTest)> {
    vec![
        ("chart::its_definition_is_that_of_the_types", its_definition_is_that_of_the_types),
        ("chart::helm_lint_has_nothing_to_say", helm_lint_has_nothing_to_say),
        ("chart::wrong_values_are_refused", wrong_values_are_refused),
    ]
}

pub(crate) fn all() -> Vec<(&'static str, ClusterTest)> {
    vec![
        ("chart::the_api_server_takes_all_of_it_in_all_modes", the_api_server_takes_all_of_it_in_all_modes),
        ("chart::namespaced_mode_has_roles_alone", namespaced_mode_has_roles_alone),
        ("chart::the_definition_can_be_kept_dropped_and_left_out", the_definition_can_be_kept_dropped_and_left_out),
        ("chart::the_operator_reads_what_the_values_say", the_operator_reads_what_the_values_say),
    ]
}

/// Values that change what the chart makes.
pub(crate) const MODES: [&[&str]; 7] = [
    &[],
    &["rbac.clusterScoped=false"],
    &["rbac.clusterScoped=false", "namespaces={chart-a,chart-b}"],
    &["namespaces={chart-a,chart-b}", "replicas=2", "podDisruptionBudget.enabled=true", "networkPolicy.enabled=false"],
    &["crds.install=false", "serviceAccount.create=false", "rbac.create=false"],
    &["crds.keep=false", "imagePullSecrets={pull}", "priorityClassName=system-cluster-critical", "agent.nodeSelector.disk=fast"],
    &["networkPolicy.metricsFrom[0].namespaceSelector.matchLabels.name=monitoring"],
];

fn its_definition_is_that_of_the_types() -> Result<()> {
    let kept =
        std::fs::read_to_string(root().join(CHART).join("files/crd.yaml")).context("failed to read the chart's definition")?;
    let made = run(Command::new(gleamflow()?).arg("crd"))?;
    ensure!(kept == made, "{CHART}/files/crd.yaml is not what `gleamflow crd` prints: run `just generate`");
    Ok(())
}

fn helm_lint_has_nothing_to_say() -> Result<()> {
    for values in MODES {
        run(&mut with_values("lint", &["--strict"], values)?)?;
    }
    Ok(())
}

/// The chart's objects.
pub(crate) fn rendered(values: &[&str]) -> Result<String> {
    run(&mut with_values("template", &["gleamflow", "--namespace", "home"], values)?)
}

fn wrong_values_are_refused() -> Result<()> {
    let wrong = [
        ("rbac.clusterscoped=true", "clusterscoped"),
        ("agent.memory=lots", "memory"),
        ("replicas=-1", "replicas"),
        ("namespaces={Big}", "namespaces"),
        ("image.pullPolicy=Sometimes", "pullPolicy"),
        ("networkPolicy.metricsFrom[0].from=monitoring", "metricsFrom"),
        ("podDisruptionBudget.enabled=true", "needs replicas of 2 or more"),
    ];
    for (value, expected) in wrong {
        let output = with_values("template", &["gleamflow"], &[value])?.output().context("failed to start helm")?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(!output.status.success(), "{value} is accepted");
        ensure!(said.contains(expected), "{value}: expected {expected:?}, got {said}");
    }
    Ok(())
}

fn the_api_server_takes_all_of_it_in_all_modes(cluster: &Cluster) -> Result<()> {
    crd::install(cluster)?;
    for namespace in ["chart-a", "chart-b"] {
        cluster.kubectl(&["create", "namespace", namespace])?;
        cluster.kubectl(&[
            "label",
            "namespace",
            namespace,
            "pod-security.kubernetes.io/enforce=restricted",
            "pod-security.kubernetes.io/warn=restricted",
        ])?;
    }
    for values in MODES {
        let arguments = ["gleamflow", "--namespace", "chart-a"];
        let text = run(&mut with_values("template", &arguments, values)?)?;
        let output = cluster.try_kubectl(&["apply", "--dry-run=server", "-f", "-"], &text)?;
        ensure!(output.success, "{values:?}: {}", output.stderr);
        ensure!(!output.stderr.contains("Warning"), "{values:?}: {}", output.stderr);
    }
    Ok(())
}

fn namespaced_mode_has_roles_alone(cluster: &Cluster) -> Result<()> {
    let objects = objects(cluster, &["rbac.clusterScoped=false", "namespaces={chart-a,chart-b}", "crds.install=false"])?;
    let cluster_wide: Vec<String> =
        objects.iter().filter(|object| !object["metadata"]["namespace"].is_string()).map(name).collect();
    ensure!(cluster_wide.is_empty(), "not in a namespace: {cluster_wide:?}");
    let roles = objects.iter().filter(|object| object["kind"] == "Role").map(|role| role["metadata"]["namespace"].as_str());
    let roles: BTreeSet<&str> = roles.flatten().collect();
    ensure!(roles == BTreeSet::from(["chart-a", "chart-b", "home"]), "roles are in {roles:?}");
    // The mode for the whole cluster, for comparison: nodes, reviews, and one role of all flows.
    let objects = self::objects(cluster, &[])?;
    let roles: Vec<String> = objects.iter().filter(|object| object["kind"] == "ClusterRole").map(name).collect();
    ensure!(roles.len() == 4, "cluster roles: {roles:?}");
    Ok(())
}

fn the_definition_can_be_kept_dropped_and_left_out(cluster: &Cluster) -> Result<()> {
    let made: Value = serde_json::from_str(&cluster_json(cluster, &run(Command::new(gleamflow()?).arg("crd"))?)?)?;
    let keep = Value::String("keep".to_owned());
    for (values, expected) in
        [(vec![], Some(Some(&keep))), (vec!["crds.keep=false"], Some(None)), (vec!["crds.install=false"], None)]
    {
        let objects = objects(cluster, &values)?;
        let definition = objects.iter().find(|object| object["kind"] == "CustomResourceDefinition");
        let policy = definition.map(|definition| definition.pointer("/metadata/annotations/helm.sh~1resource-policy"));
        ensure!(policy == expected, "{values:?}: {policy:?}");
        if let Some(definition) = definition {
            ensure!(definition["spec"] == made["spec"], "{values:?}: the chart changes the definition");
        }
    }
    Ok(())
}

fn the_operator_reads_what_the_values_say(cluster: &Cluster) -> Result<()> {
    let values = ["namespaces={a,b}", "executorImage.tag=1.2.3", "agent.disk=1Gi", "imagePullSecrets={pull}"];
    let objects = objects(cluster, &values)?;
    let config = objects.iter().find(|object| object["kind"] == "ConfigMap").context("there is no ConfigMap")?;
    let text = config["data"]["config.yaml"].as_str().context("it has no config.yaml")?;
    let expected = r#"clusterScoped: true
namespaces: ["a","b"]
certificates: {"authorityLifeSeconds":315360000,"lifeSeconds":86400}
executor:
  image: "gleamflow/executor:1.2.3"
  imagePullPolicy: IfNotPresent
  imagePullSecrets: ["pull"]
agent:
  image: "gleamflow/executor:1.2.3"
  memory: "256Mi"
  disk: "1Gi"
  resources: {"limits":{"memory":"512Mi"},"requests":{"cpu":"50m","memory":"320Mi"}}
  nodeSelector: {}
  tolerations: []"#;
    ensure!(text.trim_end() == expected, "config.yaml:\n{text}");
    let deployment = objects.iter().find(|object| object["kind"] == "Deployment").context("there is no Deployment")?;
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    let names: Vec<&Value> = container["env"].as_array().into_iter().flatten().map(|variable| &variable["name"]).collect();
    ensure!(
        names == ["MALLOC_ARENA_MAX", "POD_NAME", "POD_NAMESPACE", "POD_IP"].map(|name| json!(name)).iter().collect::<Vec<_>>(),
        "env: {names:?}"
    );
    Ok(())
}

/// What the chart makes in the namespace `home`.
fn objects(cluster: &Cluster, values: &[&str]) -> Result<Vec<Value>> {
    let list = cluster_json(cluster, &rendered(values)?)?;
    // kubectl writes one object after the other.
    serde_json::Deserializer::from_str(&list)
        .into_iter::<Value>()
        .collect::<Result<_, _>>()
        .context("kubectl's answer is not JSON")
}

/// YAML as JSON, by kubectl.
fn cluster_json(cluster: &Cluster, yaml: &str) -> Result<String> {
    let output = cluster.try_kubectl(&["create", "--dry-run=client", "--validate=false", "-o", "json", "-f", "-"], yaml)?;
    ensure!(output.success, "{}", output.stderr);
    Ok(output.stdout)
}

fn name(object: &Value) -> String {
    format!("{}/{}", object["kind"].as_str().unwrap_or_default(), object["metadata"]["name"].as_str().unwrap_or_default())
}

/// `helm COMMAND ARGUMENTS CHART --set VALUE...`
fn with_values(command: &str, arguments: &[&str], values: &[&str]) -> Result<Command> {
    let mut command_line = Command::new(helm()?);
    command_line.arg(command).args(arguments).arg(root().join(CHART)).args(["--kube-version", "1.34.0"]);
    for value in values {
        command_line.args(["--set", value]);
    }
    Ok(command_line)
}

fn run(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("failed to start {command:?}"))?;
    let (said, wrote) = (String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
    ensure!(output.status.success(), "{command:?} failed: {said}{wrote}");
    Ok(wrote.into_owned())
}
