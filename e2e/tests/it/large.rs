//! Real sizes: `bench/large.py`, which says what it does, as a test. 2 GB of text and TPC-H tables, tasks on all nodes, bytes between
//! them, the leader killed in the middle, and the rows those of DuckDB.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use e2e::{Cluster, User};

use crate::{ClusterTest, product};

const SCRIPT: &str = "bench/large.py";

pub(crate) fn all() -> Vec<(&'static str, ClusterTest)> {
    vec![(
        "large::two_gigabytes_and_a_tpc_h_join_run_on_all_nodes_survive_their_leader_and_equal_duckdb",
        two_gigabytes_and_a_tpc_h_join_run_on_all_nodes_survive_their_leader_and_equal_duckdb,
    )]
}

/// What it needs from the network: DuckDB and the generator of TPC-H; and its inputs.
pub(crate) fn prepare() -> Result<()> {
    eprintln!("e2e: preparing {SCRIPT}; the first time takes some minutes");
    script(Command::new("python3"), &["--prepare"])
}

fn two_gigabytes_and_a_tpc_h_join_run_on_all_nodes_survive_their_leader_and_equal_duckdb(cluster: &Cluster) -> Result<()> {
    product::install(cluster)?;
    let namespace = cluster.namespace("large")?;
    let user = User::new(cluster)?;
    script(user.command("python3"), &["--namespace", namespace.name()])?;
    product::await_operators(cluster)
}

fn script(mut python: Command, arguments: &[&str]) -> Result<()> {
    let status = python.current_dir(e2e::root()).arg(SCRIPT).args(arguments).status().context("failed to start python3")?;
    ensure!(status.success(), "{SCRIPT} {}: {status}; what it said is above", arguments.join(" "));
    Ok(())
}
