//! A `GleamFlow` as it came from the API server.

use std::fmt;

use crds::GleamFlowSpec;
use crds::status::GleamFlowStatus;
use serde_json::Value;

use super::{marked, text, version};
use crate::naming;

/// Names a flow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowKey {
    pub namespace: String,
    pub name: String,
}

impl fmt::Display for FlowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A flow.
#[derive(Clone, Debug)]
pub struct FlowView {
    pub key: FlowKey,
    pub uid: String,
    /// As text: what a conditional write names.
    pub resource_version: String,
    pub generation: i64,
    pub deleting: bool,
    /// The run that is to be cancelled.
    pub cancel: Option<String>,
    /// What is wrong with it, where it is no spec of this version.
    pub spec: Result<GleamFlowSpec, String>,
    pub status: GleamFlowStatus,
}

/// An object that cannot be understood at all.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BadFlow {
    #[error("the object has no {0}")]
    Lacks(&'static str),
    #[error("the status is not understood")]
    Status(#[source] std::sync::Arc<serde_json::Error>),
}

impl FlowView {
    /// Reads an object.
    ///
    /// # Errors
    /// If it lacks its identity, or a status that we cannot read stands where ours should: acting without it could run twice.
    pub fn read(value: &Value) -> Result<FlowView, BadFlow> {
        let identity = |pointer, what| text(value, pointer).map(str::to_owned).ok_or(BadFlow::Lacks(what));
        let status = match value.get("status") {
            None | Some(Value::Null) => GleamFlowStatus::default(),
            Some(status) => serde_json::from_value(status.clone()).map_err(|error| BadFlow::Status(error.into()))?,
        };
        let spec = value.get("spec").cloned().unwrap_or_default();
        Ok(FlowView {
            key: key(value).ok_or(BadFlow::Lacks("name"))?,
            uid: identity("/metadata/uid", "uid")?,
            resource_version: identity("/metadata/resourceVersion", "resourceVersion")?,
            generation: value.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or(1),
            deleting: text(value, "/metadata/deletionTimestamp").is_some(),
            cancel: marked(value, "annotations", naming::CANCEL).map(str::to_owned),
            spec: serde_json::from_value(spec).map_err(|error| error.to_string()),
            status,
        })
    }
}

/// Whether a flow's last run is over, and its status about its newest generation.
fn is_settled(value: &Value) -> bool {
    let newest =
        value.pointer("/metadata/generation").is_some_and(|newest| value.pointer("/status/observedGeneration") == Some(newest));
    newest && text(value, "/status/currentRun/completionTime").is_some()
}

/// The name of a flow's object.
#[must_use]
pub fn key(value: &Value) -> Option<FlowKey> {
    let namespace = text(value, "/metadata/namespace")?.to_owned();
    Some(FlowKey { namespace, name: text(value, "/metadata/name")?.to_owned() })
}

/// A flow in the cache: its text and what tells versions apart. Ten thousand finished flows are kept as compressed text (a third of
/// it), not as trees (four times as much).
#[derive(Clone, Debug)]
pub struct FlowText {
    pub uid: Box<str>,
    pub version: u64,
    /// Its last run is over, and nothing newer is asked of it.
    pub settled: bool,
    /// Compressed by LZ4, with its length in front.
    text: Box<[u8]>,
}

impl FlowText {
    /// Packs an object, without what no decision needs.
    #[must_use]
    pub fn pack(mut value: Value) -> FlowText {
        if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
            metadata.remove("labels");
            if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
                annotations.retain(|name, _| name == naming::CANCEL);
            }
        }
        let uid = text(&value, "/metadata/uid").unwrap_or_default().into();
        let version = version(&value);
        let settled = is_settled(&value);
        let text = lz4_flex::compress_prepend_size(value.to_string().as_bytes());
        FlowText { uid, version, settled, text: text.into_boxed_slice() }
    }

    /// The object again.
    #[must_use]
    pub fn unpack(&self) -> Value {
        let text = lz4_flex::decompress_size_prepended(&self.text).expect("it was compressed here");
        serde_json::from_slice(&text).expect("it was written from a JSON value")
    }
}
