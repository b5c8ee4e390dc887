//! The last tasks of a run: what its sinks get is staged, and later made visible or removed, by whoever has the manifest.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use plan::task::{Answer, Done, Held, Manifest, StagedSink};
use plan::{Do, Op, Plan, Sink};

use super::{WorkerOptions, failed};
use crate::run::input::push_frames;
use crate::run::job::{Job, is_ordered_sink};
use crate::sink::manifest::{self, Attempts};
use crate::sink::{Staging, refuse_shared};
use crate::{Error, Result, TaskContext};

/// Stages the rows of every file sink; nothing stays if one of them fails. What other attempts staged is not touched: which of
/// them counts is not decided yet.
pub(super) fn stage(job: &Job, options: &WorkerOptions, attempt: u32, sinks: &BTreeMap<String, Vec<Held>>) -> Result<Done> {
    let mut staged = Manifest::default();
    let mut directories = BTreeMap::new();
    for (step, pieces) in sinks {
        let sink = sink(&job.plan, step)?;
        let ordered = is_ordered_sink(&job.plan, step);
        match stage_one(job, step, (sink, ordered), &format!("{}-{attempt}", options.run), pieces) {
            Ok((one, directory)) => {
                staged.sinks.insert(step.clone(), one);
                directories.extend(directory.map(|directory| (step.as_str(), directory)));
            }
            Err(error) => {
                undo(&staged, options);
                return Err(error);
            }
        }
    }
    if let Err(error) = refuse_shared(directories.into_iter()) {
        undo(&staged, options);
        return Err(error);
    }
    Ok(Done { answer: Some(Answer::Staged(staged)), ..Done::default() })
}

/// Stages one sink, and says which directory it writes to.
fn stage_one(
    job: &Job,
    step: &str,
    (sink, ordered): (&Sink, bool),
    tag: &str,
    pieces: &[Held],
) -> Result<(StagedSink, Option<PathBuf>)> {
    let staging = Staging::open_as(step, sink, &job.run, ordered, tag)?;
    let directory = staging.directory();
    let mut rows = 0;
    for (number, piece) in pieces.iter().enumerate() {
        let ctx = Rc::new(TaskContext::new(Arc::clone(&job.run), number));
        let mut writer = staging.writer(number, &ctx)?;
        let frames = job.fetch(std::slice::from_ref(piece))?;
        rows += push_frames(&ctx, frames, writer.as_mut())?;
        writer.finish()?;
    }
    Ok((StagedSink { rows, ..staging.hand_over()? }, directory))
}

/// Makes everything visible, then removes what other attempts staged; to be run again after any failure.
pub(super) fn commit(manifest: &Manifest, options: &WorkerOptions) -> Result<Done> {
    manifest.sinks.iter().try_for_each(|(step, staged)| manifest::commit(step, staged, &options.stores))?;
    let others = Attempts { run: &options.run, below: None };
    for (step, staged) in &manifest.sinks {
        // The output is whole: what lies beside it is not worth a run that never ends.
        if let Err(error) = manifest::sweep_beside(step, staged, &options.stores, others) {
            tracing::warn!(step, error = %failed(&error).message, "what other attempts staged could not be removed");
        }
    }
    Ok(Done::default())
}

/// Removes what will not be committed, and what attempts of lower numbers left: a later leader's may yet be committed.
pub(super) fn discard(job: &Job, manifest: Option<&Manifest>, options: &WorkerOptions, attempt: u32) -> Result<Done> {
    for (step, staged) in manifest.iter().flat_map(|manifest| &manifest.sinks) {
        manifest::discard(step, staged, &options.stores)?;
    }
    let earlier = Attempts { run: &options.run, below: Some(attempt) };
    for node in job.plan.graph.nodes.values() {
        if let Op::ParallelDo(Do::Write(sink)) = &node.op {
            manifest::sweep(&node.step, sink, &job.run, earlier)?;
        }
    }
    Ok(Done::default())
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
