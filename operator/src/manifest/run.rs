//! What a run needs beside pods: its Secret, the record's ConfigMaps, the output's Secret.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use crds::GleamFlowSpec;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::owned;
use crate::authority::RunPapers;
use crate::naming;
use crate::record::unzipped;
use crate::server::Kind;
use crate::view::FlowView;

/// The key of a run's Secret that holds what the run is; executors do not mount it.
const WHAT: &str = "run";
const TOKEN: &str = "token";
const AUTHORITY: &str = "ca.crt";
const CERTIFICATE: &str = "tls.crt";
const CERTIFICATE_KEY: &str = "tls.key";
/// What executors mount of it.
pub const PAPERS: [&str; 4] = [TOKEN, AUTHORITY, CERTIFICATE, CERTIFICATE_KEY];

/// What a run is, fixed when it begins: the flow may change while it goes on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunFile {
    /// With `luaFrom` resolved.
    pub spec: GleamFlowSpec,
    pub seed: u64,
    /// Memory of one slot, in bytes.
    pub slot_memory: u64,
}

/// A run's file that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BadRunFile {
    #[error("the run's Secret has no key {0:?}")]
    Lacks(&'static str),
    #[error("the key {key:?} of the run's Secret is damaged: {message}")]
    Damaged { key: &'static str, message: String },
}

/// The run's Secret.
#[must_use]
pub fn secret(flow: &FlowView, run: &str, base: &str, file: &RunFile, papers: &RunPapers) -> Value {
    let json = serde_json::to_vec(file).expect("a spec from JSON is JSON");
    let packed = zstd::bulk::compress(&json, 3).expect("compressing to memory cannot fail");
    let mut object = owned(Kind::Secret, flow, &naming::secret(base), run, "run");
    object["type"] = "Opaque".into();
    object["metadata"]["annotations"] = json!({naming::RENEW: papers.renew.to_string()});
    object["data"] = data(papers);
    object["data"][WHAT] = BASE64.encode(packed).into();
    object
}

/// What a run's Secret gets when its papers are renewed; the rest stays. `uid`: of the Secret, which must still be there.
#[must_use]
pub fn new_papers(namespace: &str, base: &str, uid: &str, papers: &RunPapers) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {
            "name": naming::secret(base), "namespace": namespace, "uid": uid, "annotations": {naming::RENEW: papers.renew.to_string()},
        },
        "data": data(papers),
    })
}

fn data(papers: &RunPapers) -> Value {
    json!({
        TOKEN: BASE64.encode(&papers.token), AUTHORITY: BASE64.encode(&papers.authority),
        CERTIFICATE: BASE64.encode(&papers.certificate), CERTIFICATE_KEY: BASE64.encode(&papers.key),
    })
}

/// Whether those who go by a run's Secret know anybody of an authority, by its certificates (PEM, one after the other).
#[must_use]
pub fn knows(secret: &Value, authority: &str) -> bool {
    let known = secret.get("data").and_then(|data| data.get(AUTHORITY)).and_then(Value::as_str);
    let known = known.and_then(|known| BASE64.decode(known).ok()).and_then(|known| String::from_utf8(known).ok());
    let certificates = |bundle: &str| -> Vec<String> {
        bundle
            .split_inclusive("-----END CERTIFICATE-----")
            .map(|one| one.trim().to_owned())
            .filter(|one| !one.is_empty())
            .collect()
    };
    known.is_some_and(|known| {
        let known = certificates(&known);
        certificates(authority).iter().any(|one| known.contains(one))
    })
}

/// When a run's Secret needs new papers, in seconds since 1970; at once where it does not say.
#[must_use]
pub fn renewal(secret: &Value) -> i64 {
    let annotations = secret.pointer("/metadata/annotations");
    let at = annotations.and_then(|annotations| annotations.get(naming::RENEW)).and_then(Value::as_str);
    at.and_then(|at| at.parse().ok()).unwrap_or(0)
}

/// Reads what a run is from its Secret.
///
/// # Errors
/// If it is not there or damaged.
pub fn read_secret(secret: &Value) -> Result<RunFile, BadRunFile> {
    let damaged = |message: String| BadRunFile::Damaged { key: WHAT, message };
    let packed = secret.get("data").and_then(|data| data.get(WHAT)).and_then(Value::as_str).ok_or(BadRunFile::Lacks(WHAT))?;
    let packed = BASE64.decode(packed).map_err(|error| damaged(error.to_string()))?;
    let json = unzipped(&packed).map_err(|error| damaged(error.to_string()))?;
    serde_json::from_slice(&json).map_err(|error| damaged(error.to_string()))
}

/// A ConfigMap of the record: `at` is its place, `writer` who wrote it.
#[must_use]
pub fn record(flow: &FlowView, run: &str, name: &str, annotations: Value, bytes: &[u8]) -> Value {
    let mut object = owned(Kind::ConfigMap, flow, name, run, "record");
    object["metadata"]["labels"][naming::RECORD] = "true".into();
    object["metadata"]["annotations"] = annotations;
    object["immutable"] = true.into();
    object["binaryData"] = json!({"entry": BASE64.encode(bytes)});
    object
}

/// The bytes in a ConfigMap of the record.
#[must_use]
pub fn record_bytes(object: &Value) -> Option<Vec<u8>> {
    BASE64.decode(object.get("binaryData")?.get("entry")?.as_str()?).ok()
}

/// The Secret with rows of `write.stdout`, a key per step.
#[must_use]
pub fn output(flow: &FlowView, run: &str, base: &str, rows: &BTreeMap<String, Vec<u8>>) -> Value {
    let mut object = owned(Kind::Secret, flow, &naming::output(base), run, "output");
    object["type"] = "Opaque".into();
    let data: Map<String, Value> = rows.iter().map(|(step, rows)| (step.clone(), BASE64.encode(rows).into())).collect();
    object["data"] = Value::Object(data);
    object
}
