//! A machine on which no cluster can be brought up: this program says so, counts what it did not run, and fails where it must not be.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::PlainTest;

pub(crate) fn plain() -> Vec<(&'static str, PlainTest)> {
    vec![("nowhere::tests_that_have_no_cluster_are_counted_and_fail_under_ci", counted)]
}

fn counted() -> Result<()> {
    for (ci, succeeds) in [(None, true), (Some("false"), true), (Some("true"), false)] {
        let program = std::env::current_exe().context("failed to find this program")?;
        let mut command = Command::new(program);
        // Asks for a place that no machine has; this very program may be inside of a cluster.
        command.args(["rules::", "--test-threads=1"]).env("E2E_CLUSTER", "nowhere").env_remove("E2E_INSIDE").env_remove("CI");
        command.envs(ci.map(|ci| ("CI", ci)));
        let output = command.output().context("failed to start this program again")?;
        let (said, complaints) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success() == succeeds, "CI={ci:?}: {}:\n{said}{complaints}", output.status);
        ensure!(complaints.contains("The cluster tests were NOT RUN"), "CI={ci:?}: it does not say so: {complaints}");
        for place in ["kind", "private"] {
            ensure!(complaints.contains(&format!("{place}: E2E_CLUSTER does not ask for it")), "why not {place}: {complaints}");
        }
        let tests = said.lines().filter(|line| line.starts_with("test rules::")).count();
        let ignored = said.lines().filter(|line| line.starts_with("test rules::") && line.ends_with("ignored")).count();
        ensure!(tests >= 5 && ignored == tests && said.contains(&format!("{ignored} ignored")), "CI={ci:?}:\n{said}");
    }
    Ok(())
}
