//! What outlives a run, and the volume that it needs: persisted results, claims that nodes cannot share, local output.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use e2e::Cluster;
use serde_json::{Value, json};

use crate::ClusterTest;
use crate::product::{self, Shared, User, await_complete, await_condition, condition, leader, text, until};

pub(crate) fn all() -> Vec<(&'static str, ClusterTest)> {
    vec![
        ("flows::persisted_results_are_reused_until_what_they_are_made_of_changes", persisted_results),
        ("flows::a_claim_for_one_node_takes_files_of_one_executor_alone", a_claim_for_one_node),
        ("flows::local_output_survives_the_leader", local_output),
    ]
}

const CLAIM: &str = "kept";

fn counting(last: &str, nonce: &str, ttl: u32) -> Value {
    let steps = json!([
        {"name": "lines", "read": {"text": {"paths": ["in/*.txt"]}}},
        {"name": "words", "flatMap": {"lua": "function(line) return line:gmatch('%w+') end"}},
        {"name": "counts", "count": {}, "persist": true},
        {"name": "last", "map": {"lua": last}},
        {"name": "show", "write": {"stdout": {"format": "%s %d"}}}
    ]);
    let spec = json!({
        "storage": Shared::storage(CLAIM), "cache": {"enabled": true, "ttlSeconds": ttl}, "rerunNonce": nonce,
        "retry": {"limit": 1}
    });
    product::flow("counting", steps, spec)
}

fn persisted_results(cluster: &Cluster) -> Result<()> {
    product::install(cluster)?;
    let namespace = cluster.namespace("flows-kept")?;
    let user = User::new(cluster, namespace.name())?;
    let shared = Shared::new(cluster, namespace.name(), CLAIM)?;
    fs::create_dir(shared.path().join("in")).context("failed to make a folder")?;
    let write = |text: &str| -> Result<()> {
        fs::write(shared.path().join("in/a.txt"), text).context("failed to write an input")?;
        product::open_to_all(shared.path())
    };
    let same = "function(word, count) return word, count end";
    let run = |number: u32, flow: Value, rows: &[&str], state: &str, says: &str| -> Result<()> {
        cluster.apply(namespace.name(), &flow)?;
        let status = product::await_run(cluster, namespace.name(), "counting", number)?;
        let found = product::sorted(&user.gleamflow(cluster, &["output", "counting"])?);
        ensure!(found == rows, "run {number} gives {found:?}");
        let persisted = &status["persisted"][0];
        ensure!(persisted["step"] == "counts" && persisted["state"] == state, "run {number}: {}", status["persisted"]);
        ensure!(text(&persisted["message"]).contains(says), "run {number}: {persisted}");
        let shown = user.gleamflow(cluster, &["status", "counting"])?;
        ensure!(shown.contains("PERSISTED") && shown.contains(state), "status:\n{shown}");
        Ok(())
    };
    write("a b a\n")?;
    // The first run fails behind what is persisted; the next has it all the same.
    cluster.apply(namespace.name(), &counting("function() error('not yet') end", "", 3600))?;
    let status = await_condition(cluster, namespace.name(), "counting", "Failed", "True", "UdfError")?;
    ensure!(status["persisted"][0]["state"] == "Kept", "{}", status["persisted"]);
    run(2, counting(same, "", 3600), &["a 2", "b 1"], "Reused", "read from the cache: 2 rows")?;
    run(3, counting(same, "again", 3600), &["a 2", "b 1"], "Reused", "2 rows")?;
    write("a b a c\n")?;
    run(4, counting(same, "changed", 3600), &["a 2", "b 1", "c 1"], "Kept", "in/a.txt changed")?;
    // What nobody has used for longer than the flow says is made again.
    let results = shared.path().join(".gleamflow-results");
    until(product::PATIENCE, "results that are too old", || {
        let newest = newest_file(&results)?.context("nothing is kept")?;
        Ok(newest.elapsed().is_ok_and(|age| age > Duration::from_secs(2)).then_some(()))
    })?;
    run(5, counting(same, "expired", 1), &["a 2", "b 1", "c 1"], "Kept", "")
}

