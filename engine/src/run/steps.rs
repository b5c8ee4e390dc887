//! What each step did, from the counters of its collections and the stages that ran it.

use std::sync::atomic::Ordering;

use plan::Op;

use crate::report::{StageReport, StepReport};

use super::job::Job;

/// One report per step, in the order of the flow. `operated`: how long each operate ran, which is no part of a stage.
pub(crate) fn reports(job: &Job, stages: &[StageReport], operated: &[(&str, f64)]) -> Vec<StepReport> {
    let mut steps: Vec<StepReport> = Vec::new();
    for node in job.plan.graph.nodes.values() {
        if !steps.iter().any(|step| step.step == node.step) {
            steps.push(report(job, &node.step, stages, operated));
        }
    }
    steps
}

fn report(job: &Job, step: &str, stages: &[StageReport], operated: &[(&str, f64)]) -> StepReport {
    let graph = &job.plan.graph;
    let mut report = StepReport { step: step.to_owned(), ..StepReport::default() };
    for node in graph.nodes.values().filter(|node| node.step == step) {
        let outside = node.inputs.iter().filter(|input| graph.node(graph.collection(**input).producer).step != step);
        report.rows_in += outside.map(|input| flat_rows(job, *input)).sum::<u64>();
        let inner = |output| job.consumers.get(output).is_some_and(|nodes| nodes.iter().any(|id| graph.node(*id).step == step));
        report.cached |= matches!(node.op, Op::Read(plan::Source::Cached { .. }));
        let last = node.outputs.iter().filter(|output| !inner(output));
        report.rows_out += last.map(|output| flat_rows(job, *output)).sum::<u64>();
    }
    let of_step = |stage: &&StageReport| stage.steps.iter().any(|name| name == step);
    let in_stages = stages.iter().filter(of_step).map(|stage| stage.seconds);
    let alone = operated.iter().filter(|(name, _)| *name == step).map(|(_, seconds)| *seconds);
    // Not `sum`, which gives -0.0 of nothing.
    report.seconds = in_stages.chain(alone).fold(0.0, |total, seconds| total + seconds);
    let run = &job.run;
    report.spilled_bytes = run.spilled.get(step).map_or(0, |bytes| bytes.load(Ordering::Relaxed));
    report.set_aside = run.set_aside.get(step).map_or(0, |rows| rows.load(Ordering::Relaxed));
    report.bytes = run.bytes.get(step).map_or(0, |bytes| bytes.load(Ordering::Relaxed));
    report
}

/// Rows of a collection; a flatten is not counted itself.
fn flat_rows(job: &Job, collection: plan::CollectionId) -> u64 {
    let producer = job.plan.graph.node(job.plan.graph.collection(collection).producer);
    match producer.op {
        Op::Flatten { .. } => producer.inputs.iter().map(|input| flat_rows(job, *input)).sum(),
        Op::Read(_) | Op::ParallelDo(_) | Op::Group(_) | Op::Combine(_) | Op::Operate(_) => job.rows(collection),
    }
}
