//! Runs that are to end sooner, and what a run leaves: deadlines, cancelling what is not there, a namespace that goes, retention.

use anyhow::{Context, Result, ensure};
use e2e::Cluster;
use serde_json::{Value, json};

use crate::ClusterTest;
use crate::gate::Gate;
use crate::product::{
    self, HOME, PATIENCE, Shared, User, await_complete, await_condition, condition, executors, gated_steps, items, leader, text,
    until,
};

pub(crate) fn all() -> Vec<(&'static str, ClusterTest)> {
    vec![
        ("flows::deadlines_end_runs_with_their_reasons", deadlines),
        ("flows::a_change_that_is_ignored_and_a_wrong_cancel_are_said_and_do_nothing", ignored),
        ("flows::retention_keeps_what_it_says_and_no_more", retention),
        ("flows::a_namespace_that_is_deleted_under_a_run_goes", namespace_deletion),
    ]
}

const CLAIM: &str = "gates";

fn quick(format: &str) -> Value {
    json!([{"name": "numbers", "read": {"range": {"to": 4}}}, {"name": "show", "write": {"stdout": {"format": format}}}])
}

fn patch(cluster: &Cluster, namespace: &str, flow: &str, spec: Value) -> Result<()> {
    let patch = json!({"spec": spec}).to_string();
    cluster.kubectl(&["patch", "gleamflow", flow, "-n", namespace, "--type=merge", "-p", &patch]).map(drop)
}

/// Both runs stand still until their deadlines are set, and those are over then.
fn deadlines(cluster: &Cluster) -> Result<()> {
    product::install(cluster)?;
    let namespace = cluster.namespace("flows-deadlines")?;
    let (name, shared) = (namespace.name(), Shared::new(cluster, namespace.name(), CLAIM)?);
    let gate = Gate::new(shared.path(), "late", 0)?;
    cluster.apply(name, &product::flow("late", gated_steps(4, 1, &gate), json!({"storage": Shared::storage(CLAIM)})))?;
    let spec = json!({"executors": {"resources": {"requests": {"cpu": 100}}}});
    cluster.apply(name, &product::flow("roomless", quick("%d"), spec))?;
    gate.await_waiting(1)?;
    await_condition(cluster, name, "roomless", "ExecutorsReady", "False", "Unschedulable")?;
    patch(cluster, name, "late", json!({"activeDeadlineSeconds": 1}))?;
    patch(cluster, name, "roomless", json!({"startupDeadlineSeconds": 1}))?;
    let cases = [
        ("late", "DeadlineExceeded", "the run did not end within activeDeadlineSeconds (1)"),
        ("roomless", "StartupDeadlineExceeded", "no executor within startupDeadlineSeconds (1): Unschedulable: 0/"),
    ];
    for (flow, reason, words) in cases {
        let status = await_condition(cluster, name, flow, "Failed", "True", reason)?;
        let message = text(&condition(&status, "Failed")["message"]);
        ensure!(message.starts_with(words), "{flow}: {reason} says {message:?}");
        ensure!(condition(&status, "Stalled")["reason"] == reason && status["phase"] == "Failed", "{status:#}");
        ensure!(condition(&status, "Complete").is_null() && condition(&status, "Reconciling").is_null(), "{status:#}");
        until(PATIENCE, &format!("no pod of {flow} at work"), || {
            let pods = executors(cluster, name, flow)?;
            let works = |pod: &Value| matches!(pod["status"]["phase"].as_str(), Some("Running"));
            Ok((!pods.iter().any(works)).then_some(()))
        })?;
    }
    Ok(())
}

