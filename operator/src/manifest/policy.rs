//! The NetworkPolicy of a run: user code reaches agents, the operator, names, and the object stores that the flow names.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crds::GleamFlowSpec;
use serde_json::{Value, json};

use super::{AGENT_PORT, OPERATOR_PORT, owned};
use crate::naming;
use crate::server::Kind;
use crate::view::FlowView;

/// The policy.
#[must_use]
pub fn policy(flow: &FlowView, run: &str, base: &str, spec: &GleamFlowSpec, namespace: &str) -> Value {
    let ours = |role: &str, port: u16| {
        json!({
            "to": [{
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "podSelector": {"matchLabels": {naming::ROLE: role}},
            }],
            "ports": [{"protocol": "TCP", "port": port}],
        })
    };
    let names = json!({"ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]});
    let mut egress = vec![ours("agent", AGENT_PORT), ours("operator", OPERATOR_PORT), names];
    egress.extend(stores(spec).into_iter().map(|(place, ports)| reach(place, &ports)));
    let mut object = owned(Kind::NetworkPolicy, flow, base, run, "run");
    object["spec"] = json!({
        "podSelector": {"matchLabels": {naming::RUN: run, naming::ROLE: "executor"}},
        "policyTypes": ["Ingress", "Egress"], "ingress": [], "egress": egress,
    });
    object
}

/// The rule for stores at an address, or for those that have none that we know.
fn reach(place: Option<IpAddr>, ports: &BTreeSet<u16>) -> Value {
    let ports: Vec<Value> = ports.iter().map(|port| json!({"protocol": "TCP", "port": port})).collect();
    let Some(address) = place else { return json!({"ports": ports}) };
    let bits = if address.is_ipv4() { 32 } else { 128 };
    // It may be a Service's: most clusters look at connections when that is replaced by a pod's already.
    json!({"to": [{"ipBlock": {"cidr": format!("{address}/{bits}")}}, {"namespaceSelector": {}}], "ports": ports})
}

/// The ports of the object stores by their addresses: of their endpoints, else those of the web. A policy cannot tell names.
fn stores(spec: &GleamFlowSpec) -> BTreeMap<Option<IpAddr>, BTreeSet<u16>> {
    let mut found: BTreeMap<Option<IpAddr>, BTreeSet<u16>> = BTreeMap::new();
    for store in spec.storage.iter().flat_map(|storage| &storage.object_stores) {
        match store.endpoint.as_deref().map(place) {
            Some((address, port)) => found.entry(address).or_default().extend([port]),
            // Providers' own addresses; their credentials come over both.
            None => found.entry(None).or_default().extend([443, 80]),
        }
    }
    found
}

/// The address, where it is none to be looked up, and the port of `scheme://host:port/path`.
fn place(endpoint: &str) -> (Option<IpAddr>, u16) {
    let (scheme, rest) = endpoint.split_once("://").unwrap_or(("https", endpoint));
    let authority = rest.split('/').next().unwrap_or_default();
    // The colons within brackets are the address's.
    let given = authority.rsplit_once(':').filter(|(_, port)| !port.contains(']'));
    let (host, port) = given.map_or((authority, None), |(host, port)| (host, port.parse().ok()));
    let address = host.trim_start_matches('[').trim_end_matches(']').parse().ok();
    (address, port.unwrap_or(if scheme == "http" { 80 } else { 443 }))
}
