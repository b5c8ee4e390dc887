//! Where a flow writes, so that flows which write to one place at the same time are found.

use crds::GleamFlowSpec;
use plan::{Do, Graph, Op, Sink};

use super::storage::{MOUNT, Place, place};

/// A sink of a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    pub step: String,
    /// As the flow says it.
    pub path: String,
    /// What the path is in: its flow's volume, or `None`, where a URL says it all.
    volume: Option<Volume>,
    /// The names along the path.
    names: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Volume {
    /// As the flow says it.
    source: String,
    /// Whether its name means something else in each namespace.
    namespaced: bool,
}

/// All places that a flow writes to.
pub(super) fn written(spec: &GleamFlowSpec, graph: &Graph) -> Vec<Written> {
    let volume = spec.storage.as_ref().and_then(|storage| storage.volume.as_ref());
    let volume = volume.map(|volume| Volume {
        source: serde_json::json!(volume).to_string(),
        namespaced: volume.contains_key("persistentVolumeClaim"),
    });
    let sinks = graph.nodes.values().filter_map(|node| match &node.op {
        Op::ParallelDo(Do::Write(Sink::Files { path, .. })) => Some((&node.step, path)),
        _ => None,
    });
    sinks
        .map(|(step, path)| {
            let volume = volume.clone().filter(|_| place(path) == Place::Volume);
            Written { step: step.to_string(), path: path.to_string(), names: names(path, volume.is_some()), volume }
        })
        .collect()
}

fn names(path: &str, on_volume: bool) -> Vec<String> {
    let path = if on_volume { path.strip_prefix("file://").unwrap_or(path) } else { path };
    let path = path.strip_prefix(MOUNT).filter(|_| on_volume).unwrap_or(path);
    path.split('/').filter(|name| !matches!(*name, "" | ".")).map(str::to_owned).collect()
}

impl Written {
    /// Whether one of two places is the other, or in it; `same`: their flows are in one namespace.
    #[must_use]
    pub fn meets(&self, other: &Written, same: bool) -> bool {
        let volume = self.volume == other.volume && (same || self.volume.as_ref().is_none_or(|volume| !volume.namespaced));
        volume && self.names.iter().zip(&other.names).all(|(mine, theirs)| mine == theirs)
    }
}
