//! What tools of GitOps make of a flow's status: the health check for Argo CD of the documentation, run as Lua.

use serde_json::{Value, json};

use crate::flow::Flow;

fn flow(generation: u32, observed: i32, conditions: &[(&str, &str, &str)]) -> Value {
    let conditions: Vec<Value> = conditions
        .iter()
        .map(|(kind, status, reason)| json!({"type": kind, "status": status, "reason": reason, "message": "so it is"}))
        .collect();
    json!({"metadata": {"generation": generation}, "status": {"observedGeneration": observed, "conditions": conditions}})
}

#[test]
fn argo_cd_sees_how_a_flow_stands() {
    let accepted = ("Accepted", "True", "Planned");
    let cases = [
        (json!({"metadata": {"generation": 1}}), "Progressing", "waiting for the operator"),
        (json!({"metadata": {"generation": 1}, "status": {"observedGeneration": -1}}), "Progressing", "waiting for the operator"),
        (flow(2, 1, &[accepted, ("Ready", "True", "Succeeded")]), "Progressing", "waiting for the operator"),
        (
            flow(1, 1, &[accepted, ("Ready", "False", "Unschedulable"), ("Reconciling", "True", "Unschedulable")]),
            "Progressing",
            "Unschedulable: so it is",
        ),
        (
            flow(1, 1, &[accepted, ("Complete", "True", "Succeeded"), ("Ready", "True", "Succeeded")]),
            "Healthy",
            "Succeeded: so it is",
        ),
        (
            flow(
                1,
                1,
                &[accepted, ("Failed", "True", "UdfError"), ("Ready", "False", "UdfError"), ("Stalled", "True", "UdfError")],
            ),
            "Degraded",
            "UdfError: so it is",
        ),
        (
            flow(
                1,
                1,
                &[("Accepted", "False", "InvalidGraph"), ("Ready", "False", "InvalidGraph"), ("Stalled", "True", "InvalidGraph")],
            ),
            "Degraded",
            "InvalidGraph: so it is",
        ),
        (
            flow(1, 1, &[accepted, ("Ready", "False", "SuspendedByUser"), ("Suspended", "True", "SuspendedByUser")]),
            "Suspended",
            "SuspendedByUser: so it is",
        ),
    ];
    let script = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/gitops/health.lua")).expect("it is there");
    let body: String = script.lines().map(|line| format!("  {line}\n")).collect();
    let prelude = format!("lua: |\n  function health(obj)\n{body}  end");
    let objects: String = cases.iter().map(|(object, ..)| format!("{object}\n")).collect();
    let checked = Flow::with_spec(
        &prelude,
        &[
            "read: {json: {paths: [objects]}}",
            "map: {lua: 'function(object) local is = health(object) return is.status, is.message end'}",
            "write: {stdout: {format: \"%s, %s\"}}",
        ],
    )
    .file("objects", objects)
    .run(&["--partitions", "1"]);
    checked.expect(0, &[]);
    let expected: Vec<String> = cases.iter().map(|(_, status, message)| format!("{status}, {message}")).collect();
    assert_eq!(checked.lines(), expected);
}
