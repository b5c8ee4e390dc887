//! The cluster fields: valid in a local run, which has no use for them; what is not built yet is refused by name.

use std::collections::BTreeSet;

use crds::GleamFlowSpec;
use crds::cluster::{Executors, ObjectStore};
use crds::label::is_own_secret;
use serde_json::{Map, Value};

use super::FlowProblem;
use super::address::{self, Use};

/// Problems of the fields beside the flow itself.
pub(super) fn check(spec: &GleamFlowSpec) -> Vec<FlowProblem> {
    let mut problems = Vec::new();
    if spec.managed_by.is_some() {
        problems.push(not_built("managedBy"));
    }
    if spec.scheduling.is_some() {
        problems.push(not_built("scheduling"));
    }
    let executors = &spec.executors;
    if executors.min_replicas > executors.max_replicas {
        let message = format!("minReplicas {} is above maxReplicas {}", executors.min_replicas, executors.max_replicas);
        problems.push(FlowProblem::new("executors.minReplicas", message));
    }
    problems.extend(amounts(executors));
    problems.extend(memory(executors));
    problems.extend(executors.template.iter().flat_map(template));
    let Some(storage) = &spec.storage else { return problems };
    problems.extend(storage.volume.iter().flat_map(volume));
    let mut prefixes = BTreeSet::new();
    for (at, store) in storage.object_stores.iter().enumerate() {
        problems.extend(object_store(&format!("storage.objectStores[{at}]"), store));
        if !prefixes.insert(store.prefix.as_str()) {
            let message = format!("{:?} is in the list already", store.prefix);
            problems.push(FlowProblem::new(format!("storage.objectStores[{at}].prefix"), message));
        }
    }
    problems
}

/// What the API server would refuse with each pod.
fn amounts(executors: &Executors) -> Vec<FlowProblem> {
    let Some(given) = &executors.resources else { return Vec::new() };
    let lists = [("requests", &given.requests), ("limits", &given.limits)];
    let all = lists.into_iter().flat_map(|(list, amounts)| amounts.iter().map(move |(name, amount)| (list, name, amount)));
    let wrong = all.filter(|(_, _, amount)| !amount.is_amount());
    wrong
        .map(|(list, name, amount)| {
            let message = format!("{:?} is not an amount of {name:?}", amount.to_string());
            FlowProblem::new(format!("executors.resources.{list}.{name}"), message)
                .help("write one such as 2, 500m or 1Gi".to_owned())
        })
        .collect()
}

/// An executor with less could not start.
fn memory(executors: &Executors) -> Option<FlowProblem> {
    const LEAST_PER_SLOT: u64 = 32 << 20;
    let (given, slots) = (executors.resources.as_ref()?, u64::from(executors.slots.max(1)));
    let lists = [("limits", &given.limits), ("requests", &given.requests)];
    let (list, amount) = lists.into_iter().find_map(|(list, amounts)| Some((list, amounts.get("memory")?)))?;
    let too_small = amount.bytes().is_ok_and(|bytes| bytes < LEAST_PER_SLOT * slots);
    let message = || format!("an executor of {slots} slots cannot start with {amount} of memory");
    let help = || format!("give it {}Mi or more", (LEAST_PER_SLOT * slots) >> 20);
    too_small.then(|| FlowProblem::new(format!("executors.resources.{list}.memory"), message()).help(help()))
}

/// A store: where it is, and whose Secret it may be opened with.
fn object_store(base: &str, store: &ObjectStore) -> Vec<FlowProblem> {
    let mut problems = Vec::new();
    let is_store = ["s3://", "gs://", "az://"].iter().any(|scheme| store.prefix.starts_with(scheme));
    let wrong = match address::problem(&store.prefix, Use::Write) {
        None if !is_store => Some((format!("{:?} is in no object store", store.prefix), Some("write s3://bucket/".to_owned()))),
        wrong => wrong,
    };
    if let Some((message, help)) = wrong {
        let problem = FlowProblem::new(format!("{base}.prefix"), message);
        problems.push(if let Some(help) = help { problem.help(help) } else { problem });
    }
    if let Some(endpoint) = &store.endpoint {
        let is_web = endpoint.starts_with("http://") || endpoint.starts_with("https://");
        if !is_web || !endpoint.bytes().all(|byte| byte.is_ascii_graphic()) || address::problem(endpoint, Use::Read).is_some() {
            let message = format!("{endpoint:?} is not the address of a store");
            let help = "write http://host:port or https://host".to_owned();
            problems.push(FlowProblem::new(format!("{base}.endpoint"), message).help(help));
        }
    }
    if let Some(secret) = store.secret_ref.as_ref().filter(|secret| is_own_secret(&secret.name)) {
        problems.push(own_secret(&format!("{base}.secretRef.name"), &secret.name));
    }
    problems
}

fn own_secret(path: &str, name: &str) -> FlowProblem {
    let message = format!("{name:?} is the name of a Secret of the operator's own, which no flow may see");
    FlowProblem::new(path, message).help("name one of yours".to_owned())
}

