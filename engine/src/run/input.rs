//! What the map tasks of a stage read: splits of sources and parts of stored collections.

use std::sync::Arc;

use plan::task::{Held, MapInput};
use plan::{CollectionId, Fingerprint, InputChannel, Mscr, Node, NodeId, OnError, Op, Paths, Source};

use crate::cache::{Entry, PartReader};
use crate::shuffle::MapTask;
use crate::source::{self, Split, Target, Wanted};
use crate::worker::Frames;
use crate::{Batch, BatchLog, Error, Result, RowScratch, RowSink, TaskContext, Val};

use super::job::Job;

/// One map task: what it reads, and for which collection.
#[derive(Debug)]
pub(crate) struct Input {
    pub(crate) task: MapTask,
    pub(crate) collection: CollectionId,
    from: From,
}

#[derive(Debug)]
enum From {
    /// For the rows of a read node, or for what it sets aside of them.
    Split(NodeId, Split, Wants),
    Part(Arc<BatchLog>),
    /// Stored pieces that other processes hold.
    Held(Vec<Held>),
    /// A partition of a result of an earlier run.
    Cached(NodeId, Arc<Entry>, usize),
    /// A source without files still has one partition: a pipe runs for it.
    Nothing,
}

/// Which output of a read node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wants {
    Rows,
    Letters,
}

/// All map tasks of a stage, in order.
pub(crate) fn inputs(job: &Job, stage: &Mscr) -> Result<Vec<Input>> {
    let mut found = Vec::new();
    for (channel, input) in stage.inputs.iter().enumerate() {
        for (read, (collection, from)) in sources_of(job, input)?.into_iter().enumerate() {
            let task = |split| MapTask { channel, read, split };
            found.extend(from.into_iter().enumerate().map(|(split, from)| Input { task: task(split), collection, from }));
        }
    }
    Ok(found)
}

/// What a channel reads, a flatten resolved to its inputs; each with the collection whose consumers get the rows.
fn sources_of(job: &Job, channel: &InputChannel) -> Result<Vec<(CollectionId, Vec<From>)>> {
    let mut found = Vec::new();
    for &collection in &channel.reads {
        if job.forwards.contains_key(&collection) {
            // Its rows came while the stage before ran; it keeps its number among the reads.
            found.push((collection, Vec::new()));
            continue;
        }
        collect(job, collection, collection, &mut found)?;
    }
    Ok(found)
}

fn collect(job: &Job, read: CollectionId, part: CollectionId, found: &mut Vec<(CollectionId, Vec<From>)>) -> Result<()> {
    let producer = job.plan.graph.node(job.plan.graph.collection(part).producer);
    match &producer.op {
        Op::Flatten { .. } => producer.inputs.iter().try_for_each(|input| collect(job, read, *input, found)),
        // Of several stages that read a stored source, the first one reads the files and stores the rows.
        Op::Read(source) if !job.keeps(part) || job.parts(part).is_empty() => {
            let wants = if producer.outputs.get(1) == Some(&part) { Wants::Letters } else { Wants::Rows };
            found.push((read, splits(job, producer, source, wants)?));
            Ok(())
        }
        Op::Read(_) | Op::ParallelDo(_) | Op::Group(_) | Op::Combine(_) | Op::Operate(_) => {
            found.push((read, job.parts(part).into_iter().map(From::Part).collect()));
            Ok(())
        }
    }
}

fn splits(job: &Job, node: &Node, source: &Source, wants: Wants) -> Result<Vec<From>> {
    let mut paths = Vec::new();
    match source {
        Source::Cached { entry, .. } => return cached(job, node, entry),
        Source::Files { paths: Paths::Rows, .. } => {
            for part in job.parts(node.inputs[0]) {
                let mut reader = part.reader();
                while let Some(batch) = reader.next_batch()? {
                    read_paths(node, &batch, &mut paths)?;
                }
            }
        }
        Source::Files { .. } | Source::Inline { .. } | Source::Range { .. } => {}
    }
    let splits = list(job, node, source, &paths, job.run.threads)?;
    if splits.is_empty() {
        return Ok(vec![From::Nothing]);
    }
    Ok(splits.into_iter().map(|split| From::Split(node.id, split, wants)).collect())
}

