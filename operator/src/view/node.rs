//! A node: whether executors can go there, and what it has.

use serde_json::Value;

use super::{Room, list, text};

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeView {
    pub name: String,
    pub ready: bool,
    /// Neither cordoned nor tainted against pods that say nothing.
    pub open: bool,
    pub allocatable: Room,
}

impl NodeView {
    /// Reads an object; `None` where it has no name.
    #[must_use]
    pub fn read(value: &Value) -> Option<NodeView> {
        let condition = |condition: &&Value| text(condition, "/type") == Some("Ready");
        let ready = list(value, "/status/conditions").iter().find(condition);
        let cordoned = value.pointer("/spec/unschedulable").and_then(Value::as_bool) == Some(true);
        let repels = |taint: &Value| matches!(text(taint, "/effect"), Some("NoSchedule" | "NoExecute"));
        Some(NodeView {
            name: text(value, "/metadata/name")?.to_owned(),
            ready: ready.and_then(|ready| text(ready, "/status")) == Some("True"),
            open: !cordoned && !list(value, "/spec/taints").iter().any(repels),
            allocatable: value.pointer("/status/allocatable").map(Room::read).unwrap_or_default(),
        })
    }
}
