//! Tasks that look at sources: before the plan for names and sizes, before a stage for its splits.

use std::collections::BTreeMap;

use plan::task::{Answer, Done, Facts, Held, Wanted};
use plan::{CollectionId, InputChannel, InputFile, MscrId, NodeId, Op, Plan, Source};

use super::WorkerOptions;
use crate::run::input;
use crate::run::job::Job;
use crate::{Error, Result, source};

/// Names of fields and sizes, per read step. A source that cannot be looked at fails the task, with the step.
pub(super) fn inspect(
    sources: &[(String, Source)],
    mut versions: BTreeMap<String, Result<Vec<InputFile>, String>>,
    options: &WorkerOptions,
) -> Result<Done> {
    let look = |(step, source): &(String, Source)| {
        let facts = source::inspect(source, &options.base, &options.stores).map_err(|error| Error::in_step(step, error))?;
        Ok((step.clone(), Facts { fields: facts.fields, bytes: facts.bytes, versions: None }))
    };
    let mut facts = sources.iter().map(look).collect::<Result<BTreeMap<String, Facts>>>()?;
    while let Some((step, versions)) = versions.pop_first() {
        facts.entry(step).or_default().versions = Some(versions);
    }
    Ok(Done { answer: Some(Answer::Facts(facts)), ..Done::default() })
}

/// The splits of every source that a stage reads.
pub(super) fn split(job: &Job, stage: MscrId, wanted: Wanted, paths: &BTreeMap<NodeId, Vec<Held>>) -> Result<Answer> {
    let Some(stage) = job.plan.mscrs.iter().find(|mscr| mscr.id == stage) else {
        return Err(Error::Plan(format!("there is no stage {stage}")));
    };
    let mut splits = BTreeMap::new();
    for node in stage.inputs.iter().flat_map(|channel| read_nodes(&job.plan, channel)) {
        let node = job.plan.graph.node(node);
        let Op::Read(source) = &node.op else { continue };
        if let Source::Cached { entry, .. } = source {
            splits.insert(node.id, input::list_cached(job, node, entry)?);
            continue;
        }
        let mut rows = Vec::new();
        if let Some(pieces) = paths.get(&node.id) {
            for batch in job.fetch(pieces)? {
                input::read_paths(node, &batch?, &mut rows)?;
            }
        }
        let listed = input::list(job, node, source, &rows, wanted.slots.max(1) as usize)?;
        let listed = listed.iter().map(source::encode).collect::<Result<Vec<_>>>()?;
        splits.insert(node.id, listed);
    }
    Ok(Answer::Splits(splits))
}

/// The read nodes that a channel reads, flattens resolved to their inputs.
fn read_nodes(plan: &Plan, channel: &InputChannel) -> Vec<NodeId> {
    let (mut open, mut found): (Vec<CollectionId>, _) = (channel.reads.iter().rev().copied().collect(), Vec::new());
    while let Some(collection) = open.pop() {
        let producer = plan.graph.node(plan.graph.collection(collection).producer);
        match &producer.op {
            Op::Flatten { .. } => open.extend(producer.inputs.iter().rev()),
            Op::Read(_) => found.push(producer.id),
            Op::ParallelDo(_) | Op::Group(_) | Op::Combine(_) | Op::Operate(_) => {}
        }
    }
    found
}
