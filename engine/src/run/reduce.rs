//! The reduce side of a stage: takes buckets or ranges of runs, brings each group together, pushes it on.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use plan::schedule::free_tasks;
use plan::task::Held;
use plan::{Group, Mscr, NodeId, Op, Order, OutputChannel};

use crate::lock::lock;
use crate::op::sort;
use crate::op::sorted_run::SortedRun;
use crate::report::{Observer, Phase};
use crate::shuffle::Shuffle;
use crate::{Error, Result, RowScratch, RowSink, TaskContext};

use super::chain::{Chain, Feeds, Onward, Reach};
use super::deal::Target;
use super::heads::head;
use super::input::push_frames;
use super::job::Job;
use super::shares::{Part, PartOf, Parted, Shared, shares, take};
use super::stage::{exact_partitions, reduce_key};
use super::streamed::streamed;
use super::workers::{Crew, run_tasks};

/// One reduce task.
struct Work {
    group: NodeId,
    /// Its place among the tasks of its group: (partition, count).
    place: (usize, usize),
    /// About how much it reads.
    bytes: u64,
    from: From,
}

pub(crate) enum From {
    Buckets(Arc<Shuffle>, Range<usize>),
    /// Some rows of a bucket.
    Part(Shared, Part),
    /// The rows of the runs from the first place on (inclusive) to the second (exclusive).
    Runs(Arc<Vec<SortedRun>>, (Option<Vec<u8>>, Option<Vec<u8>>)),
    /// Pieces of buckets that other processes hold.
    Held(Vec<Held>),
    /// Some rows of a bucket that other processes hold.
    HeldPart(Vec<Held>, Part),
    /// An exact partition that no row falls into.
    Nothing,
}

