//! The command line on the cluster, as a user with a token of their own types it.

use std::fmt::Write as _;

use anyhow::{Result, ensure};
use e2e::Cluster;
use serde_json::json;

use crate::ClusterTest;
use crate::gate::Gate;
use crate::product::{
    self, Shared, User, await_complete, await_condition, await_phase, await_progress, executors, gated_steps, until,
};

const CLAIM: &str = "gates";

pub(crate) fn all() -> Vec<(&'static str, ClusterTest)> {
    vec![
        ("flows::the_command_line_shows_and_reruns_a_flow", the_command_line_shows_and_reruns_a_flow),
        ("flows::suspend_resume_and_cancel_do_what_they_say", suspend_resume_and_cancel_do_what_they_say),
        ("flows::more_than_a_mebibyte_of_output_stays_on_agents_and_is_printed", large_output_is_printed),
    ]
}

fn says(text: &str, parts: &[&str]) -> Result<()> {
    for part in parts {
        ensure!(text.contains(part), "it does not say {part:?}:\n{text}");
    }
    Ok(())
}

fn the_command_line_shows_and_reruns_a_flow(cluster: &Cluster) -> Result<()> {
    product::install(cluster)?;
    let namespace = cluster.namespace("flows-commands")?;
    let user = User::new(cluster, namespace.name())?;
    let steps = json!([
        {"name": "lines", "read": {"inline": {"lines": ["a b a", "b c a"]}}},
        {"name": "words", "flatMap": {"lua": "function(line) return line:gmatch('%w+') end"}},
        {"name": "counts", "count": {}},
        {"name": "ordered", "sort": {"by": [{"field": 1}]}},
        {"name": "show", "write": {"stdout": {"format": "%s %d"}}}
    ]);
    cluster.apply(namespace.name(), &product::flow("words", steps, json!({"retention": {"podsSeconds": 600}})))?;
    let followed = user.gleamflow(cluster, &["status", "words", "--watch"])?;
    says(
        &followed,
        &["words  Succeeded", "CONDITIONS", "Complete", "STAGES", "OUTPUTS", "show", "Secret/words-1-output.gleamflow"],
    )?;

    for output in [user.gleamflow(cluster, &["output", "words"])?, user.kubectl(&["gleamflow", "output", "words"])?] {
        ensure!(output == "a 3\nb 2\nc 1\n", "output: {output:?}");
    }
    says(&user.gleamflow(cluster, &["status", "words"])?, &["words  Succeeded", "m1"])?;
    let list = user.kubectl(&["gleamflow", "list"])?;
    says(&list, &["NAME", "PHASE", "words", "Succeeded"])?;
    says(&user.gleamflow(cluster, &["list", "-A"])?, &["NAMESPACE", namespace.name(), "words"])?;
    says(&user.gleamflow(cluster, &["why", "words"])?, &["words: Succeeded"])?;
    // A run may be over before its node has said that the pod began.
    until(product::PATIENCE, "an executor that has ended", || {
        let pods = executors(cluster, namespace.name(), "words")?;
        Ok(pods.iter().all(|pod| pod["status"]["phase"] == "Succeeded").then_some(()))
    })?;
    says(&user.gleamflow(cluster, &["logs", "words"])?, &["words-1-0  "])?;

    says(&user.gleamflow(cluster, &["rerun", "words"])?, &["\"words\" will run again"])?;
    product::await_run(cluster, namespace.name(), "words", 2)?;
    ensure!(user.gleamflow(cluster, &["output", "words"])? == "a 3\nb 2\nc 1\n", "the second run gives something else");

    let missing = user.try_gleamflow(cluster, &["output", "nothing"])?;
    ensure!(!missing.success, "a flow that is not there has output");
    says(&missing.stderr, &["nothing", "is not in namespace"])
}

