//! Runs one MSCR: its map tasks, then its reduce tasks.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use plan::schedule::{self, stage_nodes};
use plan::{Mscr, NodeId, OutputChannel};

use crate::lock::lock;
use crate::report::{Observer, Phase, Sizes, StageReport};
use crate::shuffle::{Leg, MapTask, Shuffle};
use crate::{Result, TaskContext};

use super::chain::{Chain, Feeds, Onward, Reach};
use super::deal::Target;
use super::input::{Input, inputs};
use super::job::Job;
use super::reduce;
use super::switch::Gate;
use super::workers::{Crew, run_tasks};

/// Runs a stage to its end.
pub(crate) fn run_stage(
    job: &Arc<Job>,
    stage: &Mscr,
    onward: &Onward,
    (crew, observer): (&Crew<'_>, &dyn Observer),
) -> Result<StageReport> {
    let begun = Instant::now();
    let targets = targets(job, stage);
    let inputs = inputs(job, stage)?;
    map(job, stage, &targets, (&inputs, onward), (crew, observer))?;
    let mut report = report(job, stage, &targets, &inputs);
    report.map_tasks = inputs.len() as u64;
    drop(inputs);
    report.reduce_tasks = reduce::run_reduce(job, stage, &targets, onward, (crew, observer))? as u64;
    targets.keys().for_each(|group| job.close_target(*group));
    observer.stage_finished(stage.id);
    report.seconds = begun.elapsed().as_secs_f64();
    report.outputs = outputs(job, stage);
    Ok(report)
}

/// One shuffle per grouping output.
pub(crate) fn targets(job: &Job, stage: &Mscr) -> BTreeMap<NodeId, Arc<Target>> {
    let mut targets = BTreeMap::new();
    for output in &stage.outputs {
        if let OutputChannel::Group { group, combine, .. } = output {
            let target = || Target::new(*group, combine.clone(), Arc::new(shuffle(job, *group)));
            targets.insert(*group, job.target(*group, target));
        }
    }
    targets
}

fn shuffle(job: &Job, group: NodeId) -> Shuffle {
    match &job.away {
        Some(away) => Shuffle::away(away.buckets(group), group, &away.outbox, exact_partitions(job, group).is_none()),
        None => Shuffle::new(buckets(job, group), &job.run.memory, &job.run.scratch).of_step(&job.plan.graph.node(group).step),
    }
}

/// The target of a group whose shuffle is over and lies elsewhere; `widths`: of the widest rows, by leg of a join.
pub(crate) fn read_target(job: &Job, output: &OutputChannel, widths: &[u32]) -> Option<Target> {
    let OutputChannel::Group { group, combine, .. } = output else { return None };
    let shuffle = Arc::new(Shuffle::new(0, &job.run.memory, &job.run.scratch));
    let leg = |width: &u32| Leg { width: *width, ..Leg::default() };
    shuffle.note_legs(&widths.iter().map(leg).collect::<Vec<_>>());
    Some(Target::new(*group, combine.clone(), shuffle))
}

/// What was seen of the joins that were fed, by leg.
pub(crate) fn legs(targets: &BTreeMap<NodeId, Arc<Target>>) -> BTreeMap<NodeId, Vec<Leg>> {
    let seen = targets.iter().map(|(group, target)| (*group, target.shuffle.legs()));
    seen.filter(|(_, legs)| !legs.is_empty()).collect()
}

/// How many partitions a group must have; `None`: as its data asks for.
pub(crate) fn exact_partitions(job: &Job, group: NodeId) -> Option<usize> {
    schedule::exact_partitions(&job.plan, group, job.partitions)
}

fn buckets(job: &Job, group: NodeId) -> usize {
    schedule::buckets(&job.plan, group, job.partitions, job.run.threads)
}

fn map(
    job: &Arc<Job>,
    stage: &Mscr,
    targets: &BTreeMap<NodeId, Arc<Target>>,
    (inputs, onward): (&[Input], &Onward),
    (crew, observer): (&Crew<'_>, &dyn Observer),
) -> Result<()> {
    let reaches: Vec<Reach> = (0..stage.inputs.len()).map(|channel| reach(stage, channel, targets)).collect();
    observer.phase_started(stage.id, Phase::Map, inputs.len());
    let mut gate = Gate::new(job, stage, onward, |group| Arc::clone(&targets[&group]));
    let order = gate.order(&inputs.iter().map(|input| input.task.channel).collect::<Vec<_>>());
    run_tasks(crew, inputs.len(), &job.run.stop, |next| {
        let at = order[next];
        let input = &inputs[at];
        let _others_wait = if gate.is_late(input.task.channel) {
            gate.wait()?;
            None
        } else {
            Some(gate.early())
        };
        map_task(job, &reaches[input.task.channel], input, (at, inputs.len()))?;
        observer.task_finished(stage.id, Phase::Map);
        Ok(())
    })
}

/// What the tasks of an input channel may reach.
pub(crate) fn reach(stage: &Mscr, channel: usize, targets: &BTreeMap<NodeId, Arc<Target>>) -> Reach {
    let nodes = stage.inputs[channel].does.iter().copied().collect();
    let fed = stage.outputs.iter().filter_map(|output| match output {
        OutputChannel::Group { group, from, .. } if from.contains(&channel) => Some((*group, Arc::clone(&targets[group]))),
        OutputChannel::Group { .. } | OutputChannel::Pass { .. } => None,
    });
    Reach { nodes, groups: fed.collect() }
}

/// Runs one map task.
pub(crate) fn map_task(job: &Arc<Job>, reach: &Reach, input: &Input, place: (usize, usize)) -> Result<()> {
    let ctx = Rc::new(TaskContext::new(Arc::clone(&job.run), place.0));
    let (task, feeds) = (input.task, Feeds { shuffles: reach.groups.len(), part: 1 });
    let chain = Chain { job, ctx: &ctx, reach, onward: &Onward::new(), task, place, feeds };
    let mut out = if input.is_stored() { chain.stored(input.collection)? } else { chain.collection(input.collection)? };
    if let Some(away) = &job.away {
        out = away.watched(out);
    }
    input.run(job, &ctx, out.as_mut())
}

/// The reads whose files the stage reads.
fn sources(inputs: &[Input]) -> BTreeSet<NodeId> {
    inputs.iter().filter_map(Input::source).collect()
}

fn report(job: &Job, stage: &Mscr, targets: &BTreeMap<NodeId, Arc<Target>>, inputs: &[Input]) -> StageReport {
    let mut report = StageReport { id: stage.id.to_string(), ..StageReport::default() };
    for node in sources(inputs).into_iter().chain(stage_nodes(stage)) {
        let step = &job.plan.graph.node(node).step;
        if !report.steps.contains(step) {
            report.steps.push(step.clone());
        }
    }
    for target in targets.values() {
        let size = target.shuffle.total();
        report.shuffled_rows += size.rows;
        report.shuffled_bytes += size.bytes;
        job.note_shuffled(target.group, size);
        for run in lock(&target.runs).values().flatten() {
            report.shuffled_rows += run.rows() as u64;
            report.shuffled_bytes += run.bytes() as u64;
        }
    }
    report
}

/// Estimates and measures of what the stage stored.
fn outputs(job: &Job, stage: &Mscr) -> BTreeMap<String, Sizes> {
    let graph = &job.plan.graph;
    let made = stage_nodes(stage).into_iter().flat_map(|node| graph.node(node).outputs.clone());
    let stored = made.filter(|collection| job.keeps(*collection));
    let sizes = |collection| Sizes {
        estimated_bytes: graph.collection(collection).bytes,
        bytes: job.stored_bytes(collection),
        rows: job.rows(collection),
    };
    stored.map(|collection| (graph.collection(collection).name.clone(), sizes(collection))).collect()
}

/// The task key under which a reduce task's output is stored.
pub(crate) fn reduce_key(partition: usize) -> MapTask {
    MapTask { channel: 0, read: 0, split: partition }
}
