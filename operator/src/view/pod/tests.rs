//! Pods in every shape that a cluster leaves them in.

use serde_json::json;

use super::*;

fn check(status: Value, reason: &str, message: &str) {
    let pod =
        json!({"metadata": {"name": "a-1-0", "uid": "u", "resourceVersion": "7"}, "spec": {"nodeName": "n1"}, "status": status});
    let view = PodView::read(&pod).unwrap();
    let trouble = view.trouble.unwrap_or(Trouble { reason: "none", message: String::new() });
    assert_eq!((trouble.reason, trouble.message.as_str()), (reason, message));
}

#[test]
fn every_shape_of_pod_says_what_is_wrong_in_the_clusters_words() {
    let unscheduled = json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "message": "0/3 nodes are available: 3 Insufficient cpu."});
    check(
        json!({"phase": "Pending", "conditions": [unscheduled]}),
        "Unschedulable",
        "0/3 nodes are available: 3 Insufficient cpu.",
    );
    let pull = json!([{"state": {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image \"x\""}}}]);
    check(
        json!({"phase": "Pending", "containerStatuses": pull}),
        "ImagePullFailed",
        "ImagePullBackOff: Back-off pulling image \"x\"",
    );
    let config = json!([{"state": {"waiting": {"reason": "CreateContainerConfigError", "message": "secret \"s\" not found"}}}]);
    check(
        json!({"phase": "Pending", "initContainerStatuses": config}),
        "ContainerConfigError",
        "CreateContainerConfigError: secret \"s\" not found",
    );
    let named = json!([{"name": "fetch", "state": {"terminated": {"reason": "Error", "exitCode": 3, "message": "no route"}}}]);
    check(
        json!({"phase": "Failed", "initContainerStatuses": named}),
        "ExecutorFailed",
        "container \"fetch\": Error, exit code 3: no route",
    );
    let waits = json!([{"name": "fetch", "state": {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}}]);
    check(
        json!({"phase": "Pending", "initContainerStatuses": waits}),
        "ImagePullFailed",
        "container \"fetch\": ErrImagePull: no such image",
    );
    let oom = json!([{"name": "executor", "state": {"terminated": {"reason": "OOMKilled", "exitCode": 137, "message": "{\"level\":\"INFO\"}"}}}]);
    check(json!({"phase": "Failed", "containerStatuses": oom}), "OutOfMemory", "OOMKilled, exit code 137");
    check(
        json!({"phase": "Failed", "reason": "Evicted", "message": "The node was low on memory."}),
        "Evicted",
        "The node was low on memory.",
    );
    check(json!({"phase": "Failed"}), "ExecutorFailed", "the pod failed without a word");
    check(
        json!({"phase": "Failed", "reason": "UnexpectedAdmissionError", "message": "no"}),
        "ExecutorFailed",
        "UnexpectedAdmissionError: no",
    );
    check(json!({"phase": "Unknown"}), "NodeLost", "node n1 does not answer");
    let target = json!({"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler", "message": "preempted"});
    check(json!({"phase": "Failed", "conditions": [target]}), "Disrupted", "preempted");
    check(json!({"phase": "Running"}), "none", "");
    check(
        json!({"phase": "Pending", "containerStatuses": [{"state": {"waiting": {"reason": "ContainerCreating"}}}]}),
        "none",
        "",
    );
}

#[test]
fn what_the_cluster_takes_away_is_nobodys_fault() {
    let pod = |status: Value| PodView::read(&json!({"metadata": {"name": "a", "uid": "u"}, "status": status})).unwrap();
    assert!(pod(json!({"phase": "Failed", "reason": "Evicted"})).disrupted);
    assert!(!pod(json!({"phase": "Failed"})).disrupted);
}