/// The Secrets of the operator that a piece of a pod would show to user code: in volumes, in variables, in whatever takes a Secret.
fn own_secrets(base: &str, piece: &Map<String, Value>) -> Vec<FlowProblem> {
    let mut named = Vec::new();
    for (field, value) in piece {
        secrets(value, joined(base, field), field, false, &mut named);
    }
    named.into_iter().filter(|(_, name)| is_own_secret(name)).map(|(path, name)| own_secret(&path, name)).collect()
}

/// Names of Secrets with their places. Kubernetes' fields for them are `secretName`, or `name` in a field whose own name has "secret" in it.
fn secrets<'v>(value: &'v Value, path: String, field: &str, of_secret: bool, found: &mut Vec<(String, &'v str)>) {
    match value {
        Value::String(name) if field == "secretName" || of_secret && field == "name" => found.push((path, name)),
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                secrets(item, format!("{path}[{at}]"), field, of_secret, found);
            }
        }
        Value::Object(fields) => {
            let of_secret = field.to_ascii_lowercase().contains("secret");
            for (name, value) in fields {
                secrets(value, format!("{path}.{name}"), name, of_secret, found);
            }
        }
        _ => {}
    }
}

fn not_built(field: &str) -> FlowProblem {
    FlowProblem::new(field, format!("{field:?} is not built yet")).help("leave it out".to_owned())
}

/// Fields of a pod that the operator owns, or that would weaken it or go past the scheduler.
const OF_THE_POD: [(&str, &str); 9] = [
    ("serviceAccountName", LEAVE_OUT),
    ("serviceAccount", LEAVE_OUT),
    ("hostNetwork", LEAVE_OUT),
    ("hostPID", LEAVE_OUT),
    ("hostIPC", LEAVE_OUT),
    ("hostUsers", LEAVE_OUT),
    ("securityContext", LEAVE_OUT),
    ("nodeName", LEAVE_OUT),
    // Each executor that it ends is replaced, in the middle of its tasks, without end.
    ("activeDeadlineSeconds", "set the flow's own activeDeadlineSeconds"),
];
/// Fields of the container `executor` that have another place, or none.
const OF_THE_EXECUTOR: [(&str, &str); 10] = [
    ("image", "set executors.image"),
    ("resources", "set executors.resources"),
    ("command", LEAVE_OUT),
    ("args", LEAVE_OUT),
    ("imagePullPolicy", LEAVE_OUT),
    ("terminationMessagePolicy", LEAVE_OUT),
    // One that fails kills the executor in the middle of its tasks, and each that comes after it.
    ("livenessProbe", NO_PROBES),
    ("startupProbe", NO_PROBES),
    // Tells others than the operator, which counts those that are ready.
    ("readinessProbe", NO_PROBES),
    // A hook that fails kills it as a probe does.
    ("lifecycle", LEAVE_OUT),
];
/// Variables of the container `executor` that are the operator's.
const VARIABLES: [&str; 5] = ["POD_NAME", "NODE_NAME", "POD_IP", "TMPDIR", "HOME"];
const LEAVE_OUT: &str = "leave it out";
const NO_PROBES: &str = "leave it out: the operator knows by their connections which executors work";

/// What an executor's template cannot set: it is the operator's, or it would open a way past what user code is kept from.
fn template(template: &Map<String, Value>) -> Vec<FlowProblem> {
    const BASE: &str = "executors.template";
    let misfit = |misfit: crds::pods::Misfit| FlowProblem::new(joined(BASE, &misfit.path), misfit.what);
    let mut problems: Vec<FlowProblem> = crds::pods::template(template).into_iter().map(misfit).collect();
    let refuse = |path: &str, help: &str| {
        let field = path.rsplit('.').next().unwrap_or_default();
        let message = format!("an executor's template cannot set {field:?}");
        FlowProblem::new(joined(BASE, path), message).help(help.to_owned())
    };
    problems.extend(template.get("metadata").and_then(Value::as_object).into_iter().flat_map(|given| metadata(BASE, given)));
    problems.extend(own_secrets(BASE, template));
    let Some(pod) = template.get("spec").and_then(Value::as_object) else { return problems };
    let set = OF_THE_POD.iter().filter(|(field, _)| pod.contains_key(*field));
    problems.extend(set.map(|(field, help)| refuse(&format!("spec.{field}"), help)));
    for (field, ours) in [("restartPolicy", Value::from("Never")), ("automountServiceAccountToken", Value::from(false))] {
        if pod.get(field).is_some_and(|given| *given != ours) {
            problems.push(refuse(&format!("spec.{field}"), LEAVE_OUT));
        }
    }
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        for (at, container) in items(pod.get(list)) {
            let refused = of_container(container, list == "containers");
            problems.extend(refused.into_iter().map(|(path, help)| refuse(&format!("spec.{list}[{at}].{path}"), help)));
        }
    }
    for (at, volume) in items(pod.get("volumes")) {
        if volume.get("name").and_then(Value::as_str).is_some_and(|name| name.starts_with("gleamflow-")) {
            let message = "names that begin with \"gleamflow-\" are those of the operator's own volumes";
            problems.push(FlowProblem::new(format!("{BASE}.spec.volumes[{at}].name"), message).help("take another".to_owned()));
        }
        problems.extend(opened(volume).into_iter().map(|path| refuse(&format!("spec.volumes[{at}].{path}"), LEAVE_OUT)));
    }
    problems
}

