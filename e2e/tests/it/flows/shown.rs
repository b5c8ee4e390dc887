//! What people see of flows: columns of running, finished and failed ones, bars on a terminal, the first lines of what comes out.

use std::fs::File;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use e2e::Cluster;
use serde_json::json;

use crate::ClusterTest;
use crate::gate::Gate;
use crate::product::{
    self, PATIENCE, Shared, User, await_complete, await_condition, await_progress, condition, gated_steps, text, until,
};

pub(crate) fn all() -> Vec<(&'static str, ClusterTest)> {
    vec![
        ("flows::columns_and_bars_show_running_finished_and_failed_flows", columns_and_bars),
        ("flows::the_first_lines_are_in_status_unless_nobody_may_see_them", previews),
        ("flows::helpers_come_from_a_config_map", helpers),
    ]
}

const CLAIM: &str = "gates";

fn columns_and_bars(cluster: &Cluster) -> Result<()> {
    product::install(cluster)?;
    let namespace = cluster.namespace("flows-shown")?;
    let (name, user) = (namespace.name(), User::new(cluster, namespace.name())?);
    let shared = Shared::new(cluster, name, CLAIM)?;
    let storage = json!({"storage": Shared::storage(CLAIM), "executors": {"maxReplicas": 1}});
    let gate = Gate::new(shared.path(), "goes", 2)?;
    cluster.apply(name, &product::flow("goes", gated_steps(24, 6, &gate), storage.clone()))?;
    let open = Gate::new(shared.path(), "done", 0)?;
    open.open()?;
    cluster.apply(name, &product::flow("done", gated_steps(24, 6, &open), storage))?;
    let broken = json!([
        {"name": "numbers", "read": {"range": {"to": 4}}},
        {"name": "broken", "map": {"lua": "function() error('no') end"}},
        {"name": "show", "write": {"stdout": {}}}
    ]);
    cluster.apply(name, &product::flow("fails", broken, json!({"retry": {"limit": 0}})))?;
    await_complete(cluster, name, "done")?;
    await_condition(cluster, name, "fails", "Failed", "True", "UdfError")?;
    await_progress(cluster, name, "goes", 2)?;
    gate.await_waiting(1)?;
    // What kubelets and tasks say comes to the status a moment later.
    let mut last = Ok(());
    let right = until(PATIENCE, "columns that say what the status does", || {
        last = columns(cluster, name);
        Ok(last.is_ok().then_some(()))
    });
    right.with_context(|| format!("{last:?}"))?;
    bars(cluster, &user, &gate)
}

/// Looks at the table, and at each flow.
fn columns(cluster: &Cluster, namespace: &str) -> Result<()> {
    let table = cluster.kubectl(&["get", "gleamflows", "-n", namespace, "-o", "wide"])?;
    let rows = Rows::read(&table)?;
    for (flow, phase, executors, reason) in
        [("goes", "Running", "1/1", "Running"), ("done", "Succeeded", "0/0", "Succeeded"), ("fails", "Failed", "0/0", "UdfError")]
    {
        let status = product::status(cluster, namespace, flow)?;
        let is = |column: &str, expected: &str| -> Result<()> {
            let found = rows.cell(flow, column)?;
            ensure!(found == expected, "{flow}: {column} is {found:?}, not {expected:?}:\n{table}");
            Ok(())
        };
        is("PHASE", phase)?;
        is("PROGRESS", &text(&status["progress"]))?;
        is("EXECUTORS", executors)?;
        is("REASON", reason)?;
        is("RUN", &text(&status["currentRun"]["id"]))?;
        is("ATTEMPT", "1")?;
        is("SHUFFLED", &status["bytesShuffled"].as_i64().map(|bytes| bytes.to_string()).unwrap_or_default())?;
        is("QUEUE", "")?;
        ensure!(!rows.cell(flow, "STARTED")?.is_empty() && !rows.cell(flow, "AGE")?.is_empty(), "{flow}:\n{table}");
        let finished = rows.cell(flow, "FINISHED")?;
        ensure!(finished.is_empty() == (flow == "goes"), "{flow}: FINISHED is {finished:?}:\n{table}");
    }
    let whole = rows.cell("done", "PROGRESS")?.split_once('/').is_some_and(|(done, of)| done == of);
    ensure!(whole && !rows.cell("done", "SHUFFLED")?.is_empty(), "{table}");
    Ok(())
}

