//! What is kept of the cluster's objects: the few fields that decisions need. A cached pod is some hundred bytes, not ten kilobytes.

pub mod flow;
pub mod node;
pub mod pod;
mod room;

pub use flow::{FlowKey, FlowView};
pub use node::NodeView;
pub use pod::{PodPhase, PodView, Trouble};
pub use room::Room;

use serde_json::Value;

/// A text at a JSON pointer.
pub(crate) fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer).and_then(Value::as_str)
}

/// A list at a JSON pointer; empty where there is none.
pub(crate) fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A field of the metadata's labels or annotations, whose names hold slashes.
pub(crate) fn marked<'a>(value: &'a Value, what: &str, name: &str) -> Option<&'a str> {
    value.get("metadata")?.get(what)?.get(name)?.as_str()
}

/// A resource version as a number; 0 where it is opaque, which every comparison lets through.
pub(crate) fn version(value: &Value) -> u64 {
    text(value, "/metadata/resourceVersion").and_then(|version| version.parse().ok()).unwrap_or(0)
}

/// Seconds since 1970 of a time in RFC 3339.
pub(crate) fn seconds(time: &str) -> Option<i64> {
    time.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second)
}

/// The UID of the controller that owns an object.
pub(crate) fn controller(value: &Value) -> &str {
    let owners = list(value, "/metadata/ownerReferences").iter();
    let controls = |owner: &&Value| owner.get("controller").and_then(Value::as_bool) == Some(true);
    owners.filter(controls).find_map(|owner| text(owner, "/uid")).unwrap_or_default()
}
