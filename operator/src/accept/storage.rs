//! Where a flow's paths are on a cluster: relative ones need a volume, and what is written must be seen from every node.

use crds::GleamFlowSpec;
use plan::{Do, Graph, Op, Paths, Sink, Source};

use super::{Claim, Refusal};

/// Where the volume is mounted in executors.
pub(crate) const MOUNT: &str = "/data";

/// Volumes of which every node has its own, or that nobody can write.
const UNSHARED: [&str; 8] = ["emptyDir", "hostPath", "configMap", "secret", "downwardAPI", "projected", "ephemeral", "image"];

const SHARED: &str = "use a persistentVolumeClaim that many nodes can mount, or nfs";

/// The claim of which it must be known who can share it: that which the flow writes to.
pub(crate) fn claim_name(spec: &GleamFlowSpec) -> Option<&str> {
    let writes = spec.steps.iter().any(|step| step.write.as_ref().is_some_and(|write| write.stdout.is_none()));
    let keeps = spec.cache.enabled && spec.steps.iter().any(|step| step.persist);
    let volume = spec.storage.as_ref()?.volume.as_ref().filter(|_| writes || keeps)?;
    volume.get("persistentVolumeClaim")?.get("claimName")?.as_str()
}

/// The first thing that is wrong with where the flow reads and writes.
pub(super) fn refusal(spec: &GleamFlowSpec, graph: &Graph, claim: &Claim) -> Option<Refusal> {
    let volume = spec.storage.as_ref().and_then(|storage| storage.volume.as_ref());
    let kind = volume.and_then(|volume| volume.keys().find(|key| *key != "name")).map(String::as_str);
    if volume.is_some() && kind.is_none() {
        let message = "storage.volume names no volume source such as persistentVolumeClaim or configMap".to_owned();
        return Some(Refusal { reason: "Invalid", message });
    }
    let volume = Volume { there: kind.is_some(), unfit: kind.and_then(|kind| unfit(spec, kind, claim)) };
    if let Some(refusal) = results(spec, graph, &volume) {
        return Some(refusal);
    }
    graph.nodes.values().find_map(|node| match &node.op {
        Op::Read(Source::Files { paths: Paths::Listed(paths), .. }) => {
            paths.iter().find_map(|path| reads(&node.step, path, &volume))
        }
        Op::ParallelDo(Do::Write(Sink::Files { path, .. })) => writes(&node.step, path, &volume),
        _ => None,
    })
}

/// What the flow has of a volume.
struct Volume {
    there: bool,
    /// Why executors on several nodes cannot write to it together, and what to do.
    unfit: Option<String>,
}

fn unfit(spec: &GleamFlowSpec, kind: &str, claim: &Claim) -> Option<String> {
    if UNSHARED.contains(&kind) {
        return Some(format!("storage.volume is of {kind:?}, which other nodes cannot share or nobody can write; {SHARED}"));
    }
    let Claim::Modes(modes) = claim else { return None };
    let has = |mode: &str| modes.iter().any(|this| this == mode);
    let single = spec.executors.max_replicas.max(spec.executors.min_replicas) <= 1;
    if has("ReadWriteMany") || single && (has("ReadWriteOnce") || has("ReadWriteOncePod")) {
        return None;
    }
    if has("ReadWriteOnce") && on_one_node(spec) {
        return None;
    }
    let name = claim_name(spec).unwrap_or_default();
    let modes = modes.join(", ");
    let writable = has("ReadWriteOnce") || has("ReadWriteOncePod");
    let (what, or) = if writable {
        ("which several nodes cannot write together", ", or let one executor do it all (executors.maxReplicas: 1)")
    } else {
        ("which nobody can write", "")
    };
    Some(format!("the claim {name:?} is {modes}, {what}; use one that is ReadWriteMany{or}"))
}

/// Whether the flow's own template keeps all executors on one node.
fn on_one_node(spec: &GleamFlowSpec) -> bool {
    let template = spec.executors.template.as_ref().map(|template| serde_json::json!(template));
    template.is_some_and(|template| template.pointer("/spec/nodeSelector/kubernetes.io~1hostname").is_some())
}

/// Persisted results outlive the run's pods and nodes only on a volume that all nodes share.
fn results(spec: &GleamFlowSpec, graph: &Graph, volume: &Volume) -> Option<Refusal> {
    let kept = graph.collections.values().find(|collection| spec.cache.enabled && collection.persist)?;
    let why = match volume {
        Volume { there: false, .. } => "there is none: set storage.volume",
        Volume { unfit, .. } => unfit.as_deref()?,
    };
    let message = format!("cache.enabled: the rows of {:?} (persist) are kept on the flow's volume, but {why}", kept.name);
    Some(Refusal { reason: "NoStorage", message })
}

fn reads(step: &str, path: &str, volume: &Volume) -> Option<Refusal> {
    (!volume.there && place(path) == Place::Volume).then(|| no_storage(step, "reads", path))
}

fn writes(step: &str, path: &str, volume: &Volume) -> Option<Refusal> {
    match (place(path), volume) {
        (Place::Store, _) => None,
        (Place::Elsewhere, _) => {
            let message = format!(
                "step {step:?} writes to {path:?}, which is inside an executor's pod and goes with it; write below {MOUNT} or to an object store"
            );
            Some(Refusal { reason: "NoStorage", message })
        }
        (Place::Volume, Volume { there: false, .. }) => Some(no_storage(step, "writes to", path)),
        (Place::Volume, Volume { unfit, .. }) => {
            let why = unfit.as_ref()?;
            let message = format!("step {step:?} writes to {path:?}, but {why}; or write to an object store");
            Some(Refusal { reason: "NoStorage", message })
        }
    }
}

fn no_storage(step: &str, does: &str, path: &str) -> Refusal {
    let message = format!("step {step:?} {does} {path:?}, which is on the flow's volume, and there is none: set storage.volume");
    Refusal { reason: "NoStorage", message }
}

#[derive(PartialEq)]
pub(super) enum Place {
    /// On the flow's volume.
    Volume,
    /// In an object store, or on the web.
    Store,
    /// Some other directory of the pod.
    Elsewhere,
}

pub(super) fn place(path: &str) -> Place {
    let path = match path.split_once("://") {
        Some(("file", path)) => path,
        Some(_) => return Place::Store,
        None => path,
    };
    let below = path.strip_prefix(MOUNT).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if !path.starts_with('/') || below { Place::Volume } else { Place::Elsewhere }
}