fn entry_of(job: &Job, node: &Node, entry: &Fingerprint) -> Result<Arc<Entry>> {
    let found = job.cache.as_ref().and_then(|cache| cache.find(entry));
    found.ok_or_else(|| Error::in_step(&node.step, "its result is not in the cache any more; run the flow again"))
}

/// The partitions of a result of an earlier run, for tasks that run in other processes.
pub(crate) fn list_cached(job: &Job, node: &Node, entry: &Fingerprint) -> Result<Vec<plan::task::Split>> {
    let entry = entry_of(job, node, entry)?;
    let split = |part: usize| plan::task::Split { encoded: (part as u64).to_le_bytes().to_vec(), bytes: entry.part_bytes(part) };
    Ok((0..entry.parts()).map(split).collect())
}

/// One of them.
fn cached_part(job: &Job, node: &Node, entry: &Fingerprint, split: &plan::task::Split) -> Result<From> {
    let part = <[u8; 8]>::try_from(split.encoded.as_slice()).map(u64::from_le_bytes);
    let part = part.map_err(|_| Error::Plan(format!("a split of step {:?} is of another source", node.step)))?;
    Ok(From::Cached(node.id, entry_of(job, node, entry)?, usize::try_from(part).unwrap_or(usize::MAX)))
}

/// The partitions of a result of an earlier run, as they were.
fn cached(job: &Job, node: &Node, entry: &Fingerprint) -> Result<Vec<From>> {
    let entry = entry_of(job, node, entry)?;
    let parts = (0..entry.parts()).map(|part| From::Cached(node.id, Arc::clone(&entry), part));
    Ok(if entry.parts() == 0 { vec![From::Nothing] } else { parts.collect() })
}

/// The splits of a read node; `paths`: the rows of another step that name its files, where they do.
pub(crate) fn list(job: &Job, node: &Node, source: &Source, paths: &[Vec<u8>], threads: usize) -> Result<Vec<Split>> {
    let channels = job.plan.mscrs.iter().flat_map(|stage| &stage.inputs);
    let reading = channels.filter(|channel| channel.reads.iter().any(|read| node.outputs.contains(read)));
    let steps = reading.map(|channel| channel.does.len()).sum();
    let wanted = Wanted { partitions: node.partitions.or(job.partitions), threads, steps };
    source::list(source, Some(paths), &job.run, wanted).map_err(|error| Error::in_step(&node.step, error))
}

/// Appends the paths that are rows of another step.
pub(crate) fn read_paths(node: &Node, batch: &Batch, paths: &mut Vec<Vec<u8>>) -> Result<()> {
    batch.for_each(&mut RowScratch::default(), |row| match row.first() {
        Some(Val::Str(path)) => {
            paths.push(path.to_vec());
            Ok(())
        }
        _ => Err(Error::Step {
            step: node.step.clone(),
            origin: None,
            row: Some(crate::codec::preview(row)),
            source: "the first field of a pathsFrom row must be a path (a string)".into(),
        }),
    })
}

impl Input {
    /// What a single task is told to read.
    pub(crate) fn of_task(job: &Job, task: MapTask, collection: CollectionId, input: &MapInput) -> Result<Input> {
        let from = match input {
            MapInput::Split { node, split, letters } => match &job.plan.graph.node(*node).op {
                Op::Read(Source::Cached { entry, .. }) => cached_part(job, job.plan.graph.node(*node), entry, split)?,
                _ => {
                    let wants = if *letters { Wants::Letters } else { Wants::Rows };
                    From::Split(*node, source::decode(split, &job.run.stores)?, wants)
                }
            },
            MapInput::Stored { pieces } => From::Held(pieces.clone()),
            MapInput::Nothing => From::Nothing,
        };
        Ok(Input { task, collection, from })
    }

