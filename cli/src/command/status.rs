//! `gleamflow status`: how a flow stands, once or for as long as it goes on.

use std::io::{self, IsTerminal};

use clap::Args;
use crds::GleamFlow;
use crds::status::{GleamFlowStatus, Phase, StageStatus};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cluster::follow::Following;
use crate::cluster::{self, Cluster, Target};
use crate::failure::Failure;
use crate::output;
use crate::table::aligned;

/// Show how a flow stands: conditions, stages, failures, outputs
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// The flow
    name: String,
    /// Follow it to the end of its run; exit code 1 if that fails
    #[arg(short, long)]
    watch: bool,
    #[command(flatten)]
    target: Target,
}

impl Status {
    pub(crate) fn execute(self) -> Result<(), Failure> {
        self.target.run(async |cluster: Cluster| {
            if self.watch {
                return follow(&cluster, &self.name).await;
            }
            output::print(described(&cluster.flow(&self.name).await?))
        })
    }
}

/// Shows bars on a terminal, a line per change elsewhere; the whole at the end.
async fn follow(cluster: &Cluster, name: &str) -> Result<(), Failure> {
    cluster.flow(name).await?;
    let bars = Bars::new();
    let mut following = Following::new(cluster, name);
    let mut last = String::new();
    loop {
        let flow = following.next().await?;
        let status = cluster::status(&flow);
        bars.show(&status, &mut last);
        if is_over(&flow, &status) {
            bars.clear();
            output::print(described(&flow))?;
            return if status.phase == Some(Phase::Failed) { Err(Failure::Told(1)) } else { Ok(()) };
        }
    }
}

/// Whether the operator has seen the newest object, and is done with it.
fn is_over(flow: &GleamFlow, status: &GleamFlowStatus) -> bool {
    let seen = flow.metadata.generation.is_some_and(|generation| status.observed_generation >= generation);
    seen && matches!(status.phase, Some(Phase::Succeeded | Phase::Failed | Phase::Suspended))
}

/// A bar per stage.
struct Bars {
    all: MultiProgress,
    shown: std::cell::RefCell<Vec<ProgressBar>>,
}

impl Bars {
    fn new() -> Bars {
        let target = if io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Bars { all: MultiProgress::with_draw_target(target), shown: std::cell::RefCell::default() }
    }

    fn show(&self, status: &GleamFlowStatus, last: &mut String) {
        let line = summary(status);
        if line != *last && self.all.is_hidden() {
            output::tell(&format!("{line}\n"));
        }
        *last = line;
        let mut shown = self.shown.borrow_mut();
        for (at, stage) in status.stages.iter().enumerate() {
            if at == shown.len() {
                shown.push(self.all.add(ProgressBar::new(0).with_style(style())));
            }
            shown[at].set_prefix(stage.name.clone());
            shown[at].set_length(u64::from(stage.desired));
            shown[at].set_position(u64::from(stage.succeeded));
            shown[at].set_message(running(stage));
        }
    }

