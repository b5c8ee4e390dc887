//! What a run tells while it goes on (an [`Observer`]) and when it is over (a [`Report`]).

use std::collections::BTreeMap;

use plan::{Decision, MscrId};
use serde::Serialize;

/// Sees a run's progress. Called from worker threads, at most once per block of rows.
pub trait Observer: Sync {
    /// A stage begins: it has `tasks` tasks in its current phase.
    fn phase_started(&self, stage: MscrId, phase: Phase, tasks: usize);

    /// One task of the phase is done.
    fn task_finished(&self, stage: MscrId, phase: Phase);

    /// A stage is over.
    fn stage_finished(&self, stage: MscrId);

    /// The run has failed: what had been done until then.
    fn run_failed(&self, report: Report);
}

/// Which side of a stage runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Map,
    Reduce,
}

/// An observer that looks away.
#[derive(Debug)]
pub struct Quiet;

impl Observer for Quiet {
    fn phase_started(&self, _: MscrId, _: Phase, _: usize) {}
    fn task_finished(&self, _: MscrId, _: Phase) {}
    fn stage_finished(&self, _: MscrId) {}
    fn run_failed(&self, _: Report) {}
}

/// What a finished run did.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub seconds: f64,
    /// Per step, in the order of the flow.
    pub steps: Vec<StepReport>,
    /// Per stage, in the order in which they ran.
    pub stages: Vec<StageReport>,
    /// What was decided when sizes were known: which joins switched to a broadcast, how shuffles were shared by tasks, and why.
    pub decisions: Vec<Decision>,
    /// Persisted collections that went into the cache.
    pub kept: Vec<String>,
}

/// What one step did, over all its copies and tasks.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StepReport {
    pub step: String,
    pub rows_in: u64,
    pub rows_out: u64,
    /// Bytes read from files (of the parts that were read, as they are stored), written to a sink, or shuffled (encoded rows,
    /// before compression).
    pub bytes: u64,
    /// Time in which a stage that ran the step was running (fused steps share theirs).
    pub seconds: f64,
    pub spilled_bytes: u64,
    /// Rows that `onError` set aside.
    pub set_aside: u64,
    /// Whether its rows are those of an earlier run, read from the cache.
    pub cached: bool,
}

/// What one stage did.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StageReport {
    pub id: String,
    /// The steps it ran, in order.
    pub steps: Vec<String>,
    pub seconds: f64,
    pub map_tasks: u64,
    pub reduce_tasks: u64,
    pub shuffled_rows: u64,
    pub shuffled_bytes: u64,
    /// The planner's estimate of each output collection's bytes beside what was measured, where either is known.
    pub outputs: BTreeMap<String, Sizes>,
}

/// An estimate and what came.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sizes {
    pub estimated_bytes: Option<u64>,
    pub bytes: u64,
    pub rows: u64,
}