/// Annotations that nodes take for a security context.
const CONFINING: [&str; 3] = [
    "container.apparmor.security.beta.kubernetes.io/",
    "container.seccomp.security.alpha.kubernetes.io/",
    "seccomp.security.alpha.kubernetes.io/",
];

/// Labels and annotations are the pods', all else is the operator's; so are its own labels, and what confines containers.
fn metadata(base: &str, metadata: &Map<String, Value>) -> Vec<FlowProblem> {
    let refuse = |path: String, what: &str| {
        FlowProblem::new(format!("{base}.metadata.{path}"), format!("an executor's template cannot set {what:?}"))
            .help(LEAVE_OUT.to_owned())
    };
    let other = metadata.keys().filter(|field| !matches!(field.as_str(), "labels" | "annotations"));
    let mut problems: Vec<FlowProblem> = other.map(|field| refuse(field.clone(), field)).collect();
    let labels = metadata.get("labels").and_then(Value::as_object).into_iter().flat_map(Map::keys);
    let ours = labels.filter(|label| label.starts_with("gleamflow.io/") || *label == "app.kubernetes.io/managed-by");
    problems.extend(ours.map(|label| refuse("labels".to_owned(), label)));
    let annotations = metadata.get("annotations").and_then(Value::as_object).into_iter().flat_map(Map::keys);
    let confining = annotations.filter(|one| CONFINING.iter().any(|prefix| one.starts_with(prefix)));
    problems.extend(confining.map(|annotation| refuse("annotations".to_owned(), annotation)));
    problems
}

/// What a container of the template cannot set, and what to do instead.
fn of_container(container: &Value, main: bool) -> Vec<(String, &'static str)> {
    let mut refused = Vec::new();
    if container.get("securityContext").is_some() {
        refused.push(("securityContext".to_owned(), LEAVE_OUT));
    }
    let ports = items(container.get("ports")).filter(|(_, port)| port.get("hostPort").is_some());
    refused.extend(ports.map(|(at, _)| (format!("ports[{at}].hostPort"), LEAVE_OUT)));
    if main && container.get("name").and_then(Value::as_str) == Some("executor") {
        let set = OF_THE_EXECUTOR.iter().filter(|(field, _)| container.get(field).is_some());
        refused.extend(set.map(|(field, help)| ((*field).to_owned(), *help)));
        let ours = |name: &str| name.starts_with("GLEAMFLOW_") || VARIABLES.contains(&name);
        let taken = items(container.get("env")).filter(|(_, one)| one.get("name").and_then(Value::as_str).is_some_and(ours));
        refused.extend(
            taken.map(|(at, one)| {
                (format!("env[{at}].{}", one.get("name").and_then(Value::as_str).unwrap_or_default()), LEAVE_OUT)
            }),
        );
    }
    refused
}

/// The flow's volume: one of Kubernetes', that opens nothing of the node or the cluster to user code.
fn volume(volume: &Map<String, Value>) -> Vec<FlowProblem> {
    const BASE: &str = "storage.volume";
    let misfit = |misfit: crds::pods::Misfit| FlowProblem::new(joined(BASE, &misfit.path), misfit.what);
    let mut problems: Vec<FlowProblem> = crds::pods::volume(volume).into_iter().map(misfit).collect();
    problems.extend(own_secrets(BASE, volume));
    problems.extend(opened(&Value::Object(volume.clone())).into_iter().map(|path| {
        let field = path.rsplit('.').next().unwrap_or_default();
        FlowProblem::new(
            joined(BASE, &path),
            format!("a flow's volume cannot be of {field:?}: user code would see more than its own"),
        )
        .help("use a persistentVolumeClaim or nfs".to_owned())
    }));
    problems
}

/// Where a volume shows user code the node's files, or gives it a word for somebody else (a service account's token, a certificate).
fn opened(volume: &Value) -> Vec<String> {
    let mut found = Vec::new();
    if volume.get("hostPath").is_some() {
        found.push("hostPath".to_owned());
    }
    for (at, source) in items(volume.pointer("/projected/sources")) {
        for field in ["serviceAccountToken", "podCertificate"] {
            if source.get(field).is_some() {
                found.push(format!("projected.sources[{at}].{field}"));
            }
        }
    }
    found
}

fn items(list: Option<&Value>) -> impl Iterator<Item = (usize, &Value)> {
    list.and_then(Value::as_array).into_iter().flatten().enumerate()
}

fn joined(base: &str, path: &str) -> String {
    if path.is_empty() || path == "." { base.to_owned() } else { format!("{base}.{path}") }
}