/// Follows the flow on a terminal while it stands still, and to its end.
fn bars(cluster: &Cluster, user: &User, gate: &Gate) -> Result<()> {
    let folder = tempfile::tempdir().context("failed to make a temporary folder")?;
    let typed = folder.path().join("typescript");
    let gleamflow = cluster.prepared().gleamflow.display().to_string();
    let mut script = user.command("script");
    let line = format!("stty columns 120 rows 30; exec {gleamflow} status goes --watch");
    script.args(["-q", "-e", "-f", "-c", &line]).arg(&typed).env("TERM", "xterm");
    script.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(folder.path().join("errors"))?);
    let mut child = script.spawn().context("failed to start script")?;
    let seen = || std::fs::read(&typed).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    // The flow has one stage.
    let shown = until(PATIENCE, "a bar per stage", || {
        let text = seen();
        Ok((text.contains("m1 ") && text.contains(" tasks") && text.contains(" running")).then_some(()))
    });
    let ended = shown
        .and_then(|()| gate.open())
        .and_then(|()| until(PATIENCE, "the end of status --watch", || child.try_wait().context("failed to wait for script")));
    if ended.is_err() {
        drop(child.kill());
    }
    let status = ended.with_context(|| format!("the terminal shows {:?}", seen()))?;
    let text = seen();
    ensure!(status.success() && text.contains("goes  Succeeded") && text.contains("OUTPUTS"), "{status}: {text:?}");
    Ok(())
}

/// A table of kubectl's: cells begin below the names of their columns.
struct Rows<'a> {
    head: Vec<(usize, &'a str)>,
    lines: Vec<&'a str>,
}

impl<'a> Rows<'a> {
    fn read(table: &'a str) -> Result<Rows<'a>> {
        let mut lines = table.lines();
        let head = lines.next().context("the table is empty")?;
        let starts = head.split_whitespace().map(|name| (name.as_ptr() as usize - head.as_ptr() as usize, name));
        Ok(Rows { head: starts.collect(), lines: lines.collect() })
    }

    fn cell(&self, row: &str, column: &str) -> Result<&'a str> {
        let at = self.head.iter().position(|(_, name)| *name == column).with_context(|| format!("no column {column}"))?;
        let line = self.lines.iter().find(|line| line.split_whitespace().next() == Some(row));
        let line = line.with_context(|| format!("no row {row}"))?;
        let end = self.head.get(at + 1).map_or(line.len(), |(start, _)| *start).min(line.len());
        Ok(line.get(self.head[at].0.min(end)..end).unwrap_or_default().trim())
    }
}

