//! The NetworkPolicy of a run: user code reaches agents, the operator, names, and the object stores that the flow names.

use crds::GleamFlowSpec;
use serde_json::{Value, json};

use super::{AGENT_PORT, OPERATOR_PORT, owned};
use crate::naming;
use crate::server::Kind;
use crate::view::FlowView;

/// The policy.
#[must_use]
pub fn policy(flow: &FlowView, run: &str, base: &str, spec: &GleamFlowSpec, namespace: &str) -> Value {
    let ours = |port: u16| {
        json!({
            "to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}],
            "ports": [{"protocol": "TCP", "port": port}],
        })
    };
    let names = json!({"ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]});
    let mut egress = vec![ours(AGENT_PORT), ours(OPERATOR_PORT), names];
    let ports = store_ports(spec);
    if !ports.is_empty() {
        let ports: Vec<Value> = ports.iter().map(|port| json!({"protocol": "TCP", "port": port})).collect();
        egress.push(json!({"ports": ports}));
    }
    let mut object = owned(Kind::NetworkPolicy, flow, base, run, "run");
    object["spec"] = json!({
        "podSelector": {"matchLabels": {naming::RUN: run, naming::ROLE: "executor"}},
        "policyTypes": ["Ingress", "Egress"], "ingress": [], "egress": egress,
    });
    object
}

/// The ports of the object stores: of their endpoints, else those of the web.
fn store_ports(spec: &GleamFlowSpec) -> Vec<u16> {
    let stores = spec.storage.iter().flat_map(|storage| &storage.object_stores);
    let ports = stores.flat_map(|store| match store.endpoint.as_deref() {
        Some(endpoint) => vec![port(endpoint)],
        // Providers' own addresses; their credentials come over both.
        None => vec![443, 80],
    });
    let mut ports: Vec<u16> = ports.collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

fn port(endpoint: &str) -> u16 {
    let (scheme, rest) = endpoint.split_once("://").unwrap_or(("https", endpoint));
    let host = rest.split('/').next().unwrap_or_default();
    let given = host.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    given.unwrap_or(if scheme == "http" { 80 } else { 443 })
}