/// Runs all reduce tasks of a stage; how many there were.
pub(crate) fn run_reduce(
    job: &Arc<Job>,
    stage: &Mscr,
    targets: &BTreeMap<NodeId, Arc<Target>>,
    onward: &Onward,
    (crew, observer): (&Crew<'_>, &dyn Observer),
) -> Result<usize> {
    let mut work = Vec::new();
    for target in targets.values() {
        work.extend(tasks(job, target)?);
    }
    let reaches: BTreeMap<NodeId, Reach> = stage.outputs.iter().filter_map(reach).collect();
    observer.phase_started(stage.id, Phase::Reduce, work.len());
    // The largest first, so that none is left for the end; as they are numbered where they are alike.
    let mut order: Vec<usize> = (0..work.len()).collect();
    order.sort_by_key(|at| Reverse(work[*at].bytes));
    run_tasks(crew, work.len(), &job.run.stop, |next| {
        let work = &work[order[next]];
        reduce_task(job, (&reaches[&work.group], onward), &targets[&work.group], work)?;
        observer.task_finished(stage.id, Phase::Reduce);
        Ok(())
    })?;
    Ok(work.len())
}

fn reach(output: &OutputChannel) -> Option<(NodeId, Reach)> {
    match output {
        OutputChannel::Group { group, reduce, .. } => {
            Some((*group, Reach { nodes: reduce.iter().copied().collect(), groups: BTreeMap::new() }))
        }
        OutputChannel::Pass { .. } => None,
    }
}

fn tasks(job: &Job, target: &Target) -> Result<Vec<Work>> {
    let node = job.plan.graph.node(target.group);
    let from: Vec<(u64, From)> = if let Op::Group(Group::Sort { by } | Group::Merge { by }) = &node.op {
        let exact = exact_partitions(job, target.group);
        let runs: Vec<_> = std::mem::take(&mut *lock(&target.runs)).into_values().flatten().collect();
        let bytes: u64 = runs.iter().map(|run| run.bytes() as u64).sum();
        let parts = exact.unwrap_or_else(|| free_tasks(bytes, job.run.threads));
        let runs = sort::fewer_runs(runs, parts, by, &job.run.allowance(&node.step))?;
        // In order: a sink's first file is done first.
        ranges(runs, parts, exact.is_some()).into_iter().map(|range| (0, range)).collect()
    } else {
        shares(job, target)?
    };
    // Where map tasks of a join did what is else done here, they have the first numbers.
    let before = target.switched.get().map_or(0, |switched| switched.maps);
    let count = before + from.len();
    let work = from.into_iter().enumerate();
    Ok(work.map(|(at, (bytes, from))| Work { group: target.group, place: (before + at, count), bytes, from }).collect())
}

/// Ranges of about the same size of sorted runs, `parts` of them if that is exact.
fn ranges(runs: Vec<SortedRun>, parts: usize, exact: bool) -> Vec<From> {
    let bounds = sort::splitters(&runs, parts);
    let runs = Arc::new(runs);
    let range = |at: usize| (at.checked_sub(1).map(|lower| bounds[lower].clone()), bounds.get(at).cloned());
    let mut ranges: Vec<From> = (0..=bounds.len()).map(|at| From::Runs(Arc::clone(&runs), range(at))).collect();
    if exact {
        ranges.resize_with(parts, || From::Nothing);
    }
    ranges
}

fn reduce_task(job: &Arc<Job>, (reach, onward): (&Reach, &Onward), target: &Target, work: &Work) -> Result<()> {
    let ctx = Rc::new(TaskContext::new(Arc::clone(&job.run), work.place.0));
    let chain = Chain { job, ctx: &ctx, reach, onward, task: reduce_key(work.place.0), place: work.place, feeds: feeds(onward) };
    if let From::Buckets(shuffle, buckets) = &work.from
        && let Some(mut join) = streamed(&chain, target)?
    {
        for bucket in buckets.clone() {
            let kept = shuffle.take(bucket);
            if join.wants_more() {
                join.push_bucket(&ctx, kept)?;
            }
        }
        return join.finish();
    }
    let mut out = head(&chain, target)?;
    if let Some(away) = &job.away {
        out = away.watched(out);
    }
    match &work.from {
        From::Buckets(shuffle, buckets) => {
            let mut scratch = RowScratch::default();
            for bucket in buckets.clone() {
                push_bucket(&ctx, shuffle, bucket, &mut scratch, out.as_mut())?;
                out.settle()?;
            }
        }
        From::Part(shared, part) => {
            let (mut scratch, mut ours) = (RowScratch::default(), PartOf::new(part));
            for kept in take(shared).iter().flat_map(|kept| kept.iter()) {
                ctx.check_running()?;
                kept.read()?.for_each(&mut scratch, |row| ours.push(row, out.as_mut()))?;
            }
        }
        From::Runs(runs, (lower, upper)) => merge(job, target, runs, (lower.as_deref(), upper.as_deref()), out.as_mut())?,
        From::Held(pieces) => drop(push_frames(&ctx, job.fetch(pieces)?, out.as_mut())?),
        From::HeldPart(pieces, part) => {
            let mut ours = Parted { ours: PartOf::new(part), out: out.as_mut() };
            push_frames(&ctx, job.fetch(pieces)?, &mut ours)?;
        }
        From::Nothing => {}
    }
    out.finish()
}

/// Most of a reduce task's memory is for what it brings together; a quarter, beside that, for all that it feeds.
fn feeds(onward: &Onward) -> Feeds {
    Feeds { shuffles: onward.values().map(|(reach, _)| reach.groups.len()).sum(), part: 4 }
}

/// Runs one reduce task by itself.
pub(crate) fn run_single(
    job: &Arc<Job>,
    output: &OutputChannel,
    onward: &Onward,
    target: &Target,
    place: (usize, usize),
    from: From,
) -> Result<()> {
    let reach = reach(output).map(|(_, reach)| reach).unwrap_or_default();
    reduce_task(job, (&reach, onward), target, &Work { group: target.group, place, bytes: 0, from })
}

/// The sorted runs that other processes hold, each taken over whole: what does not fit into memory goes to disk.
pub(crate) fn fetch_runs(job: &Job, group: NodeId, by: &[Order], runs: &[Held]) -> Result<Vec<SortedRun>> {
    let allowance = job.run.allowance(&job.plan.graph.node(group).step);
    runs.iter().map(|run| sort::run_of(job.fetch(std::slice::from_ref(run))?, by, &allowance)).collect()
}

fn merge(
    job: &Job,
    target: &Target,
    runs: &[SortedRun],
    range: (Option<&[u8]>, Option<&[u8]>),
    out: &mut dyn RowSink,
) -> Result<()> {
    let node = job.plan.graph.node(target.group);
    match &node.op {
        plan::Op::Group(Group::Sort { by } | Group::Merge { by }) => {
            sort::merge_range(runs, by, range, &job.run.allowance(&node.step), out)
        }
        _ => Err(Error::Plan(format!("step {:?} does not sort", node.step))),
    }
}

fn push_bucket(
    ctx: &TaskContext,
    shuffle: &Shuffle,
    bucket: usize,
    scratch: &mut RowScratch,
    out: &mut dyn RowSink,
) -> Result<()> {
    for kept in shuffle.take(bucket) {
        ctx.check_running()?;
        kept.load()?.for_each(scratch, |row| out.push(row))?;
    }
    Ok(())
}
