//! Where a flow's paths are on a cluster: relative ones need a volume, and what is written must be seen from every node.

use crds::GleamFlowSpec;
use plan::{Do, Graph, Op, Paths, Sink, Source};

use super::Refusal;

/// Where the volume is mounted in executors.
pub(crate) const MOUNT: &str = "/data";

/// Volumes of which every node has its own, or that nobody can write.
const UNSHARED: [&str; 8] = ["emptyDir", "hostPath", "configMap", "secret", "downwardAPI", "projected", "ephemeral", "image"];

/// The first thing that is wrong with where the flow reads and writes.
pub(super) fn refusal(spec: &GleamFlowSpec, graph: &Graph) -> Option<Refusal> {
    let volume = spec.storage.as_ref().and_then(|storage| storage.volume.as_ref());
    let kind = volume.and_then(|volume| volume.keys().find(|key| *key != "name")).map(String::as_str);
    if volume.is_some() && kind.is_none() {
        let message = "storage.volume names no volume source such as persistentVolumeClaim or configMap".to_owned();
        return Some(Refusal { reason: "Invalid", message });
    }
    graph.nodes.values().find_map(|node| match &node.op {
        Op::Read(Source::Files { paths: Paths::Listed(paths), .. }) => {
            paths.iter().find_map(|path| reads(&node.step, path, kind))
        }
        Op::ParallelDo(Do::Write(Sink::Files { path, .. })) => writes(&node.step, path, kind),
        _ => None,
    })
}

fn reads(step: &str, path: &str, volume: Option<&str>) -> Option<Refusal> {
    (volume.is_none() && place(path) == Place::Volume).then(|| no_storage(step, "reads", path))
}

fn writes(step: &str, path: &str, volume: Option<&str>) -> Option<Refusal> {
    match (place(path), volume) {
        (Place::Store, _) => None,
        (Place::Elsewhere, _) => {
            let message = format!(
                "step {step:?} writes to {path:?}, which is inside an executor's pod and goes with it; write below {MOUNT} or to an object store"
            );
            Some(Refusal { reason: "NoStorage", message })
        }
        (Place::Volume, None) => Some(no_storage(step, "writes to", path)),
        (Place::Volume, Some(kind)) if UNSHARED.contains(&kind) => {
            let message = format!(
                "step {step:?} writes to {path:?}, but storage.volume is a {kind}, which other nodes cannot share or nobody can write; use a persistentVolumeClaim that many nodes can mount, nfs, or an object store"
            );
            Some(Refusal { reason: "NoStorage", message })
        }
        (Place::Volume, Some(_)) => None,
    }
}

fn no_storage(step: &str, does: &str, path: &str) -> Refusal {
    let message = format!("step {step:?} {does} {path:?}, which is on the flow's volume, and there is none: set storage.volume");
    Refusal { reason: "NoStorage", message }
}

#[derive(PartialEq)]
enum Place {
    /// On the flow's volume.
    Volume,
    /// In an object store, or on the web.
    Store,
    /// Some other directory of the pod.
    Elsewhere,
}

fn place(path: &str) -> Place {
    let path = match path.split_once("://") {
        Some(("file", path)) => path,
        Some(_) => return Place::Store,
        None => path,
    };
    let below = path.strip_prefix(MOUNT).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if !path.starts_with('/') || below { Place::Volume } else { Place::Elsewhere }
}