/// When a file below a folder was last written or used.
fn newest_file(folder: &Path) -> Result<Option<SystemTime>> {
    let mut newest = None;
    for entry in fs::read_dir(folder).with_context(|| format!("failed to list {}", folder.display()))? {
        let path = entry.context("failed to list results")?.path();
        let time =
            if path.is_dir() { newest_file(&path)? } else { Some(fs::metadata(&path).and_then(|about| about.modified())?) };
        newest = newest.max(time);
    }
    Ok(newest)
}

/// A claim that one node may mount at a time, of a folder that (in this test alone) all nodes have.
fn a_claim_for_one_node(cluster: &Cluster) -> Result<()> {
    product::install(cluster)?;
    let namespace = cluster.namespace("flows-one-node")?;
    let shared = Shared::with_mode(cluster, namespace.name(), CLAIM, "ReadWriteOnce")?;
    let steps = json!([{"name": "numbers", "read": {"range": {"to": 4}}}, {"name": "out", "write": {"text": {"path": "out"}}}]);
    let flow = |executors: Value| {
        product::flow("files", steps.clone(), json!({"storage": Shared::storage(CLAIM), "executors": executors}))
    };
    cluster.apply(namespace.name(), &flow(json!({})))?;
    let status = await_condition(cluster, namespace.name(), "files", "Accepted", "False", "NoStorage")?;
    let message = text(&condition(&status, "Accepted")["message"]);
    ensure!(message.contains("ReadWriteOnce") && message.contains("executors.maxReplicas: 1"), "it says {message:?}");
    ensure!(status["currentRun"].is_null(), "it runs: {status:#}");
    cluster.apply(namespace.name(), &flow(json!({"maxReplicas": 1})))?;
    await_complete(cluster, namespace.name(), "files")?;
    ensure!(shared.path().join("out/_SUCCESS").exists(), "nothing was written");
    Ok(())
}

fn local_output(cluster: &Cluster) -> Result<()> {
    product::install(cluster)?;
    let namespace = cluster.namespace("flows-local")?;
    let user = User::new(cluster, namespace.name())?;
    let steps = json!([{"name": "numbers", "read": {"range": {"to": 300_000}}}, {"name": "show", "write": {"stdout": {}}}]);
    cluster.apply(namespace.name(), &product::flow("large", steps, json!({})))?;
    let status = await_complete(cluster, namespace.name(), "large")?;
    ensure!(status["outputs"][0]["location"] == "NodeLocal", "outputs: {}", status["outputs"]);
    let before = user.gleamflow(cluster, &["output", "large"])?;
    ensure!(before.lines().count() == 300_000, "{} rows", before.lines().count());

    let killed = leader(cluster)?;
    cluster.kubectl(&["delete", "pod", &killed, "-n", product::HOME, "--grace-period=0", "--force"])?;
    // The new leader has told the agents what may go once another run has come to its end.
    let quick = json!([{"name": "numbers", "read": {"range": {"to": 4}}}, {"name": "show", "write": {"stdout": {}}}]);
    cluster.apply(namespace.name(), &product::flow("quick", quick, json!({})))?;
    await_complete(cluster, namespace.name(), "quick")?;
    ensure!(leader(cluster)? != killed, "{killed} still leads");
    for _ in 0..2 {
        let after = user.gleamflow(cluster, &["output", "large"])?;
        ensure!(after == before, "{} bytes of {} are there", after.len(), before.len());
    }

    // What an agent loses is said, and not shown as less.
    let agents: Vec<String> = product::agents(cluster)?.into_iter().map(|(name, _)| name).collect();
    let mut delete = vec!["delete", "pod", "-n", product::HOME, "--grace-period=0", "--force"];
    delete.extend(agents.iter().map(String::as_str));
    cluster.kubectl(&delete)?;
    until(product::PATIENCE, "other agents", || {
        let now = product::agents(cluster)?;
        Ok((now.len() == agents.len() && now.iter().all(|(name, _)| !agents.contains(name))).then_some(()))
    })?;
    let lost = user.try_gleamflow(cluster, &["output", "large"])?;
    ensure!(!lost.success && lost.stderr.contains("run the flow again"), "lost rows: {lost:?}");
    Ok(())
}