/// The controller writes nothing but status, whatever is asked of it meanwhile.
fn ignored(cluster: &Cluster) -> Result<()> {
    product::install(cluster)?;
    let namespace = cluster.namespace("flows-ignored")?;
    let (name, user) = (namespace.name(), User::new(cluster, namespace.name())?);
    let shared = Shared::new(cluster, name, CLAIM)?;
    let gate = Gate::new(shared.path(), "stays", 0)?;
    let spec = json!({"storage": Shared::storage(CLAIM), "onSpecChange": "Ignore"});
    let mut flow = product::flow("stays", gated_steps(4, 1, &gate), spec);
    cluster.apply(name, &flow)?;
    gate.await_waiting(1)?;
    cluster.kubectl(&["annotate", "gleamflow", "stays", "-n", name, "gleamflow.io/cancel=another-1"])?;
    await_words(cluster, name, "names \"another-1\", which is not this run")?;
    flow["spec"]["steps"][3]["write"]["stdout"] = json!({"format": "n%s"});
    cluster.apply(name, &flow)?;
    await_words(cluster, name, "which spec.onSpecChange ignores")?;
    let why = user.gleamflow(cluster, &["why", "stays"])?;
    ensure!(why.contains("nothing is cancelled") && why.contains("`gleamflow rerun`"), "why: {why}");
    gate.open()?;
    let status = await_condition(cluster, name, "stays", "Ready", "True", "Succeeded")?;
    ensure!(text(&status["currentRun"]["id"]).ends_with("-1") && status["observedGeneration"] == 2, "{status:#}");
    ensure!(condition(&status, "Complete")["observedGeneration"] == 1, "generation 2 has not run: {status:#}");
    await_words(cluster, name, "`gleamflow rerun` runs its newest version")?;
    let output = user.gleamflow(cluster, &["output", "stays"])?;
    ensure!(product::sorted(&output) == ["0", "1", "2", "3"], "the first run gives {output:?}");
    user.gleamflow(cluster, &["rerun", "stays"])?;
    let status = product::await_run(cluster, name, "stays", 2)?;
    ensure!(status["message"] == "the run succeeded" && condition(&status, "Complete")["observedGeneration"] == 3, "{status:#}");
    let output = user.gleamflow(cluster, &["output", "stays"])?;
    ensure!(product::sorted(&output) == ["n0", "n1", "n2", "n3"], "the second run gives {output:?}");

    let object = cluster.get(name, &["gleamflow", "stays", "--show-managed-fields"])?;
    let managers = object["metadata"]["managedFields"].as_array().context("nobody manages it")?;
    let ours: Vec<&Value> = managers.iter().filter(|manager| manager["manager"] == "gleamflow").collect();
    ensure!(!ours.is_empty(), "the operator is no manager: {managers:#?}");
    for manager in ours {
        let fields: Vec<&String> = manager["fieldsV1"].as_object().context("it manages no fields")?.keys().collect();
        ensure!(manager["subresource"] == "status" && fields == ["f:status"], "the operator writes {fields:?}: {manager:#}");
    }
    Ok(())
}

fn await_words(cluster: &Cluster, namespace: &str, words: &str) -> Result<()> {
    let mut last = Value::Null;
    let said = until(PATIENCE, &format!("a message with {words:?}"), || {
        last = product::status(cluster, namespace, "stays")?;
        let is_said = text(&last["message"]).contains(words) && text(&condition(&last, "Ready")["message"]).contains(words);
        Ok(is_said.then_some(()))
    });
    said.with_context(|| format!("its status: {last:#}"))
}

fn retention(cluster: &Cluster) -> Result<()> {
    product::install(cluster)?;
    let namespace = cluster.namespace("flows-retention")?;
    let name = namespace.name();
    let retention = json!({"historyLimit": 1, "podsSeconds": 600, "failedPodsSeconds": 600});
    let flow = |nonce: &str| product::flow("kept", quick("%d"), json!({"rerunNonce": nonce, "retention": retention}));
    let broken = json!([
        {"name": "numbers", "read": {"range": {"to": 4}}},
        {"name": "broken", "map": {"lua": "function() error('no') end"}},
        {"name": "show", "write": {"stdout": {}}}
    ]);
    let spec = json!({"retry": {"limit": 0}, "retention": retention});
    cluster.apply(name, &product::flow("failed", broken, spec))?;
    // Pods are kept once they have ended by themselves; those of runs that are forgotten are not.
    for (at, nonce) in ["", "two", "three"].into_iter().enumerate() {
        cluster.apply(name, &flow(nonce))?;
        product::await_run(cluster, name, "kept", u32::try_from(at)? + 1)?;
        // The next run does not wait for those that still leave.
        let all = [["kept-1-0"].as_slice(), &["kept-1-0", "kept-2-0"], &["kept-2-0", "kept-3-0"]];
        await_pods(cluster, name, "kept", all[at])?;
    }
    let status = product::status(cluster, name, "kept")?;
    let history: Vec<String> = items_of(&status["history"]).map(|run| text(&run["id"])).collect();
    ensure!(history.len() == 1 && history[0].ends_with("-2"), "history: {history:?}");
    // What the first run left goes with its line of the history; what the others left stays.
    let secrets = ["kept-2-output", "kept-2", "kept-3-output", "kept-3"].map(|name| format!("secret/{name}.gleamflow"));
    await_objects(cluster, name, &secrets.each_ref().map(String::as_str))?;
    await_condition(cluster, name, "failed", "Failed", "True", "UdfError")?;
    await_pods(cluster, name, "failed", &["failed-1-0"])?;
    for flow in ["kept", "failed"] {
        patch(cluster, name, flow, json!({"retention": {"podsSeconds": 0, "failedPodsSeconds": 0, "outputSeconds": 1}}))?;
        await_pods(cluster, name, flow, &[])?;
    }
    await_objects(cluster, name, &[])?;
    let released = until(PATIENCE, "runs that are released", || {
        let status = product::status(cluster, name, "kept")?;
        let released = [&status["currentRun"], &status["history"][0]].iter().all(|run| run["released"] == true);
        Ok(released.then_some(status))
    })?;
    ensure!(released["phase"] == "Succeeded" && condition(&released, "Complete")["status"] == "True", "{released:#}");
    let output = &released["outputs"][0];
    ensure!(output["location"] == "Expired" && output["preview"].is_null(), "{output:#}");
    Ok(())
}