fn suspend_resume_and_cancel_do_what_they_say(cluster: &Cluster) -> Result<()> {
    product::install(cluster)?;
    let namespace = cluster.namespace("flows-suspend")?;
    let user = User::new(cluster, namespace.name())?;
    let shared = Shared::new(cluster, namespace.name(), CLAIM)?;
    let storage = json!({"storage": Shared::storage(CLAIM)});
    let gate = Gate::new(shared.path(), "slow", 2)?;
    cluster.apply(namespace.name(), &product::flow("slow", gated_steps(24, 6, &gate), storage.clone()))?;
    await_progress(cluster, namespace.name(), "slow", 2)?;
    gate.await_waiting(1)?;
    says(&user.gleamflow(cluster, &["suspend", "slow"])?, &["\"slow\" will stop"])?;
    await_phase(cluster, namespace.name(), "slow", "Suspended")?;
    // What has ended may be there a moment longer; nothing is at work.
    let pods = executors(cluster, namespace.name(), "slow")?;
    let working = pods.iter().filter(|pod| pod["status"]["phase"] == "Running" || pod["status"]["phase"] == "Pending");
    ensure!(working.count() == 0, "pods of a suspended flow are at work: {pods:?}");
    until(product::PATIENCE, "no pod", || Ok(executors(cluster, namespace.name(), "slow")?.is_empty().then_some(())))?;
    says(&user.gleamflow(cluster, &["why", "slow"])?, &["slow: Suspended (SuspendedByUser)"])?;

    gate.open()?;
    says(&user.gleamflow(cluster, &["resume", "slow"])?, &["\"slow\" will go on"])?;
    await_complete(cluster, namespace.name(), "slow")?;
    let found = product::sorted(&user.gleamflow(cluster, &["output", "slow"])?);
    ensure!(found == product::sorted(&numbers(24)), "it gives {found:?}");

    let gate = Gate::new(shared.path(), "long", 1)?;
    cluster.apply(namespace.name(), &product::flow("long", gated_steps(24, 8, &gate), storage))?;
    await_progress(cluster, namespace.name(), "long", 1)?;
    says(&user.kubectl(&["gleamflow", "cancel", "long"])?, &["\"long\": run ", "will be cancelled"])?;
    await_condition(cluster, namespace.name(), "long", "Failed", "True", "Cancelled")?;
    let again = user.try_gleamflow(cluster, &["cancel", "long"])?;
    ensure!(!again.success, "a run that is over was cancelled");
    says(&again.stderr, &["has no run that is going on"])?;
    until(product::PATIENCE, "no executor at work", || {
        let pods = executors(cluster, namespace.name(), "long")?;
        Ok(pods.iter().all(|pod| pod["status"]["phase"] != "Running").then_some(()))
    })
}

fn numbers(count: u32) -> String {
    (0..count).fold(String::new(), |mut text, number| {
        let _ = writeln!(text, "{number}");
        text
    })
}

fn large_output_is_printed(cluster: &Cluster) -> Result<()> {
    product::install(cluster)?;
    let namespace = cluster.namespace("flows-large")?;
    let user = User::new(cluster, namespace.name())?;
    let steps = json!([
        {"name": "numbers", "read": {"range": {"to": 300_000}}},
        {"name": "show", "write": {"stdout": {}}}
    ]);
    cluster.apply(namespace.name(), &product::flow("large", steps, json!({})))?;
    let status = await_complete(cluster, namespace.name(), "large")?;
    ensure!(status["outputs"][0]["location"] == "NodeLocal", "outputs: {}", status["outputs"]);
    // Rights in one namespace are enough, with the Role that the chart has for it.
    for who in [user, User::confined(cluster, namespace.name())?] {
        let found = who.gleamflow(cluster, &["output", "large"])?;
        ensure!(product::sorted(&found) == product::sorted(&numbers(300_000)), "{} bytes came out", found.len());
    }
    let stranger = cluster.namespace("flows-strange")?;
    let stranger = User::confined(cluster, stranger.name())?;
    let refused = stranger.try_gleamflow(cluster, &["output", "large", "-n", namespace.name()])?;
    ensure!(!refused.success && refused.stdout.is_empty(), "somebody from elsewhere reads it: {refused:?}");
    Ok(())
}
