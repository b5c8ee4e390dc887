//! The pod of an executor: the user's template under the fields that the operator owns.

mod template;

use std::collections::BTreeMap;

use crds::cluster::{Executors, ObjectStore, Resources};
use crds::{GleamFlowSpec, Quantity};
use serde_json::{Value, json};

use super::{container_security, from_field, owned, pod_security};
use crate::config::Image;
use crate::naming;
use crate::server::Kind;
use crate::view::{FlowView, Room};

/// The container that is ours.
pub const CONTAINER: &str = "executor";
/// The variable that tells an executor where the operator is.
pub const OPERATOR: &str = "GLEAMFLOW_OPERATOR";
/// How long an executor that is taken down may finish what it does.
const GRACE_SECONDS: u64 = 30;
/// The executor's own needs beside its slots.
const BASE_MEMORY: u64 = 64 << 20;
/// A slot's memory where the flow says nothing, and what is asked for it.
const SLOT_MEMORY: u64 = 512 << 20;
const SLOT_REQUEST: u64 = 192 << 20;
const SLOT_CPU: u64 = 100;

/// What all executors of a run share.
#[derive(Clone, Debug)]
pub struct Shape<'a> {
    pub flow: &'a FlowView,
    /// The run's spec: its image, storage and template.
    pub spec: &'a GleamFlowSpec,
    pub run: &'a str,
    pub base: &'a str,
    pub image: &'a Image,
    /// Where the operator is, `host:port`.
    pub operator: &'a str,
}

/// Memory of one slot's process in bytes: its share of the limit.
#[must_use]
pub fn slot_memory(executors: &Executors) -> u64 {
    let slots = u64::from(executors.slots.max(1));
    let limit =
        executors.resources.as_ref().and_then(|given| given.limits.get("memory").or_else(|| given.requests.get("memory")));
    match limit.and_then(|limit| limit.bytes().ok()) {
        Some(limit) => (limit.saturating_sub(BASE_MEMORY) / slots).max(limit / (2 * slots)),
        None => SLOT_MEMORY,
    }
}

/// The part of it that the engine plans with; the rest is the allocator's, the interpreter's and the code's.
#[must_use]
pub fn budget(slot_memory: u64) -> u64 {
    slot_memory / 4 * 3
}

/// Requests and limits of an executor.
#[must_use]
pub fn resources(executors: &Executors) -> Resources {
    if let Some(given) = &executors.resources {
        return given.clone();
    }
    let slots = u64::from(executors.slots.max(1));
    let map = |pairs: &[(&str, String)]| -> BTreeMap<String, Quantity> {
        pairs.iter().map(|(name, amount)| ((*name).to_owned(), Quantity::Text(amount.clone()))).collect()
    };
    let mebibytes = |bytes: u64| format!("{}Mi", bytes >> 20);
    let requests = [("cpu", format!("{}m", SLOT_CPU * slots)), ("memory", mebibytes(BASE_MEMORY + SLOT_REQUEST * slots))];
    Resources { requests: map(&requests), limits: map(&[("memory", mebibytes(BASE_MEMORY + SLOT_MEMORY * slots))]) }
}

/// What an executor asks nodes for.
#[must_use]
pub fn room(executors: &Executors) -> Room {
    let resources = resources(executors);
    // Kubernetes takes limits for requests that are not given.
    let mut asked = resources.limits.clone();
    asked.extend(resources.requests);
    Room::read(&json!(asked))
}

/// The pod.
#[must_use]
pub fn pod(shape: &Shape<'_>, index: u32) -> Value {
    let mut pod = owned(Kind::Pod, shape.flow, &naming::pod(shape.base, index), shape.run, "executor");
    let mut spec = template::merge(shape.spec.executors.template.as_ref(), &mut pod);
    let stores = shape.spec.storage.as_ref().map_or(&[][..], |storage| storage.object_stores.as_slice());
    template::put(&mut spec, "volumes", "name", volumes(shape, stores));
    template::container(&mut spec, CONTAINER, container(shape, stores));
    own(&mut spec, shape);
    pod["spec"] = spec;
    pod
}

/// The fields that are the operator's whatever the template says.
fn own(spec: &mut Value, shape: &Shape<'_>) {
    spec["restartPolicy"] = "Never".into();
    spec["automountServiceAccountToken"] = false.into();
    spec["enableServiceLinks"] = false.into();
    spec["securityContext"] = pod_security();
    spec["terminationGracePeriodSeconds"] = grace(&shape.spec.executors).into();
    if spec.get("topologySpreadConstraints").is_none() {
        spec["topologySpreadConstraints"] = json!([{
            "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": {naming::RUN: shape.run}},
        }]);
    }
    let secrets: Vec<Value> = shape.image.pull_secrets.iter().map(|name| json!({"name": name})).collect();
    if !secrets.is_empty() {
        template::put(spec, "imagePullSecrets", "name", secrets);
    }
}

