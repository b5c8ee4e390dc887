//! The images: what is in them, and that they work as strictly as pods of ours run.

use anyhow::{Context, Result, ensure};
use e2e::Cluster;

use crate::ClusterTest;
use crate::nodes::shell_pod;
use crate::product::PATIENCE;

/// What `pipe` may count on, one line of a script each; every one must print `yes`.
const TOOLS: [&str; 15] = [
    r#"printf 'b\na\n' | sort | head -1 | sed 's/a/yes/'"#,
    r#"echo 'no yes' | awk '{print $2}'"#,
    r#"echo yes | grep -E '^y.s$'"#,
    r#"echo yes | grep -P '^y\ws$'"#,
    "echo YES | tr A-Z a-z",
    r#"test "$(printf 'a\na\nb\n' | uniq -c | wc -l)" = 2 && echo yes"#,
    "echo yes | gzip | gzip -dc",
    "echo yes | cut -c1-3",
    "echo yes | xargs echo",
    "find /usr/bin/sort -printf 'yes\n'",
    "echo yes >/tmp/file; diff /tmp/file /tmp/file && cat /tmp/file",
    r#"test "$(echo -n | sha256sum | cut -c1-8)" = e3b0c442 && echo yes"#,
    // The package list names all libraries.
    "for file in /usr/bin/*; do LD_TRACE_LOADED_OBJECTS=1 $file; done | grep 'not found' || echo yes",
    "test \"$(id -u)\" = 65532 && echo yes",
    "grep -q 'BEGIN CERTIFICATE' /etc/ssl/certs/ca-certificates.crt && ! touch /usr/file 2>/dev/null && echo yes",
];

pub(crate) fn all() -> Vec<(&'static str, ClusterTest)> {
    vec![("images::the_usual_tools_work_under_restricted_security", the_usual_tools_work_under_restricted_security)]
}

fn the_usual_tools_work_under_restricted_security(cluster: &Cluster) -> Result<()> {
    let namespace = cluster.namespace("images")?;
    let mut pod = shell_pod("tools", &TOOLS.map(|line| format!("{{ {line}; }}")).join("\n"));
    pod["spec"]["volumes"] = serde_json::json!([{"name": "tmp", "emptyDir": {}}]);
    pod["spec"]["containers"][0]["volumeMounts"] = serde_json::json!([{"name": "tmp", "mountPath": "/tmp"}]);
    cluster.apply(namespace.name(), &pod)?;
    let ended = "jsonpath={.status.containerStatuses[0].state.terminated.exitCode}=0";
    let waited = cluster.wait(namespace.name(), ended, &["pod/tools".to_owned()], PATIENCE);
    let log = cluster.kubectl(&["logs", "--namespace", namespace.name(), "tools"])?;
    waited.with_context(|| format!("it said: {log}"))?;
    let answers: Vec<&str> = log.lines().collect();
    ensure!(answers == ["yes"; TOOLS.len()], "expected one yes per line of the script: {answers:?}");
    Ok(())
}
