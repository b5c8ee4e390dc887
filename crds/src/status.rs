//! What the operator reports about a flow.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// What the operator reports; the API server sets `observedGeneration: -1` before it has seen the flow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GleamFlowStatus {
    /// The newest generation that the operator has seen; -1: none.
    #[serde(default = "none_yet")]
    pub observed_generation: i64,
    /// Where the flow stands, for humans; programs look at the conditions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// Why, in one word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Accepted, Admitted, ExecutorsReady, OutputShared, Suspended, Complete, Failed, Ready, Reconciling, Stalled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Condition>,
    /// The run that is going on, or the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_run: Option<Run>,
    /// The last run that succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_successful_run: Option<Run>,
    /// Earlier runs, the newest first; at most `retention.historyLimit`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub history: Vec<Run>,
    /// The `rerunNonce` of the last run that one started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_rerun_nonce: Option<String>,
    /// Tasks done of all, such as `37/120`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,
    /// The stages of the run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1024))]
    pub stages: Vec<StageStatus>,
    /// The run's executors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executors: Option<ExecutorCounts>,
    /// The newest failures, at most 10.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub failures: Vec<Failure>,
    /// Rows that steps set aside by their `onError`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub set_aside: Vec<SetAside>,
    /// Bytes that went through shuffles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_shuffled: Option<i64>,
    /// What the run wrote.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub outputs: Vec<Output>,
    /// What became of the results of steps with `persist: true`, where `cache` is enabled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub persisted: Vec<Persisted>,
    /// What was decided while the run went on, when sizes were known: joins that are not shuffled, how shuffles were shared by tasks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub decisions: Vec<Decided>,
}

impl Default for GleamFlowStatus {
    fn default() -> Self {
        Self {
            observed_generation: none_yet(),
            phase: None,
            reason: None,
            message: None,
            conditions: Vec::new(),
            current_run: None,
            last_successful_run: None,
            history: Vec::new(),
            last_rerun_nonce: None,
            progress: None,
            stages: Vec::new(),
            executors: None,
            failures: Vec::new(),
            set_aside: Vec::new(),
            bytes_shuffled: None,
            outputs: Vec::new(),
            persisted: Vec::new(),
            decisions: Vec::new(),
        }
    }
}

fn none_yet() -> i64 {
    -1
}

/// Where a flow stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    Pending,
    Queued,
    Starting,
    Running,
    Committing,
    Suspending,
    Suspended,
    Succeeded,
    Failed,
}

/// One run of a flow.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    pub id: String,
    /// The hash of the fields that define the run.
    pub spec_hash: String,
    /// The generation whose spec it runs.
    pub generation: i64,
    #[serde(default)]
    pub attempt: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time")]
    pub start_time: Option<Time>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time")]
    pub completion_time: Option<Time>,
    /// How it ended, in one word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// Whether what it left (output, record) has been removed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub released: bool,
}

/// One stage of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StageStatus {
    /// The stage's id in `gleamflow plan`, such as `m1`.
    pub name: String,
    pub desired: u32,
    pub active: u32,
    pub succeeded: u32,
    pub failed: u32,
    pub retried: u32,
    /// Partitions that are done, such as `0-6,9`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub completed_partitions: String,
}

/// How many executors there are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExecutorCounts {
    pub desired: u32,
    pub ready: u32,
    pub pending: u32,
    /// Ready of desired, such as `3/4`.
    pub summary: String,
}

/// Why a task failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    pub stage: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    pub partition: u32,
    pub attempt: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    pub reason: String,
    pub message: String,
}

/// Rows that one step could not handle and set aside, as its `onError` says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SetAside {
    pub step: String,
    pub rows: i64,
}

/// [`Output::location`] of rows of standard output whose retention is over.
pub const EXPIRED: &str = "Expired";

/// What one sink holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Output {
    /// The `write` step.
    pub step: String,
    /// Where it is: a path, `Secret/name`, `NodeLocal` (on agents), or `Expired` (its retention is over).
    pub location: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<i64>,
    /// The first lines of standard output, unless `preview: false`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<String>,
}

/// One decision about how a step runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Decided {
    pub step: String,
    /// What could be done: `switch-joins`, `share-buckets`.
    pub pass: String,
    /// Whether it is done.
    pub did: bool,
    /// Why.
    pub reason: String,
}

/// What became of one persisted result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Persisted {
    /// The step (`step.output` for a parallelDo).
    pub step: String,
    pub state: PersistState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<i64>,
    /// Why it was made, or could not be kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Where a persisted result stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PersistState {
    /// It was there already: nothing that it is made of was run.
    Reused,
    /// It is to be made, and kept.
    Making,
    /// Later runs will find it.
    Kept,
    NotKept,
}

fn time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": "date-time"})
}

/// As `metav1.Condition`, merged by type.
fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["type", "status", "lastTransitionTime", "reason", "message"],
            "properties": {
                "type": {"type": "string", "maxLength": 316},
                "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
                "observedGeneration": {"type": "integer", "format": "int64", "minimum": 0},
                "lastTransitionTime": {"type": "string", "format": "date-time"},
                "reason": {"type": "string", "minLength": 1, "maxLength": 1024},
                "message": {"type": "string", "maxLength": 32768}
            }
        }
    })
}