fn items_of(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

/// Waits until a flow's pods are these, and all have ended.
fn await_pods(cluster: &Cluster, namespace: &str, flow: &str, names: &[&str]) -> Result<()> {
    let mut last = Vec::new();
    let found = until(PATIENCE, &format!("the pods {names:?} of {flow}"), || {
        let pods = executors(cluster, namespace, flow)?;
        last = pods.iter().map(|pod| (text(&pod["metadata"]["name"]), text(&pod["status"]["phase"]))).collect();
        let ended = last.iter().all(|(_, phase)| matches!(phase.as_str(), "Succeeded" | "Failed"));
        Ok((ended && last.iter().map(|(name, _)| name).eq(names)).then_some(()))
    });
    found.with_context(|| format!("there are {last:?}"))
}

/// Waits until of the flow "kept" there are these Secrets, and nothing else that runs leave.
fn await_objects(cluster: &Cluster, namespace: &str, names: &[&str]) -> Result<()> {
    let mut last = Vec::new();
    let found = until(PATIENCE, &format!("the Secrets {names:?}"), || {
        let all = cluster.kubectl(&["get", "secrets", "-n", namespace, "-l", "gleamflow.io/flow=kept", "-o", "name"])?;
        last = all.lines().map(str::to_owned).collect();
        Ok((last == names).then_some(()))
    });
    found.with_context(|| format!("there are {last:?}"))
}

/// Nothing hangs, nothing is left at agents, and the operator does not go on about it.
fn namespace_deletion(cluster: &Cluster) -> Result<()> {
    product::install(cluster)?;
    let namespace = cluster.namespace("flows-going")?;
    let name = namespace.name();
    let shared = Shared::new(cluster, name, CLAIM)?;
    let gate = Gate::new(shared.path(), "going", 1)?;
    let spec = json!({"storage": Shared::storage(CLAIM), "executors": {"minReplicas": 2}});
    cluster.apply(name, &product::flow("going", gated_steps(24, 6, &gate), spec))?;
    product::await_progress(cluster, name, "going", 1)?;
    gate.await_waiting(1)?;
    cluster.delete_namespaces(&[name.to_owned()]);
    until(PATIENCE, "a namespace that is being deleted", || {
        let found = cluster.try_kubectl(&["get", "namespace", name, "-o", "jsonpath={.status.phase}"], "")?;
        Ok((found.stdout != "Active").then_some(()))
    })?;
    // Executors end what they do before they go.
    gate.open()?;
    let mut last = String::new();
    let gone = until(PATIENCE, "a namespace that is gone", || {
        let found = cluster.try_kubectl(&["get", "namespace", name, "-o", "jsonpath={.status}"], "")?;
        last = found.stdout + &found.stderr;
        Ok((!found.success && last.contains("NotFound")).then_some(()))
    });
    gone.with_context(|| last.clone())?;
    until(PATIENCE, "nothing of it at agents", || {
        let agents = product::agents(cluster)?.into_iter();
        let runs = agents.map(|(agent, _)| product::agent_metric(cluster, &agent, "gleamflow_agent_runs"));
        Ok(runs.collect::<Result<Vec<f64>>>()?.iter().all(|count| *count == 0.0).then_some(()))
    })?;
    // Another flow is looked at as soon as ever.
    let other = cluster.namespace("flows-staying")?;
    cluster.apply(other.name(), &product::flow("quick", quick("%d"), json!({})))?;
    await_complete(cluster, other.name(), "quick")?;
    let log = cluster.kubectl(&["logs", &leader(cluster)?, "-n", HOME, "--since=600s"])?;
    let complaints: Vec<&str> =
        log.lines().filter(|line| line.contains(name) && (line.contains("WARN") || line.contains("ERROR"))).collect();
    ensure!(complaints.len() <= 20, "{} complaints: {complaints:#?}", complaints.len());
    let pods = cluster.get(name, &["pods"])?;
    ensure!(items(&pods).next().is_none(), "pods of a namespace that is gone: {pods:#}");
    Ok(())
}
