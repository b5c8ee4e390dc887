//! Progress: a bar per stage on a terminal, nothing anywhere else.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use engine::report::{Observer, Phase, Report};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use plan::{MscrId, Plan};

/// Often enough to look alive, seldom enough to cost nothing.
const REDRAW: Duration = Duration::from_millis(200);

/// The bars of one run.
#[derive(Debug)]
pub(crate) struct Progress {
    bars: MultiProgress,
    labels: BTreeMap<MscrId, String>,
    shown: Mutex<BTreeMap<MscrId, ProgressBar>>,
    /// Of a run that failed: what it had done.
    reached: Mutex<Option<Report>>,
}

impl Progress {
    /// Bars on a terminal's standard error, unless the rows of the flow go to a terminal too, where they would be mixed up.
    pub(crate) fn new(plan: &Plan) -> Progress {
        let rows_on_terminal = writes_to_stdout(plan) && io::stdout().is_terminal();
        let visible = io::stderr().is_terminal() && !rows_on_terminal;
        let target = if visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let labels = plan.mscrs.iter().map(|stage| (stage.id, label(plan, stage))).collect();
        Progress { bars: MultiProgress::with_draw_target(target), labels, shown: Mutex::default(), reached: Mutex::default() }
    }

    /// Takes the bars away, whatever has become of the run.
    pub(crate) fn finish(&self) {
        for bar in self.lock().values() {
            bar.finish();
        }
    }

    /// What a run that failed had done, if it had begun.
    pub(crate) fn reached(&self) -> Option<Report> {
        self.reached.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<MscrId, ProgressBar>> {
        // A bar is never in an inconsistent state between calls.
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Progress {
    fn phase_started(&self, stage: MscrId, phase: Phase, tasks: usize) {
        let mut shown = self.lock();
        let bar = shown.entry(stage).or_insert_with(|| {
            let bar = self.bars.add(ProgressBar::new(0).with_style(style()));
            bar.set_prefix(self.labels.get(&stage).cloned().unwrap_or_else(|| stage.to_string()));
            bar.enable_steady_tick(REDRAW);
            bar
        });
        bar.set_message(match phase {
            Phase::Map => "map",
            Phase::Reduce => "reduce",
        });
        bar.set_position(0);
        bar.set_length(u64::try_from(tasks).unwrap_or(u64::MAX));
    }

    fn task_finished(&self, stage: MscrId, _: Phase) {
        if let Some(bar) = self.lock().get(&stage) {
            bar.inc(1);
        }
    }

    fn stage_finished(&self, stage: MscrId) {
        if let Some(bar) = self.lock().get(&stage) {
            bar.finish_with_message("done");
        }
    }

    fn run_failed(&self, report: Report) {
        *self.reached.lock().unwrap_or_else(PoisonError::into_inner) = Some(report);
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{prefix:32!} {msg:6} [{bar:30}] {pos}/{len} tasks {elapsed}")
        .expect("the template is well formed")
}

/// The stage's id and the steps of its first channel to its last group, as far as they fit.
fn label(plan: &Plan, stage: &plan::Mscr) -> String {
    let steps = stage.inputs.iter().flat_map(|channel| &channel.does).chain(stage.outputs.iter().filter_map(group_of));
    let mut names: Vec<&str> = steps.map(|&node| plan.graph.node(node).step.as_str()).collect();
    names.dedup();
    format!("{} {}", stage.id, names.join(" "))
}

fn group_of(output: &plan::OutputChannel) -> Option<&plan::NodeId> {
    match output {
        plan::OutputChannel::Group { group, .. } => Some(group),
        plan::OutputChannel::Pass { .. } => None,
    }
}

fn writes_to_stdout(plan: &Plan) -> bool {
    plan.graph.nodes.values().any(|node| matches!(node.op, plan::Op::ParallelDo(plan::Do::Write(plan::Sink::Stdout { .. }))))
}