fn container(shape: &Shape<'_>, stores: &[ObjectStore]) -> Value {
    let executors = &shape.spec.executors;
    let mut mounts = vec![
        json!({"name": "gleamflow-run", "mountPath": "/var/run/gleamflow", "readOnly": true}),
        json!({"name": "gleamflow-scratch", "mountPath": "/scratch"}),
    ];
    if volume(shape.spec).is_some() {
        mounts.push(json!({"name": "gleamflow-data", "mountPath": crate::accept::MOUNT}));
    }
    let secrets = stores.iter().enumerate().filter(|(_, store)| store.secret_ref.is_some());
    mounts.extend(
        secrets
            .map(|(at, _)| json!({"name": format!("gleamflow-store-{at}"), "mountPath": store_directory(at), "readOnly": true})),
    );
    json!({
        "image": executors.image.as_deref().unwrap_or(&shape.image.image),
        "imagePullPolicy": shape.image.pull_policy,
        "args": ["executor"],
        "env": environment(shape, stores),
        "resources": resources(executors),
        "securityContext": container_security(),
        "volumeMounts": mounts,
        "terminationMessagePolicy": "FallbackToLogsOnError",
    })
}

/// How long an executor has to end: the template's word, or ours.
fn grace(executors: &Executors) -> u64 {
    let template = executors.template.as_ref().and_then(|template| template.get("spec"));
    let told = template.and_then(|spec| spec.get("terminationGracePeriodSeconds")).and_then(Value::as_u64);
    told.unwrap_or(GRACE_SECONDS)
}

fn environment(shape: &Shape<'_>, stores: &[ObjectStore]) -> Vec<Value> {
    let executors = &shape.spec.executors;
    let mut all = vec![
        json!({"name": OPERATOR, "value": shape.operator}),
        json!({"name": "GLEAMFLOW_RUN", "value": shape.run}),
        from_field("POD_NAME", "metadata.name"),
        from_field("NODE_NAME", "spec.nodeName"),
        from_field("POD_IP", "status.podIP"),
        json!({"name": "GLEAMFLOW_SLOTS", "value": executors.slots.max(1).to_string()}),
        json!({"name": "GLEAMFLOW_SLOT_MEMORY", "value": slot_memory(executors).to_string()}),
        json!({"name": "GLEAMFLOW_GRACE_SECONDS", "value": grace(executors).to_string()}),
        json!({"name": "TMPDIR", "value": "/scratch"}),
        json!({"name": "HOME", "value": "/scratch"}),
    ];
    if !stores.is_empty() {
        let told: Vec<Value> = stores.iter().enumerate().map(|(at, store)| told(at, store)).collect();
        all.push(json!({"name": "GLEAMFLOW_STORES", "value": Value::Array(told).to_string()}));
    }
    all
}

fn told(at: usize, store: &ObjectStore) -> Value {
    let directory = store.secret_ref.as_ref().map(|_| store_directory(at));
    json!({"prefix": store.prefix, "endpoint": store.endpoint, "region": store.region, "secretDir": directory})
}

fn store_directory(at: usize) -> String {
    format!("/var/run/gleamflow-stores/{at}")
}

fn volume(spec: &GleamFlowSpec) -> Option<&serde_json::Map<String, Value>> {
    spec.storage.as_ref().and_then(|storage| storage.volume.as_ref())
}

fn volumes(shape: &Shape<'_>, stores: &[ObjectStore]) -> Vec<Value> {
    let items: Vec<Value> = super::run::PAPERS.iter().map(|key| json!({"key": key, "path": key})).collect();
    let mut all = vec![
        json!({"name": "gleamflow-run", "secret": {"secretName": naming::secret(shape.base), "defaultMode": 0o440, "items": items}}),
        json!({"name": "gleamflow-scratch", "emptyDir": {}}),
    ];
    if let Some(volume) = volume(shape.spec) {
        let mut volume = volume.clone();
        volume.insert("name".to_owned(), "gleamflow-data".into());
        all.push(Value::Object(volume));
    }
    for (at, store) in stores.iter().enumerate() {
        if let Some(secret) = &store.secret_ref {
            let source = json!({"secretName": secret.name, "defaultMode": 0o440});
            all.push(json!({"name": format!("gleamflow-store-{at}"), "secret": source}));
        }
    }
    all
}
