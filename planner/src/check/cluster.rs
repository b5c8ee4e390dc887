//! The cluster fields: valid in a local run, which has no use for them; what is not built yet is refused by name.

use crds::GleamFlowSpec;
use serde_json::{Map, Value};

use super::FlowProblem;

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
    problems.extend(executors.template.iter().flat_map(template));
    problems.extend(spec.storage.iter().filter_map(|storage| storage.volume.as_ref()).flat_map(volume));
    problems
}

fn not_built(field: &str) -> FlowProblem {
    FlowProblem::new(field, format!("{field:?} is not built yet")).help("leave it out".to_owned())
}

/// Fields of a pod that the operator owns, or that would weaken it or go past the scheduler.
const OF_THE_POD: [&str; 8] =
    ["serviceAccountName", "serviceAccount", "hostNetwork", "hostPID", "hostIPC", "hostUsers", "securityContext", "nodeName"];
/// Fields of the container `executor` that have another place, or none.
const OF_THE_EXECUTOR: [(&str, &str); 6] = [
    ("image", "set executors.image"),
    ("resources", "set executors.resources"),
    ("command", LEAVE_OUT),
    ("args", LEAVE_OUT),
    ("imagePullPolicy", LEAVE_OUT),
    ("terminationMessagePolicy", LEAVE_OUT),
];
/// Variables of the container `executor` that are the operator's.
const VARIABLES: [&str; 5] = ["POD_NAME", "NODE_NAME", "POD_IP", "TMPDIR", "HOME"];
const LEAVE_OUT: &str = "leave it out";

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
    let Some(pod) = template.get("spec").and_then(Value::as_object) else { return problems };
    let set = |field: &&&str| pod.contains_key(**field);
    problems.extend(OF_THE_POD.iter().filter(set).map(|field| refuse(&format!("spec.{field}"), LEAVE_OUT)));
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
