//! What the API server itself refuses, in the words of the rules, and what it drops or fills in.

use anyhow::{Context, Result, ensure};
use e2e::Cluster;
use serde_json::{Value, json};

use crate::ClusterTest;
use crate::crd::{self, small_flow};

pub(crate) fn all() -> Vec<(&'static str, ClusterTest)> {
    vec![
        ("rules::bad_flows_are_refused_in_our_words", bad_flows_are_refused_in_our_words),
        ("rules::managed_by_cannot_be_changed", managed_by_cannot_be_changed),
        ("rules::one_step_and_one_letter_too_many_are_refused", one_too_many),
        ("rules::conditions_of_two_appliers_stay_beside_each_other", conditions_of_two_appliers),
        ("rules::a_step_that_one_applier_removes_is_gone", a_step_that_one_applier_removes_is_gone),
    ]
}

/// A change of a good flow, at a JSON pointer, and what the refusal must say.
const BAD: [(&str, &str, &str, &str); 21] = [
    ("no steps", "/spec/steps", "[]", "spec.steps in body should have at least 1 items"),
    ("no operator", "/spec/steps/0", r#"{"name":"a"}"#, "exactly one operator is needed: read, map,"),
    ("two operators", "/spec/steps/0", r#"{"name":"a","count":{},"read":{"range":{"to":1}}}"#, "exactly one operator is needed"),
    ("a step without name", "/spec/steps/0", r#"{"count":{}}"#, "spec.steps[0].name: Required value"),
    ("a step named badly", "/spec/steps/0/name", r#""Big_Step""#, "spec.steps[0].name in body should match"),
    ("a long name", "/spec/steps/0/name", r#""a23456789012345678901234567890123456789012""#, "may not be more than 40 bytes"),
    ("no source", "/spec/steps/0/read", "{}", "exactly one source is needed: text, csv,"),
    ("two sources", "/spec/steps/0/read", r#"{"range":{"to":1},"inline":{"lines":["a"]}}"#, "exactly one source is needed"),
    (
        "two places",
        "/spec/steps/0/read",
        r#"{"text":{"paths":["a"],"pathsFrom":"b"}}"#,
        "exactly one place to read from is needed",
    ),
    (
        "two kinds of rows",
        "/spec/steps/0/read",
        r#"{"inline":{"lines":["a"],"rows":[[1]]}}"#,
        "read.inline\" must validate one and only one schema",
    ),
    ("no sink", "/spec/steps/1/write", "{}", "exactly one sink is needed: stdout, text, csv, tsv, json, parquet"),
    ("two sinks", "/spec/steps/1/write", r#"{"stdout":{},"text":{"path":"x"}}"#, "exactly one sink is needed"),
    ("no partitions", "/spec/steps/0/partitions", "0", "should be greater than or equal to 1"),
    ("a dead letter without address", "/spec/steps/0/onError", r#"{"policy":"DeadLetter"}"#, "goes with policy DeadLetter"),
    ("an address without dead letter", "/spec/steps/0/onError", r#"{"policy":"Skip","to":"x"}"#, "goes with policy DeadLetter"),
    ("an unknown policy", "/spec/steps/0/onError", r#"{"policy":"Retry"}"#, r#"supported values: "Fail", "Skip", "DeadLetter""#),
    ("two preludes", "/spec", PRELUDES, "at most one of lua, luaFrom can be given"),
    ("a bad parameter", "/spec/params", r#"[{"name":"1st"}]"#, "spec.params[0].name in body should match"),
    (
        "fewer than the least",
        "/spec/executors",
        r#"{"minReplicas":5,"maxReplicas":2}"#,
        "minReplicas must not be above maxReplicas",
    ),
    ("an unknown change", "/spec/onSpecChange", r#""Restart""#, r#"supported values: "Queue", "Replace", "Ignore""#),
    ("top without number", "/spec/steps/0", r#"{"name":"a","top":{"by":[{"field":1}]}}"#, "n is needed"),
];

const PRELUDES: &str = r#"{"steps":[{"name":"a","read":{"range":{"to":1}}}],"lua":"x=1",
    "luaFrom":{"configMapKeyRef":{"name":"a","key":"b"}}}"#;

fn bad_flows_are_refused_in_our_words(cluster: &Cluster) -> Result<()> {
    crd::install(cluster)?;
    let good = cluster.try_kubectl(&["create", "--dry-run=server", "-f", "-"], &small_flow("good").to_string())?;
    ensure!(good.success, "the flow that the table changes is refused: {}", good.stderr);
    let mut wrong = Vec::new();
    for (what, place, value, expected) in BAD {
        let mut flow = small_flow("bad");
        set(&mut flow, place, serde_json::from_str(value).with_context(|| format!("{what}: not JSON"))?)?;
        let output = cluster.try_kubectl(&["create", "--dry-run=server", "--validate=false", "-f", "-"], &flow.to_string())?;
        if output.success {
            wrong.push(format!("{what}: accepted"));
        } else if !output.stderr.contains(expected) {
            wrong.push(format!("{what}: expected {expected:?}, got {}", output.stderr));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

fn set(flow: &mut Value, place: &str, value: Value) -> Result<()> {
    let (above, name) = place.rsplit_once('/').context("a place has a slash")?;
    let object = flow.pointer_mut(above).with_context(|| format!("nothing is at {above}"))?;
    match object {
        Value::Array(items) => items[name.parse::<usize>().context("a place in a list is a number")?] = value,
        object => object[name] = value,
    }
    Ok(())
}

fn managed_by_cannot_be_changed(cluster: &Cluster) -> Result<()> {
    crd::install(cluster)?;
    let namespace = cluster.namespace("rules")?;
    for (name, before, after) in
        [("set", None, Some("other")), ("changed", Some("one"), Some("other")), ("removed", Some("one"), None)]
    {
        let mut flow = small_flow(name);
        flow["spec"]["managedBy"] = json!(before);
        cluster.apply(namespace.name(), &flow)?;
        let patch = json!({"spec": {"managedBy": after}}).to_string();
        let patched = cluster.try_kubectl(&["patch", "gf", name, "-n", namespace.name(), "--type=merge", "-p", &patch], "")?;
        ensure!(!patched.success, "{name}: accepted");
        ensure!(patched.stderr.contains("managedBy cannot be changed"), "{name}: {}", patched.stderr);
    }
    Ok(())
}

/// Steps are one value: no merge of two appliers' lists can make a flow that nobody wrote.
fn a_step_that_one_applier_removes_is_gone(cluster: &Cluster) -> Result<()> {
    crd::install(cluster)?;
    let namespace = cluster.namespace("rules")?;
    let mut flow = small_flow("atomic");
    let steps = flow["spec"]["steps"].as_array_mut().context("the flow has steps")?;
    steps.insert(1, json!({"name": "once", "distinct": {}}));
    let apply = |manager: &str, flow: &Value| {
        let manager = format!("--field-manager={manager}");
        let arguments = ["apply", "--server-side", "--force-conflicts", &manager, "-n", namespace.name(), "-f", "-"];
        cluster.try_kubectl(&arguments, &flow.to_string())
    };
    for (manager, flow) in [("one", &flow), ("other", &small_flow("atomic"))] {
        let applied = apply(manager, flow)?;
        ensure!(applied.success, "{manager}: {}", applied.stderr);
    }
    let found = cluster.get(namespace.name(), &["gleamflow", "atomic"])?;
    let steps = found["spec"]["steps"].as_array().context("the flow has steps")?;
    ensure!(steps.len() == 2, "steps: {steps:?}");
    Ok(())
}

fn one_too_many(cluster: &Cluster) -> Result<()> {
    crd::install(cluster)?;
    let sent = |steps: usize, letters: usize| {
        let mut flow = small_flow("many");
        let more = (2..steps).map(|at| json!({"name": format!("step-{at}"), "from": ["numbers"], "write": {"stdout": {}}}));
        let all = flow["spec"]["steps"].as_array_mut().context("the flow has steps")?;
        all.extend(more);
        all[1]["name"] = json!("a".repeat(letters));
        cluster.try_kubectl(&["create", "--dry-run=server", "--validate=false", "-f", "-"], &flow.to_string())
    };
    let most = sent(256, 40)?;
    ensure!(most.success, "256 steps and 40 letters: {}", most.stderr);
    for (steps, letters, words) in [(257, 40, "must have at most 256 items"), (2, 41, "may not be more than 40 bytes")] {
        let refused = sent(steps, letters)?;
        ensure!(!refused.success && refused.stderr.contains(words), "{steps} steps, {letters} letters: {refused:?}");
    }
    Ok(())
}

/// As the operator and somebody's own controller write them: each its own, by type.
fn conditions_of_two_appliers(cluster: &Cluster) -> Result<()> {
    crd::install(cluster)?;
    let namespace = cluster.namespace("rules")?;
    cluster.apply(namespace.name(), &small_flow("judged"))?;
    let apply = |manager: &str, kind: &str, status: &str| -> Result<()> {
        let condition = json!({"type": kind, "status": status, "reason": "Said", "message": manager,
            "lastTransitionTime": "2026-01-01T00:00:00Z"});
        let object = json!({"apiVersion": "gleamflow.io/v1alpha1", "kind": "GleamFlow", "metadata": {"name": "judged"},
            "status": {"conditions": [condition]}});
        let manager = format!("--field-manager={manager}");
        let arguments = ["apply", "--server-side", "--subresource=status", &manager, "-n", namespace.name(), "-f", "-"];
        let applied = cluster.try_kubectl(&arguments, &object.to_string())?;
        ensure!(applied.success, "{kind}: {}", applied.stderr);
        Ok(())
    };
    apply("one", "Ready", "False")?;
    apply("other", "Audited", "True")?;
    apply("one", "Ready", "True")?;
    let found = cluster.get(namespace.name(), &["gleamflow", "judged"])?;
    let conditions = found["status"]["conditions"].as_array().context("there are no conditions")?;
    let said: Vec<_> = conditions.iter().map(|it| (&it["type"], &it["status"], &it["message"])).collect();
    let wanted = [(json!("Ready"), json!("True"), json!("one")), (json!("Audited"), json!("True"), json!("other"))];
    ensure!(said == wanted.each_ref().map(|(kind, status, message)| (kind, status, message)), "{conditions:#?}");
    Ok(())
}