    fn clear(&self) {
        self.shown.borrow().iter().for_each(ProgressBar::finish_and_clear);
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{prefix:12!} [{bar:30}] {pos}/{len} tasks {msg}").expect("the template is well formed")
}

fn running(stage: &StageStatus) -> String {
    let mut text = format!("{} running", stage.active);
    if stage.retried > 0 {
        text.push_str(&format!(", {} retried", stage.retried));
    }
    text
}

/// One line: phase, progress, executors, and why it waits.
fn summary(status: &GleamFlowStatus) -> String {
    let executors = status.executors.as_ref().map(|executors| format!("executors {}", executors.summary));
    let parts = [Some(cluster::phase(status)), status.progress.clone(), executors, status.reason.clone(), status.message.clone()];
    parts.into_iter().flatten().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("  ")
}

/// All of it, for people.
fn described(flow: &GleamFlow) -> String {
    let status = cluster::status(flow);
    let mut text = format!("{}  {}\n", flow.metadata.name.as_deref().unwrap_or_default(), summary(&status));
    if flow.metadata.generation.is_some_and(|generation| status.observed_generation < generation) {
        text.push_str("the operator has not seen the newest version of this flow yet\n");
    }
    let mut section = |title: &str, rows: Vec<Vec<String>>| {
        if rows.len() > 1 {
            text.push_str(&format!("\n{title}\n{}", aligned(&rows)));
        }
    };
    section("CONDITIONS", conditions(&status));
    section("STAGES", stages(&status));
    section("FAILURES", failures(&status));
    section("ROWS SET ASIDE", set_aside(&status));
    section("OUTPUTS", outputs(&status));
    section("PERSISTED", persisted(&status));
    section("DECISIONS", decisions(&status));
    text
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

fn conditions(status: &GleamFlowStatus) -> Vec<Vec<String>> {
    let rows = status
        .conditions
        .iter()
        .map(|condition| row([&condition.type_, &condition.status, &condition.reason, &condition.message]));
    std::iter::once(row(["TYPE", "STATUS", "REASON", "MESSAGE"])).chain(rows).collect()
}

fn stages(status: &GleamFlowStatus) -> Vec<Vec<String>> {
    let rows = status.stages.iter().map(|stage| {
        let counts = [stage.desired, stage.active, stage.succeeded, stage.failed, stage.retried].map(|count| count.to_string());
        std::iter::once(stage.name.clone()).chain(counts).collect()
    });
    std::iter::once(row(["STAGE", "TASKS", "RUNNING", "DONE", "FAILED", "RETRIED"])).chain(rows).collect()
}

fn failures(status: &GleamFlowStatus) -> Vec<Vec<String>> {
    let rows = status.failures.iter().map(|failure| {
        let step = failure.step.as_deref().unwrap_or("-");
        let pod = failure.pod.as_deref().unwrap_or("-");
        row([&failure.stage, step, &failure.partition.to_string(), &failure.attempt.to_string(), pod, &failure.message])
    });
    std::iter::once(row(["STAGE", "STEP", "PARTITION", "ATTEMPT", "POD", "MESSAGE"])).chain(rows).collect()
}

fn set_aside(status: &GleamFlowStatus) -> Vec<Vec<String>> {
    let rows = status.set_aside.iter().map(|aside| row([&aside.step, &aside.rows.to_string()]));
    std::iter::once(row(["STEP", "ROWS"])).chain(rows).collect()
}

fn outputs(status: &GleamFlowStatus) -> Vec<Vec<String>> {
    let rows =
        status.outputs.iter().map(|output| row([&output.step, &output.location, &count(output.rows), &count(output.bytes)]));
    std::iter::once(row(["STEP", "LOCATION", "ROWS", "BYTES"])).chain(rows).collect()
}

fn persisted(status: &GleamFlowStatus) -> Vec<Vec<String>> {
    let rows = status.persisted.iter().map(|result| {
        let message = result.message.as_deref().unwrap_or_default();
        row([&result.step, &format!("{:?}", result.state), &count(result.rows), &count(result.bytes), message])
    });
    std::iter::once(row(["STEP", "STATE", "ROWS", "BYTES", "MESSAGE"])).chain(rows).collect()
}

fn decisions(status: &GleamFlowStatus) -> Vec<Vec<String>> {
    let did = |did| if did { "yes" } else { "no" };
    let rows = status.decisions.iter().map(|told| row([&told.step, &told.pass, did(told.did), &told.reason]));
    std::iter::once(row(["STEP", "PASS", "DONE", "REASON"])).chain(rows).collect()
}

fn count(count: Option<i64>) -> String {
    count.map_or_else(|| "-".to_owned(), |count| count.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_is_described_from_its_status() {
        let text = r#"{"apiVersion": "gleamflow.io/v1alpha1", "kind": "GleamFlow", "metadata": {"name": "counts", "generation": 2},
            "spec": {"steps": [{"name": "a", "read": {"inline": {"lines": ["x"]}}}, {"name": "b", "write": {"stdout": {}}}]},
            "status": {"observedGeneration": 1, "phase": "Running", "progress": "3/8", "reason": "Running",
              "executors": {"desired": 2, "ready": 1, "pending": 1, "summary": "1/2"},
              "stages": [{"name": "m1", "desired": 8, "active": 1, "succeeded": 3, "failed": 0, "retried": 0}]}}"#;
        let flow: GleamFlow = serde_json::from_str(text).unwrap();
        let expected = "counts  Running  3/8  executors 1/2  Running\n\
            the operator has not seen the newest version of this flow yet\n\n\
            STAGES\nSTAGE   TASKS   RUNNING   DONE   FAILED   RETRIED\nm1      8       1         3      0        0\n";
        assert_eq!(described(&flow), expected);
    }
}
