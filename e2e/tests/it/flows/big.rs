//! More data than fits a hand: tasks on all nodes, bytes between them, and the leader killed in the middle.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use e2e::Cluster;
use serde_json::{Value, json};

use super::tables::size;
use crate::ClusterTest;
use crate::gate::Gate;
use crate::product::{self, Shared, await_complete_within, await_executors, await_progress, leader, text};

const FILES: u64 = 12;
/// Of all texts; more by `GLEAMFLOW_E2E_TEXT_MIB`.
const TEXT_MIB: u64 = 120;
/// Different words: enough that their counts are megabytes.
const WORDS: u64 = 200_000;
const CLAIM: &str = "texts";

pub(crate) fn all() -> Vec<(&'static str, ClusterTest)> {
    vec![(
        "flows::a_big_word_count_runs_on_all_nodes_and_survives_its_leader",
        a_big_word_count_runs_on_all_nodes_and_survives_its_leader,
    )]
}

fn a_big_word_count_runs_on_all_nodes_and_survives_its_leader(cluster: &Cluster) -> Result<()> {
    product::install(cluster)?;
    let namespace = cluster.namespace("flows-big")?;
    let shared = Shared::new(cluster, namespace.name(), CLAIM)?;
    let mebibytes = size("GLEAMFLOW_E2E_TEXT_MIB", TEXT_MIB)?;
    let wanted = generate(shared.path(), usize::try_from((mebibytes << 20) / FILES)?)?;

    let before = traffic(cluster)?;
    // It is not over before its executors are seen.
    let gate = Gate::new(shared.path(), "undisturbed", 0)?;
    cluster.apply(namespace.name(), &word_count("undisturbed", &gate))?;
    let pods = await_executors(cluster, namespace.name(), "undisturbed", 3)?;
    let nodes = pods.iter().map(|pod| text(&pod["spec"]["nodeName"])).collect::<BTreeSet<_>>().len();
    gate.await_waiting(3)?;
    let start = Instant::now();
    gate.open()?;
    let patience = product::PATIENCE * u32::try_from((mebibytes / TEXT_MIB).max(1))?;
    let complete = |name: &str| await_complete_within(cluster, namespace.name(), name, patience);
    let status = complete("undisturbed")?;
    let seconds = start.elapsed().as_secs_f64();
    check(shared.path(), "undisturbed", &wanted)?;
    let after = traffic(cluster)?;
    let crossed: Vec<(&String, f64, f64)> =
        after.iter().map(|(node, (put, fetched))| (node, put - before[node].0, fetched - before[node].1)).collect();
    eprintln!(
        "figure: word count of {mebibytes} MiB on {nodes} nodes in {seconds:.1} s; bytes put and fetched per agent: {crossed:?}; shuffled {}",
        status["bytesShuffled"]
    );
    ensure!(nodes == cluster.nodes().len(), "executors were on {nodes} nodes");
    ensure!(crossed.iter().all(|(_, put, fetched)| *put > 0.0 && *fetched > 0.0), "agents that did nothing: {crossed:?}");

    let gate = Gate::new(shared.path(), "leaderless", 3)?;
    cluster.apply(namespace.name(), &word_count("leaderless", &gate))?;
    await_progress(cluster, namespace.name(), "leaderless", 3)?;
    gate.await_waiting(1)?;
    let killed = leader(cluster)?;
    cluster.kubectl(&["delete", "pod", &killed, "-n", product::HOME, "--grace-period=0", "--force"])?;
    gate.open()?;
    let start = Instant::now();
    let status = complete("leaderless")?;
    let next = leader(cluster)?;
    ensure!(next != killed, "{killed} still leads");
    eprintln!("figure: after leader {killed} was killed, the run was complete in {:.1} s", start.elapsed().as_secs_f64());
    ensure!(text(&status["currentRun"]["id"]).ends_with("-1"), "it ran twice: {}", status["currentRun"]);
    check(shared.path(), "leaderless", &wanted)?;
    product::await_operators(cluster)
}

/// With a gate, the lines stand before it.
fn word_count(name: &str, gate: &Gate) -> Value {
    let steps = json!([
        {"name": "lines", "read": {"text": {"paths": ["in/*.txt"]}}},
        gate.step("gate"),
        {"name": "words", "flatMap": {"lua": "function(line) return line:gmatch('%w+') end"}},
        {"name": "counts", "count": {}, "partitions": 6},
        {"name": "out", "write": {"tsv": {"path": format!("out-{name}")}}}
    ]);
    let executors = json!({"minReplicas": 3, "maxReplicas": 3});
    product::flow(name, steps, json!({"storage": Shared::storage(CLAIM), "executors": executors}))
}

/// Writes the texts; how often each word is in them.
fn generate(folder: &Path, bytes_per_file: usize) -> Result<BTreeMap<String, u64>> {
    fs::create_dir(folder.join("in")).context("failed to make a folder")?;
    let mut counts = vec![0_u64; WORDS as usize];
    let mut state = 88_172_645_463_325_252_u64;
    for file in 0..FILES {
        let mut text = String::with_capacity(bytes_per_file + 64);
        while text.len() < bytes_per_file {
            // Xorshift: the same words in every run of the test.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let word = state % WORDS;
            counts[word as usize] += 1;
            let _ = write!(text, "w{word}{}", if state >> 60 == 0 { '\n' } else { ' ' });
        }
        text.push('\n');
        fs::write(folder.join(format!("in/{file}.txt")), text).context("failed to write a text")?;
    }
    product::open_to_all(folder)?;
    Ok((0..WORDS).zip(counts).filter(|(_, count)| *count > 0).map(|(word, count)| (format!("w{word}"), count)).collect())
}

/// The counts are all there, each once.
fn check(folder: &Path, name: &str, wanted: &BTreeMap<String, u64>) -> Result<()> {
    let folder = folder.join(format!("out-{name}"));
    ensure!(folder.join("_SUCCESS").exists(), "{} has no _SUCCESS", folder.display());
    let (mut found, mut rows) = (BTreeMap::new(), 0);
    for entry in fs::read_dir(&folder).context("failed to list the results")?.flatten() {
        if entry.file_name().to_string_lossy().starts_with(['.', '_']) {
            continue;
        }
        let text = fs::read_to_string(entry.path()).context("failed to read a result")?;
        for line in text.lines() {
            let (word, count) = line.split_once('\t').with_context(|| format!("a row is {line:?}"))?;
            found.insert(word.to_owned(), count.parse::<u64>().with_context(|| format!("a row is {line:?}"))?);
            rows += 1;
        }
    }
    ensure!(rows == found.len(), "{name}: {rows} rows for {} words", found.len());
    ensure!(
        &found == wanted,
        "{name}: {} words of {} are as they must be",
        found.iter().filter(|(word, count)| wanted.get(*word) == Some(count)).count(),
        wanted.len()
    );
    Ok(())
}

/// What each node's agent has taken and given, in bytes.
fn traffic(cluster: &Cluster) -> Result<BTreeMap<String, (f64, f64)>> {
    let mut found = BTreeMap::new();
    for (agent, node) in product::agents(cluster)? {
        let counter = |name: &str| product::agent_metric(cluster, &agent, &format!("gleamflow_agent_{name}_total"));
        found.insert(node, (counter("put_bytes")?, counter("fetch_bytes")?));
    }
    Ok(found)
}