    /// Pushes all rows into a chain, and finishes it.
    pub(crate) fn run(&self, job: &Job, ctx: &TaskContext, out: &mut dyn RowSink) -> Result<()> {
        match &self.from {
            From::Split(node, split, wants) => read(job, job.plan.graph.node(*node), ctx, (split, *wants), out)?,
            From::Part(part) => push_log(ctx, part, out)?,
            From::Held(pieces) => drop(push_frames(ctx, job.fetch(pieces)?, out)?),
            From::Cached(node, entry, part) => push_cached(ctx, &job.plan.graph.node(*node).step, entry.reader(*part), out)?,
            From::Nothing => {}
        }
        out.finish()
    }

    /// Whether an earlier stage made its rows.
    pub(crate) fn is_stored(&self) -> bool {
        match self.from {
            From::Part(_) | From::Held(_) => true,
            From::Split(..) | From::Cached(..) | From::Nothing => false,
        }
    }

    /// The read node of a task that reads a source.
    pub(crate) fn source(&self) -> Option<NodeId> {
        match &self.from {
            From::Split(node, ..) => Some(*node),
            From::Part(_) | From::Held(_) | From::Cached(..) | From::Nothing => None,
        }
    }
}

/// Reads a split for one of the node's outputs: each has its own readers, perhaps in another stage.
fn read(job: &Job, node: &Node, ctx: &TaskContext, (split, wants): (&Split, Wants), out: &mut dyn RowSink) -> Result<()> {
    let Op::Read(source) = &node.op else {
        return Err(Error::Plan(format!("step {:?} does not read", node.step)));
    };
    if wants == Wants::Letters {
        let mut letters = |raw: &[u8]| out.push(&[Val::Str(raw)]);
        let target = Target { out: &mut Dropped, bad: Some(&mut letters), counts: true };
        return source::read_into(split, source, ctx, &node.step, target);
    }
    let letters_are_read =
        node.outputs.get(1).is_some_and(|letters| job.plan.graph.nodes.values().any(|other| other.inputs.contains(letters)));
    let mut drop_letter = |_: &[u8]| Ok(());
    let bad: Option<&mut dyn FnMut(&[u8]) -> Result<()>> = match node.on_error {
        OnError::Fail => None,
        OnError::Skip | OnError::DeadLetter => Some(&mut drop_letter),
    };
    source::read_into(split, source, ctx, &node.step, Target { out, bad, counts: !letters_are_read })
}

/// Takes rows that are wanted elsewhere, all of them: bad ones may come behind any.
struct Dropped;

impl RowSink for Dropped {
    fn push(&mut self, _row: &[Val<'_>]) -> Result<()> {
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Pushes frames into a sink as they arrive; how many rows that were.
pub(crate) fn push_frames(ctx: &TaskContext, frames: Frames, out: &mut dyn RowSink) -> Result<u64> {
    let (mut scratch, mut rows) = (RowScratch::default(), 0);
    for batch in frames {
        ctx.check_running()?;
        let batch = batch?;
        batch.for_each(&mut scratch, |row| out.push(row))?;
        rows += batch.rows as u64;
        if !out.wants_more() {
            break;
        }
    }
    Ok(rows)
}

/// Pushes a stored part into a sink.
pub(crate) fn push_log(ctx: &TaskContext, log: &BatchLog, out: &mut dyn RowSink) -> Result<()> {
    let (mut reader, mut scratch) = (log.reader(), RowScratch::default());
    while let Some(batch) = reader.next_batch()? {
        ctx.check_running()?;
        batch.for_each(&mut scratch, |row| out.push(row))?;
        if !out.wants_more() {
            break;
        }
    }
    Ok(())
}

fn push_cached(ctx: &TaskContext, step: &str, mut reader: PartReader, out: &mut dyn RowSink) -> Result<()> {
    let mut scratch = RowScratch::default();
    while let Some(batch) = reader.next_batch()? {
        ctx.check_running()?;
        ctx.run.count_bytes(step, batch.bytes.len() as u64);
        batch.for_each(&mut scratch, |row| out.push(row))?;
        if !out.wants_more() {
            break;
        }
    }
    Ok(())
}
