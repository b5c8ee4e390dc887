//! Secrets are used and never shown: neither those of users, nor what the operator gives to executors.

use anyhow::{Result, ensure};
use e2e::Cluster;
use serde_json::{Value, json};

use crate::ClusterTest;
use crate::product::{self, HOME, User, await_complete, await_condition, items, text};
use crate::store::{KEY, Store};

pub(crate) fn all() -> Vec<(&'static str, ClusterTest)> {
    vec![("flows::a_planted_secret_is_used_and_shown_nowhere", a_planted_secret)]
}

/// Found nowhere else.
const ID: &str = "PLANTEDID7Q2Z";
const VALUE: &str = "planted-value-93c1f0ab77";

fn a_planted_secret(cluster: &Cluster) -> Result<()> {
    product::install(cluster)?;
    let namespace = cluster.namespace("flows-secrets")?;
    let (name, user, store) = (namespace.name(), User::new(cluster, namespace.name())?, Store::start(cluster)?);
    let keys = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"},
        "stringData": {"AWS_ACCESS_KEY_ID": ID, "AWS_SECRET_ACCESS_KEY": VALUE}});
    cluster.apply(name, &keys)?;
    let stores = json!([{"prefix": "s3://bucket", "secretRef": {"name": "keys"}, "endpoint": store.endpoint, "region": "here"}]);
    let spec = json!({
        "storage": {"objectStores": stores}, "retry": {"limit": 1, "backoff": {"initialSeconds": 1}},
        "retention": {"podsSeconds": 600, "failedPodsSeconds": 600},
    });
    let reads = |key: &str| {
        json!([
            {"name": "lines", "read": {"text": {"paths": [format!("s3://bucket/{key}")]}}},
            {"name": "ordered", "sort": {"by": [{"field": 1}]}},
            {"name": "show", "write": {"stdout": {}}}
        ])
    };
    cluster.apply(name, &product::flow("used", reads(KEY), spec.clone()))?;
    for missing in ["denied", "missing"] {
        cluster.apply(name, &product::flow(missing, reads(&format!("{missing}.txt")), spec.clone()))?;
    }
    await_complete(cluster, name, "used")?;
    ensure!(store.was_asked_by(ID), "the secret was not used");
    let output = user.gleamflow(cluster, &["output", "used"])?;
    ensure!(output == "one\nthree\ntwo\n", "output: {output:?}");
    let mut told = output;
    for failed in ["denied", "missing"] {
        let status = await_condition(cluster, name, failed, "Failed", "True", "")?;
        ensure!(status.to_string().contains(failed), "the failure says what it is about: {status:#}");
        for command in [["status", failed], ["why", failed], ["logs", failed], ["plan", failed]] {
            let said = user.try_gleamflow(cluster, &command)?;
            told += &(said.stdout + &said.stderr);
        }
    }
    for namespace in [name, HOME] {
        told += &everything(cluster, namespace)?;
    }
    ensure!(told.len() > 20_000, "there is nothing to look through");
    for planted in planted(cluster, name)? {
        let place = told.find(&planted).map(|at| told[at.saturating_sub(300)..at].to_owned());
        ensure!(place.is_none(), "a secret is shown behind: {place:?}");
    }
    Ok(())
}

/// What must not be seen: what was planted, as text and as the API server writes it; and tokens and keys of runs.
fn planted(cluster: &Cluster, namespace: &str) -> Result<Vec<String>> {
    let mut planted = vec![ID.to_owned(), VALUE.to_owned()];
    let secrets = cluster.get(namespace, &["secrets"])?;
    let papers = ["token", "tls.key", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
    for secret in items(&secrets) {
        planted.extend(papers.iter().map(|part| text(&secret["data"][*part])).filter(|encoded| !encoded.is_empty()));
        let template = "jsonpath={.data.token}";
        let name = text(&secret["metadata"]["name"]);
        let token = cluster.kubectl(&["get", "secret", &name, "-n", namespace, "-o", template])?;
        planted.extend(Some(decoded(token.trim())).filter(|token| !token.is_empty()));
    }
    let of_runs = items(&secrets).filter(|secret| !secret["data"]["token"].is_null()).count();
    ensure!(of_runs >= 3, "each run has a Secret: {of_runs}");
    Ok(planted)
}

/// Base64 as text, as far as it is one.
fn decoded(encoded: &str) -> String {
    let value = |letter: u8| match letter {
        b'A'..=b'Z' => Some(letter - b'A'),
        b'a'..=b'z' => Some(letter - b'a' + 26),
        b'0'..=b'9' => Some(letter - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let letters: Vec<u8> = encoded.bytes().filter_map(value).collect();
    let mut bytes = Vec::new();
    for four in letters.chunks(4) {
        let bits = (0..4).fold(0_u32, |bits, at| bits << 6 | u32::from(four.get(at).copied().unwrap_or(0)));
        bytes.extend(&bits.to_be_bytes()[1..four.len().max(1)]);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// All that is kept and said in a namespace, but for its Secrets.
fn everything(cluster: &Cluster, namespace: &str) -> Result<String> {
    let kinds = "gleamflows,pods,events,configmaps,networkpolicies,leases,daemonsets,deployments,services,serviceaccounts";
    let mut all = cluster.kubectl(&["get", kinds, "-n", namespace, "-o", "yaml"])?;
    all += &cluster.kubectl(&["describe", "gleamflows,pods", "-n", namespace])?;
    for map in items(&cluster.get(namespace, &["configmaps"])?) {
        for value in map["binaryData"].as_object().into_iter().flat_map(|data| data.values()) {
            all += &decoded(&text(value));
        }
    }
    let pods: Value = cluster.get(namespace, &["pods"])?;
    for pod in items(&pods) {
        all += &cluster.kubectl(&["logs", &text(&pod["metadata"]["name"]), "-n", namespace, "--all-containers"])?;
    }
    Ok(all)
}
