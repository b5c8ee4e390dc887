//! What a newcomer gets wrong on a cluster: each is said where they look, in the cluster's own words.

use anyhow::{Result, ensure};
use e2e::Cluster;
use serde_json::{Value, json};

use crate::ClusterTest;
use crate::product::{self, PATIENCE, User, await_complete, await_condition, condition, text, until};

pub(crate) fn all() -> Vec<(&'static str, ClusterTest)> {
    vec![
        ("flows::quotas_limits_and_what_is_not_there_are_said", mistakes),
        ("flows::without_an_operator_why_says_so", no_operator),
    ]
}

fn quick() -> Value {
    json!([{"name": "numbers", "read": {"range": {"to": 4}}}, {"name": "show", "write": {"stdout": {}}}])
}

/// One namespace per mistake: quotas hold for all of it.
fn mistakes(cluster: &Cluster) -> Result<()> {
    product::install(cluster)?;
    let quota =
        json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}});
    said(cluster, "quota", Some(quota), json!({}), "QuotaExceeded", "exceeded quota: none")?;
    let limit = json!({"type": "Container", "max": {"cpu": "10m"}});
    let limits = json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "tiny"}, "spec": {"limits": [limit]}});
    said(cluster, "limits", Some(limits), json!({}), "AdmissionDenied", "10m")?;
    let volume = json!({"volume": {"persistentVolumeClaim": {"claimName": "nowhere"}}});
    said(cluster, "claim", None, json!({"storage": volume}), "Unschedulable", "persistentvolumeclaim \"nowhere\" not found")?;
    let stores = json!({"objectStores": [{"prefix": "s3://bucket/", "secretRef": {"name": "keys"}}]});
    said(cluster, "secret", None, json!({"storage": stores}), "VolumeNotReady", "secret \"keys\" not found")?;
    let map = json!({"volume": {"configMap": {"name": "words"}}});
    said(cluster, "map", None, json!({"storage": map}), "VolumeNotReady", "configmap \"words\" not found")
}

fn said(cluster: &Cluster, name: &str, first: Option<Value>, spec: Value, reason: &str, words: &str) -> Result<()> {
    let namespace = cluster.namespace(&format!("mistake-{name}"))?;
    let user = User::new(cluster, namespace.name())?;
    if let Some(first) = first {
        cluster.apply(namespace.name(), &first)?;
    }
    cluster.apply(namespace.name(), &product::flow(name, quick(), spec))?;
    let status = await_condition(cluster, namespace.name(), name, "ExecutorsReady", "False", reason)?;
    let message = text(&condition(&status, "ExecutorsReady")["message"]);
    ensure!(message.contains(words), "{name}: {reason} says {message:?}");
    ensure!(status["reason"] == reason && text(&status["message"]).contains(words), "{name}: {status:#}");
    let why = user.gleamflow(cluster, &["why", name])?;
    ensure!(why.contains(reason) && why.contains(words), "why {name}: {why}");
    let list = user.gleamflow(cluster, &["list"])?;
    ensure!(list.contains(reason), "list: {list}");
    Ok(())
}

fn no_operator(cluster: &Cluster) -> Result<()> {
    product::install(cluster)?;
    let namespace = cluster.namespace("mistake-operator")?;
    let user = User::new(cluster, namespace.name())?;
    let scale = |replicas: u32| {
        cluster.kubectl(&["scale", "deployment/gleamflow-operator", "-n", product::HOME, &format!("--replicas={replicas}")])
    };
    scale(0)?;
    until(PATIENCE, "no operator", || {
        let pods = cluster.get(product::HOME, &["pods", "-l", "gleamflow.io/role=operator"])?;
        Ok(product::items(&pods).next().is_none().then_some(()))
    })?;
    cluster.apply(namespace.name(), &product::flow("alone", quick(), json!({})))?;
    let why = user.gleamflow(cluster, &["why", "alone"])?;
    scale(2)?;
    ensure!(why.contains("no operator has seen this version") && why.contains("no operator runs in this cluster"), "why: {why}");
    await_complete(cluster, namespace.name(), "alone")?;
    product::await_operators(cluster)
}
