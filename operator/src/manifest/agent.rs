//! The agents' DaemonSet, owned by the operator's Deployment: it goes when the operator is uninstalled.

use serde_json::{Value, json};

use super::{AGENT_PORT, METRICS_PORT, container_security, from_field, pod_security};
use crate::config::Agent;
use crate::naming;
use crate::server::Kind;

/// Who owns it.
#[derive(Clone, Debug)]
pub struct Owner {
    pub name: String,
    pub uid: String,
}

/// The DaemonSet, for server-side apply.
#[must_use]
pub fn daemon_set(agent: &Agent, namespace: &str, operator: &str, owner: Option<&Owner>) -> Value {
    let labels = json!({naming::MANAGED_BY: naming::MANAGER, naming::ROLE: "agent"});
    let owners: Vec<Value> = owner.iter().map(|owner| owned_by(owner)).collect();
    json!({
        "apiVersion": Kind::DaemonSet.api_version(), "kind": "DaemonSet",
        "metadata": {"name": naming::AGENT, "namespace": namespace, "labels": labels, "ownerReferences": owners},
        "spec": {
            "selector": {"matchLabels": labels},
            // All at once would lose every output that is not fetched yet.
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}},
            "template": {"metadata": {"labels": labels}, "spec": pod_spec(agent, operator)},
        },
    })
}

/// The reference of what goes with the operator's Deployment.
#[must_use]
pub fn owned_by(owner: &Owner) -> Value {
    json!({
        "apiVersion": Kind::Deployment.api_version(), "kind": "Deployment", "name": owner.name, "uid": owner.uid,
        "controller": true, "blockOwnerDeletion": false,
    })
}

fn pod_spec(agent: &Agent, operator: &str) -> Value {
    let mut spec = json!({
        "serviceAccountName": naming::AGENT,
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "securityContext": pod_security(),
        "terminationGracePeriodSeconds": 30,
        "nodeSelector": agent.node_selector,
        "tolerations": agent.tolerations,
        "containers": [container(agent, operator)],
        "volumes": [
            {"name": "token", "projected": {"defaultMode": 0o440, "sources": [
                {"serviceAccountToken": {"audience": "gleamflow", "expirationSeconds": 3600, "path": "token"}},
            ]}},
            {"name": "ca", "configMap": {"name": naming::AUTHORITY_CERTIFICATE}},
            {"name": "spill", "emptyDir": {"sizeLimit": agent.disk}},
        ],
    });
    if !agent.image.pull_secrets.is_empty() {
        let secrets: Vec<Value> = agent.image.pull_secrets.iter().map(|name| json!({"name": name})).collect();
        spec["imagePullSecrets"] = secrets.into();
    }
    if let Some(class) = &agent.priority_class_name {
        spec["priorityClassName"] = class.clone().into();
    }
    spec
}

fn container(agent: &Agent, operator: &str) -> Value {
    json!({
        "name": "agent",
        "image": agent.image.image,
        "imagePullPolicy": agent.image.pull_policy,
        "command": ["/usr/bin/gleamflow-agent"],
        "env": [
            {"name": "GLEAMFLOW_OPERATOR", "value": operator},
            from_field("NODE_NAME", "spec.nodeName"),
            from_field("POD_NAME", "metadata.name"),
            from_field("POD_IP", "status.podIP"),
            {"name": "GLEAMFLOW_AGENT_MEMORY", "value": bytes(&agent.memory).to_string()},
            {"name": "GLEAMFLOW_AGENT_DISK", "value": bytes(&agent.disk).to_string()},
            {"name": "TMPDIR", "value": "/spill"},
            {"name": "MALLOC_ARENA_MAX", "value": "2"},
        ],
        "ports": [
            {"name": "agent", "containerPort": AGENT_PORT, "protocol": "TCP"},
            {"name": "metrics", "containerPort": METRICS_PORT, "protocol": "TCP"},
        ],
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": METRICS_PORT, "scheme": "HTTP"}, "periodSeconds": 5, "timeoutSeconds": 5},
        "livenessProbe": {"httpGet": {"path": "/healthz", "port": METRICS_PORT, "scheme": "HTTP"}, "periodSeconds": 20, "timeoutSeconds": 10,
            "failureThreshold": 6},
        "resources": agent.resources,
        "securityContext": container_security(),
        "volumeMounts": [
            {"name": "token", "mountPath": "/var/run/secrets/gleamflow", "readOnly": true},
            {"name": "ca", "mountPath": "/var/run/gleamflow-ca", "readOnly": true},
            {"name": "spill", "mountPath": "/spill"},
        ],
        "terminationMessagePolicy": "FallbackToLogsOnError",
    })
}

/// The config is checked when it is read.
fn bytes(amount: &crds::Quantity) -> u64 {
    amount.bytes().unwrap_or(0)
}
