//! The objects that the operator makes, as JSON. Pure; the same input gives the same object.

pub mod agent;
pub mod pod;
pub mod policy;
pub mod run;

#[cfg(test)]
mod tests;

use serde_json::{Value, json};

use crate::naming;
use crate::server::Kind;
use crate::view::FlowView;

/// Who runs in executors and agents, by uid and gid.
pub const USER: u32 = 65_532;
/// Ports of operator and agents.
pub const OPERATOR_PORT: u16 = 7400;
pub const AGENT_PORT: u16 = 7401;
pub const METRICS_PORT: u16 = 8080;

/// An object's `apiVersion`, `kind` and `metadata`, owned by the flow.
fn owned(kind: Kind, flow: &FlowView, name: &str, run: &str, role: &str) -> Value {
    json!({
        "apiVersion": kind.api_version(), "kind": kind.names().2,
        "metadata": {
            "name": name, "namespace": flow.key.namespace,
            "labels": {
                naming::MANAGED_BY: naming::MANAGER, naming::FLOW: naming::flow_part(&flow.key.name),
                naming::RUN: run, naming::ROLE: role,
            },
            "ownerReferences": [{
                "apiVersion": Kind::GleamFlow.api_version(), "kind": "GleamFlow", "name": flow.key.name, "uid": flow.uid,
                "controller": true, "blockOwnerDeletion": false,
            }],
        },
    })
}

/// What every pod of ours runs under.
fn pod_security() -> Value {
    json!({
        "runAsNonRoot": true, "runAsUser": USER, "runAsGroup": USER, "fsGroup": USER, "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    })
}

fn container_security() -> Value {
    json!({"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}})
}

/// An environment variable from a field of the pod.
fn from_field(name: &str, path: &str) -> Value {
    json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}})
}
