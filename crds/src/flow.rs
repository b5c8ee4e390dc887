//! The `GleamFlow` object.

#![allow(clippy::duplicated_attributes, reason = "printer columns share types and priorities")]

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cluster::{Cache, Executors, OnSpecChange, Retention, Retry, Scheduling, Storage};
use crate::status::GleamFlowStatus;
use crate::step::Step;

/// A data flow: named steps from sources to sinks.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "gleamflow.io",
    version = "v1alpha1",
    kind = "GleamFlow",
    plural = "gleamflows",
    shortname = "gf",
    category = "gleamflow",
    namespaced,
    status = "GleamFlowStatus",
    derive = "PartialEq",
    selectable = ".status.phase",
    doc = "A data flow: named steps from sources to sinks, with functions in Lua and shell pipes between.",
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Progress", type_ = "string", json_path = ".status.progress"),
    printcolumn(name = "Executors", type_ = "string", json_path = ".status.executors.summary"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.reason"),
    printcolumn(name = "Started", type_ = "date", json_path = ".status.currentRun.startTime"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Run", type_ = "string", json_path = ".status.currentRun.id", priority = 1),
    printcolumn(name = "Attempt", type_ = "integer", json_path = ".status.currentRun.attempt", priority = 1),
    printcolumn(name = "Finished", type_ = "date", json_path = ".status.currentRun.completionTime", priority = 1),
    printcolumn(name = "Shuffled", type_ = "integer", json_path = ".status.bytesShuffled", priority = 1),
    printcolumn(name = "Queue", type_ = "string", json_path = ".spec.scheduling.queueName", priority = 1)
)]
#[serde(rename_all = "camelCase")]
#[schemars(
    extend("x-gleamflow-at-most-one" = ["lua", "luaFrom"]),
    extend("x-kubernetes-validations" = [{
        "rule": "has(self.managedBy) == has(oldSelf.managedBy) && (!has(self.managedBy) || self.managedBy == oldSelf.managedBy)",
        "message": "managedBy cannot be changed"
    }])
)]
pub struct GleamFlowSpec {
    /// What the flow does, step by step.
    #[schemars(length(min = 1, max = 256), extend("x-kubernetes-list-type" = "atomic"))]
    pub steps: Vec<Step>,
    /// Values that the steps use as `$(params.name)`; `gleamflow run --param name=value` sets them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), extend("x-kubernetes-list-type" = "atomic"))]
    pub params: Vec<Param>,
    /// Lua that stands before the functions of all steps: helper functions, constants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lua: Option<String>,
    /// The same, from a ConfigMap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lua_from: Option<LuaFrom>,

    /// Where data is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<Storage>,
    /// The pods that run the flow.
    #[serde(default)]
    pub executors: Executors,
    /// How often a task is tried again.
    #[serde(default)]
    pub retry: Retry,
    /// The longest that a task may run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub task_deadline_seconds: Option<u32>,
    /// The longest that a run may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub active_deadline_seconds: Option<u32>,
    /// The longest wait for executors; default 600.
    #[serde(default = "ten_minutes")]
    #[schemars(range(min = 1))]
    pub startup_deadline_seconds: u32,
    /// The longest wait for shuffle space; default 600.
    #[serde(default = "ten_minutes")]
    #[schemars(range(min = 1))]
    pub stall_deadline_seconds: u32,
    /// Stops the flow: all its pods go, and come back when it is false again.
    #[serde(default)]
    pub suspend: bool,
    /// What happens when the flow changes while it runs.
    #[serde(default)]
    pub on_spec_change: OnSpecChange,
    /// A new value runs an unchanged flow once more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rerun_nonce: Option<String>,
    /// Reuse of persisted results by later runs. They are kept on `storage.volume`, which all nodes must share.
    #[serde(default)]
    pub cache: Cache,
    /// How long what a run leaves is kept.
    #[serde(default)]
    pub retention: Retention,
    /// Another controller that looks after the flow. Not built yet: a flow that sets it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed_by: Option<String>,
    /// Queueing. Not built yet: a flow that sets it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduling: Option<Scheduling>,
}

/// A value that the steps use as `$(params.name)`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Param {
    /// Its name: letters, digits and `_`.
    #[schemars(length(max = 63), extend("x-gleamflow-text" = "identifier"))]
    pub name: String,
    /// Its value; without one, `--param` must give it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// Where a prelude is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LuaFrom {
    /// A key of a ConfigMap in the flow's namespace.
    pub config_map_key_ref: ConfigMapKeyRef,
}

/// A key of a ConfigMap.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigMapKeyRef {
    #[schemars(length(min = 1))]
    pub name: String,
    #[schemars(length(min = 1))]
    pub key: String,
}

fn ten_minutes() -> u32 {
    600
}
