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
    problems
}

fn not_built(field: &str) -> FlowProblem {
    FlowProblem::new(field, format!("{field:?} is not built yet")).help("leave it out".to_owned())
}

/// What a pod template must not set, because the operator owns it or it would weaken the pod.
fn template(template: &Map<String, Value>) -> Vec<FlowProblem> {
    const POD: [&str; 7] =
        ["serviceAccountName", "serviceAccount", "hostNetwork", "hostPID", "hostIPC", "hostUsers", "securityContext"];
    let Some(pod) = template.get("spec").and_then(Value::as_object) else { return Vec::new() };
    let base = "executors.template.spec";
    let mut refused: Vec<String> = POD.iter().filter(|field| pod.contains_key(**field)).map(|field| format!("{base}.{field}")).collect();
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        refused.extend(items_with(pod, list, "securityContext").map(|index| format!("{base}.{list}[{index}].securityContext")));
    }
    refused.extend(items_with(pod, "volumes", "hostPath").map(|index| format!("{base}.volumes[{index}].hostPath")));
    let problem = |path: String| {
        let field = path.rsplit('.').next().unwrap_or_default().to_owned();
        FlowProblem::new(path, format!("an executor's template cannot set {field:?}")).help("leave it out".to_owned())
    };
    refused.into_iter().map(problem).collect()
}

fn items_with<'a>(pod: &'a Map<String, Value>, list: &str, field: &'a str) -> impl Iterator<Item = usize> + 'a {
    let items = pod.get(list).and_then(Value::as_array).into_iter().flatten().enumerate();
    items.filter(move |(_, item)| item.get(field).is_some()).map(|(index, _)| index)
}