fn previews(cluster: &Cluster) -> Result<()> {
    product::install(cluster)?;
    let namespace = cluster.namespace("flows-previews")?;
    let (name, user) = (namespace.name(), User::new(cluster, namespace.name())?);
    let steps = json!([
        {"name": "words", "read": {"inline": {"lines": ["ä b", "c"]}}},
        {"name": "shown", "from": ["words"], "write": {"stdout": {"format": "<%s>"}}},
        {"name": "hidden", "from": ["words"], "write": {"stdout": {"preview": false}}}
    ]);
    cluster.apply(name, &product::flow("few", steps, json!({})))?;
    let steps = json!([
        {"name": "numbers", "read": {"range": {"to": 300_000}}},
        {"name": "show", "write": {"stdout": {"format": "row %d"}}},
    ]);
    cluster.apply(name, &product::flow("many", steps, json!({})))?;
    let status = await_complete(cluster, name, "few")?;
    let output = |step: &str| {
        let mut outputs = status["outputs"].as_array().into_iter().flatten();
        outputs.find(|output| output["step"] == step).cloned().with_context(|| format!("no output of {step}: {status:#}"))
    };
    let (shown, hidden) = (output("shown")?, output("hidden")?);
    ensure!(shown["preview"] == "<ä b>\n<c>\n" && shown["rows"] == 2, "{shown:#}");
    ensure!(hidden["preview"].is_null() && hidden["rows"] == 2, "{hidden:#}");
    let viewer = User::viewing(cluster, name)?;
    for (step, printed) in [("shown", "<ä b>\n<c>\n"), ("hidden", "ä b\nc\n")] {
        for user in [&user, &viewer] {
            let output = user.gleamflow(cluster, &["output", "few", "--step", step])?;
            ensure!(output == printed, "{step}: {output:?}");
        }
    }

    let status = await_complete(cluster, name, "many")?;
    let output = &status["outputs"][0];
    let preview = text(&output["preview"]);
    ensure!(output["location"] == "NodeLocal" && preview.ends_with('\n') && preview.len() <= 4096, "{output:#}");
    let lines: Vec<&str> = preview.lines().collect();
    let whole = |line: &&str| line.strip_prefix("row ").is_some_and(|number| number.parse::<u32>().is_ok());
    ensure!(lines.len() > 10 && lines.iter().all(whole), "{preview:?}");
    odd_characters(cluster, name)
}

/// Characters that a reader of YAML, which takes what is applied, refuses or takes for ends of lines.
fn odd_characters(cluster: &Cluster, name: &str) -> Result<()> {
    const ODD: &str = "a\u{7f}b\u{80} \u{85} \u{2028} \u{feff}\u{fffe}";
    let escaped: String = ODD.bytes().map(|byte| format!("\\{byte}")).collect();
    let steps = |body: &str| {
        json!([
            {"name": "one", "read": {"range": {"to": 1}}},
            {"name": "odd", "map": {"lua": format!("function(x) {body} end")}},
            {"name": "show", "write": {"stdout": {}}},
        ])
    };
    cluster.apply(name, &product::flow("odd", steps(&format!("return \"{escaped}\"")), json!({})))?;
    let refused = steps(&format!("error(\"{escaped}\")"));
    cluster.apply(name, &product::flow("refused", refused, json!({"retry": {"limit": 0}})))?;
    let status = await_complete(cluster, name, "odd")?;
    ensure!(status["outputs"][0]["preview"] == format!("{ODD}\n"), "{status:#}");
    let failed = await_condition(cluster, name, "refused", "Failed", "True", "UdfError")?;
    ensure!(text(&condition(&failed, "Failed")["message"]).contains(ODD), "{failed:#}");
    Ok(())
}

fn helpers(cluster: &Cluster) -> Result<()> {
    product::install(cluster)?;
    let namespace = cluster.namespace("flows-helpers")?;
    let (name, user) = (namespace.name(), User::new(cluster, namespace.name())?);
    let steps = json!([
        {"name": "words", "read": {"inline": {"lines": ["a", "b"]}}},
        {"name": "loud", "map": {"lua": "function(word) return loud(word) end"}},
        {"name": "show", "write": {"stdout": {}}}
    ]);
    let from = json!({"luaFrom": {"configMapKeyRef": {"name": "helpers", "key": "loud.lua"}}});
    let helpers = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "helpers"},
        "data": {"loud.lua": "function loud(word) return word:upper() .. '!' end"}});
    cluster.apply(name, &helpers)?;
    cluster.apply(name, &product::flow("helped", steps, from))?;
    await_complete(cluster, name, "helped")?;
    let output = user.gleamflow(cluster, &["output", "helped"])?;
    ensure!(product::sorted(&output) == ["A!", "B!"], "it gives {output:?}");
    Ok(())
}
