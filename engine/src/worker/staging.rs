//! The last tasks of a run: what its sinks get is staged, and later made visible or removed, by whoever has the manifest.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use plan::task::{Answer, Done, Held, Manifest, StagedSink};
use plan::{Do, Op, Plan, Sink};

use super::WorkerOptions;
use crate::run::input::push_frames;
use crate::run::job::Job;
use crate::sink::{Staging, manifest};
use crate::{Error, Result, TaskContext};

/// Stages the rows of every file sink; nothing stays if one of them fails.
pub(super) fn stage(job: &Job, options: &WorkerOptions, attempt: u32, sinks: &BTreeMap<String, Vec<Held>>) -> Result<Done> {
    let mut staged = Manifest::default();
    for (step, pieces) in sinks {
        let sink = sink(&job.plan, step)?;
        let ordered = is_ordered(&job.plan, step);
        let result = manifest::sweep(step, sink, &job.run, |tag| is_of_run(tag, &options.run))
            .and_then(|()| stage_one(job, step, (sink, ordered), &format!("{}-{attempt}", options.run), pieces));
        match result {
            Ok(one) => staged.sinks.insert(step.clone(), one),
            Err(error) => {
                undo(&staged, options);
                return Err(error);
            }
        };
    }
    Ok(Done { answer: Some(Answer::Staged(staged)), ..Done::default() })
}

fn stage_one(job: &Job, step: &str, (sink, ordered): (&Sink, bool), tag: &str, pieces: &[Held]) -> Result<StagedSink> {
    let staging = Staging::open_as(step, sink, &job.run, ordered, tag)?;
    let mut rows = 0;
    for (number, piece) in pieces.iter().enumerate() {
        let ctx = Rc::new(TaskContext::new(Arc::clone(&job.run), number));
        let mut writer = staging.writer(number, &ctx)?;
        let frames = job.fetch(std::slice::from_ref(piece))?;
        rows += push_frames(&ctx, frames, writer.as_mut())?;
        writer.finish()?;
    }
    Ok(StagedSink { rows, ..staging.hand_over()? })
}

/// Makes everything visible; to be run again after any failure.
pub(super) fn commit(manifest: &Manifest, options: &WorkerOptions) -> Result<Done> {
    manifest.sinks.iter().try_for_each(|(step, staged)| manifest::commit(step, staged, &options.stores))?;
    Ok(Done::default())
}

/// Removes what will not be committed, and what killed attempts left.
pub(super) fn discard(job: &Job, manifest: Option<&Manifest>, options: &WorkerOptions) -> Result<Done> {
    for (step, staged) in manifest.iter().flat_map(|manifest| &manifest.sinks) {
        manifest::discard(step, staged, &options.stores)?;
    }
    for node in job.plan.graph.nodes.values() {
        if let Op::ParallelDo(Do::Write(sink)) = &node.op {
            manifest::sweep(&node.step, sink, &job.run, |tag| is_of_run(tag, &options.run))?;
        }
    }
    Ok(Done::default())
}

fn is_of_run(tag: &str, run: &str) -> bool {
    tag.strip_prefix(run).and_then(|rest| rest.strip_prefix('-')).is_some_and(|attempt| attempt.parse::<u32>().is_ok())
}

fn undo(staged: &Manifest, options: &WorkerOptions) {
    for (step, staged) in &staged.sinks {
        if let Err(error) = manifest::discard(step, staged, &options.stores) {
            tracing::warn!(step, %error, "staged output could not be removed");
        }
    }
}

fn sink<'p>(plan: &'p Plan, step: &str) -> Result<&'p Sink> {
    let of_step = |node: &'p plan::Node| match &node.op {
        Op::ParallelDo(Do::Write(sink)) if node.step == step => Some(sink),
        _ => None,
    };
    plan.graph.nodes.values().find_map(of_step).ok_or_else(|| Error::Plan(format!("step {step:?} does not write")))
}

/// Whether the rows of a sink are one sequence: copies of a write stand behind a union, whose order means nothing.
fn is_ordered(plan: &Plan, step: &str) -> bool {
    let mut writes = plan.graph.nodes.values().filter(|node| node.step == step && node.is_write());
    match (writes.next(), writes.next()) {
        (Some(write), None) => plan.graph.collection(write.inputs[0]).ordered,
        _ => false,
    }
}
