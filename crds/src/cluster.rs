//! What a flow says about running on a cluster; none of it changes its rows.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Quantity;

/// Where data is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Storage {
    /// A volume source as in a pod (`persistentVolumeClaim`, `configMap`, `emptyDir`, `nfs`, ...), mounted in executors at `/data`;
    /// relative paths of the flow resolve there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_object")]
    pub volume: Option<Map<String, Value>>,
    /// Credentials for object stores, given to executors only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub object_stores: Vec<ObjectStore>,
}

/// An object store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectStore {
    /// The paths it is for, such as `s3://bucket/`.
    #[schemars(length(min = 1))]
    pub prefix: String,
    /// The Secret with the credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretRef>,
    /// The store's address, where it is not the provider's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The store's region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
}

/// A Secret in the flow's namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecretRef {
    #[schemars(length(min = 1))]
    pub name: String,
}

/// The pods that run the flow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "self.minReplicas <= self.maxReplicas", "message": "minReplicas must not be above maxReplicas"
}]))]
pub struct Executors {
    /// Executors that stay while the flow runs; default 0.
    #[serde(default)]
    pub min_replicas: u32,
    /// The most executors at a time; default 10.
    #[serde(default = "ten")]
    #[schemars(range(min = 1))]
    pub max_replicas: u32,
    /// Tasks that one executor runs at a time; default 1.
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    pub slots: u32,
    /// Requests and limits of an executor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// The image; default: the operator's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// A PodTemplateSpec merged under the fields that the operator owns. Service account, host namespaces, hostPath and security
    /// context are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_object")]
    pub template: Option<Map<String, Value>>,
}

impl Default for Executors {
    fn default() -> Self {
        Self { min_replicas: 0, max_replicas: 10, slots: 1, resources: None, image: None, template: None }
    }
}

/// Requests and limits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Resources {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub requests: BTreeMap<String, Quantity>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<String, Quantity>,
}

/// How often a task is tried again. Loss of infrastructure does not count.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Retry {
    /// Retries per task; default 3.
    #[serde(default = "three")]
    pub limit: u32,
    /// The wait before each.
    #[serde(default)]
    pub backoff: Backoff,
}

impl Default for Retry {
    fn default() -> Self {
        Self { limit: 3, backoff: Backoff::default() }
    }
}

/// Growing waits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Backoff {
    /// The first wait; default 1.
    #[serde(default = "one")]
    pub initial_seconds: u32,
    /// From one wait to the next; default 2.
    #[serde(default = "two")]
    #[schemars(range(min = 1))]
    pub factor: u32,
    /// The longest wait; default 60.
    #[serde(default = "sixty")]
    pub max_seconds: u32,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { initial_seconds: 1, factor: 2, max_seconds: 60 }
    }
}

/// What happens when the flow changes while it runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnSpecChange {
    /// The run finishes, then the newest spec runs.
    #[default]
    Queue,
    /// The run is cancelled, then the newest spec runs.
    Replace,
    /// Nothing; the newest spec runs at the next rerun.
    Ignore,
}

/// Reuse of persisted results by later runs. They are kept on `storage.volume`, which all nodes must share.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Cache {
    /// Whether later runs reuse them, and a failed run resumes from what it had; default false.
    #[serde(default)]
    pub enabled: bool,
    /// How long they are kept after their last use; default: until somebody removes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<u32>,
}

/// How long what a run leaves is kept. The flow itself is never deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Retention {
    /// Rows of `write.stdout`; default 86400.
    #[serde(default = "day")]
    pub output_seconds: u32,
    /// Pods of a run that succeeded; default 0.
    #[serde(default)]
    pub pods_seconds: u32,
    /// Pods of a run that failed; default 3600.
    #[serde(default = "hour")]
    pub failed_pods_seconds: u32,
    /// Runs kept in the status; default 5.
    #[serde(default = "five")]
    #[schemars(range(max = 100))]
    pub history_limit: u32,
}

impl Default for Retention {
    fn default() -> Self {
        Self { output_seconds: 86_400, pods_seconds: 0, failed_pods_seconds: 3600, history_limit: 5 }
    }
}

/// Queueing. Not built yet: a flow that sets it is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Scheduling {
    /// The queue that admits the flow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_name: Option<String>,
    /// The priority class of its pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority_class_name: Option<String>,
    /// Who admits all executors at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gang: Option<String>,
}

fn any_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

fn one() -> u32 {
    1
}

fn two() -> u32 {
    2
}

fn three() -> u32 {
    3
}

fn five() -> u32 {
    5
}

fn ten() -> u32 {
    10
}

fn sixty() -> u32 {
    60
}

fn hour() -> u32 {
    3600
}

fn day() -> u32 {
    86_400
}
