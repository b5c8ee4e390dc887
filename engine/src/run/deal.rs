//! The map side of a shuffle: sinks that deal rows into buckets, or sort them into runs.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex, OnceLock};

use plan::{Group, Key, Node, NodeId, Op, Plan};

use crate::key;
use crate::lock::lock;
use crate::op::combine::MapCombine;
use crate::op::group;
use crate::op::limit::Limit;
use crate::op::sort::Sorter;
use crate::op::sorted_run::SortedRun;
use crate::outbox::Outbox;
use crate::shuffle::{BucketWriter, Leg, MapTask, Shuffle};
use crate::{Error, Result, RowScratch, RowSink, TaskContext, Val};

use super::chain::Chain;
use super::switch::{self, Switched};
use super::{away, fold};

/// Where the map tasks of a stage put the rows of one group.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) group: NodeId,
    /// Combine nodes that run before the shuffle.
    pub(crate) combine: Vec<NodeId>,
    pub(crate) shuffle: Arc<Shuffle>,
    /// Of a sort or sorted merge instead of buckets.
    pub(crate) runs: Mutex<BTreeMap<MapTask, Vec<SortedRun>>>,
    /// Of a join whose small sides turned out small: what the rows of the other one do instead of being shuffled.
    pub(crate) switched: OnceLock<Switched>,
}

impl Target {
    pub(crate) fn new(group: NodeId, combine: Vec<NodeId>, shuffle: Arc<Shuffle>) -> Target {
        Target { group, combine, shuffle, runs: Mutex::default(), switched: OnceLock::new() }
    }
}

/// The sink of one map task for a group.
pub(crate) fn deal(chain: &Chain<'_>, target: &Arc<Target>) -> Result<Box<dyn RowSink>> {
    let node = chain.job.plan.graph.node(target.group);
    let Op::Group(group) = &node.op else {
        return Err(Error::Plan(format!("step {:?} is no group", node.step)));
    };
    let writer = BucketWriter::new(Arc::clone(&target.shuffle), chain.task).beside(chain.feeds.shuffles);
    let sorts = matches!(group, Group::Sort { .. } | Group::Merge { .. });
    if writer.buckets() == 0 && !sorts {
        return Err(Error::Plan(format!("the task was not told how many buckets the shuffle of step {:?} has", node.step)));
    }
    Ok(match group {
        Group::ByKey { key, .. } if target.combine.is_empty() => by_key(chain, node, key, writer),
        Group::ByKey { key, values, .. } => {
            let nodes: Vec<&Node> = target.combine.iter().map(|id| chain.job.plan.graph.node(*id)).collect();
            let folds = fold::folds(chain, &nodes)?;
            let table = MapCombine::new(key.clone(), *values, folds, chain.share(&node.step));
            let table = if chain.job.away.is_some() { table.far() } else { table };
            Box::new(Combine { table: Some(table), writer })
        }
        Group::Hash { key } => by_key(chain, node, key, writer),
        Group::ByLeg { legs } => {
            let shuffled = by_leg(chain, node, *legs, writer)?;
            match target.switched.get() {
                Some(switched) => switch::probe(chain, switched, shuffled)?,
                None => shuffled,
            }
        }
        Group::Sort { by } | Group::Merge { by } => {
            let sorter = Sorter::new(by, chain.share(&node.step));
            let outbox = chain.job.away.as_ref().map(|away| Arc::clone(&away.outbox));
            Box::new(Sort { sorter: Some(sorter), task: chain.task, target: Arc::clone(target), outbox })
        }
        Group::Gather => {
            let (ordinal, count) = chain.place;
            let next = ordinal * writer.buckets() / count.max(1);
            Box::new(InTurn { writer, next, step: 0 })
        }
        Group::RoundRobin => Box::new(InTurn { next: chain.place.0 % writer.buckets(), writer, step: 1 }),
        Group::Limit { n, offset } => Box::new(Limit::ahead(*n, *offset, InTurn { writer, next: 0, step: 0 })),
    })
}

fn by_key(chain: &Chain<'_>, node: &Node, key: &Key, writer: BucketWriter) -> Box<dyn RowSink> {
    Box::new(ByKey { ctx: Rc::clone(chain.ctx), step: node.step.clone(), key: key.clone(), encoded: Vec::new(), writer })
}

/// Rows as they are, by the hash of their key.
struct ByKey {
    ctx: Rc<TaskContext>,
    step: String,
    key: Key,
    encoded: Vec<u8>,
    writer: BucketWriter,
}

impl RowSink for ByKey {
    fn push(&mut self, row: &[Val<'_>]) -> Result<()> {
        let hash = key::hash_key(row, &self.key, &mut self.encoded);
        let hash = hash.map_err(|missing| self.ctx.fail(&self.step, Some(row), missing))?;
        let bucket = self.writer.bucket(hash);
        self.writer.note(bucket, hash);
        self.writer.push(bucket, row)
    }

    fn finish(&mut self) -> Result<()> {
        self.writer.finish()
    }
}

/// Rows folded before the shuffle: what leaves is key fields, then partial results.
struct Combine {
    table: Option<MapCombine>,
    writer: BucketWriter,
}

impl RowSink for Combine {
    fn push(&mut self, row: &[Val<'_>]) -> Result<()> {
        let writer = &mut self.writer;
        let table = self.table.as_mut().expect("not finished yet");
        table.push(row, &mut |hash, partial| writer.push(writer.bucket(hash), partial))
    }

    fn finish(&mut self) -> Result<()> {
        let writer = &mut self.writer;
        let table = self.table.take().expect("finished once");
        table.finish(&mut |hash, partial| writer.push(writer.bucket(hash), partial))?;
        writer.finish()
    }
}

/// A row of a join's leg becomes (leg, key fields, values).
pub(crate) struct Tag {
    ctx: Rc<TaskContext>,
    step: String,
    leg: u32,
    key: Vec<u32>,
    scratch: RowScratch,
    out: Box<dyn RowSink>,
}

impl Tag {
    pub(crate) fn new(ctx: &Rc<TaskContext>, node: &Node, leg: u32, key: &[u32], out: Box<dyn RowSink>) -> Tag {
        Tag { ctx: Rc::clone(ctx), step: node.step.clone(), leg, key: key.to_vec(), scratch: RowScratch::default(), out }
    }
}

impl RowSink for Tag {
    fn push(&mut self, row: &[Val<'_>]) -> Result<()> {
        let mut tagged = self.scratch.take();
        group::tag(self.leg, &self.key, row, &mut tagged).map_err(|missing| self.ctx.fail(&self.step, Some(row), missing))?;
        let result = self.out.push(&tagged);
        self.scratch.give(tagged);
        result
    }

    fn finish(&mut self) -> Result<()> {
        self.out.finish()
    }

    fn wants_more(&self) -> bool {
        self.out.wants_more()
    }
}

/// Tagged rows, by the hash of their key fields.
struct ByLeg {
    keys: usize,
    /// The leg of the rows so far.
    only: Option<i64>,
    /// Since the shuffle was told last.
    seen: Vec<Leg>,
    untold: u32,
    encoded: Vec<u8>,
    writer: BucketWriter,
    shuffle: Arc<Shuffle>,
}

/// After so many rows a shuffle is told what was seen.
const TELL: u32 = 4096;

/// How many key fields the tagged rows of a join have.
pub(crate) fn key_fields(plan: &Plan, group: &Node) -> Result<usize> {
    let graph = &plan.graph;
    let mut open = group.inputs.clone();
    while let Some(collection) = open.pop() {
        let producer = graph.node(graph.collection(collection).producer);
        match &producer.op {
            Op::Flatten { .. } => open.extend(&producer.inputs),
            Op::ParallelDo(plan::Do::Tag { key, .. }) => return Ok(key.len()),
            _ => break,
        }
    }
    Err(Error::Plan(format!("the shuffle of step {:?} reads rows without a tag", group.step)))
}

fn by_leg(chain: &Chain<'_>, node: &Node, legs: u32, writer: BucketWriter) -> Result<Box<dyn RowSink>> {
    let target = &chain.reach.groups[&node.id];
    Ok(Box::new(ByLeg {
        keys: key_fields(&chain.job.plan, node)?,
        only: None,
        seen: vec![Leg::default(); legs as usize],
        untold: 0,
        encoded: Vec::new(),
        writer,
        shuffle: Arc::clone(&target.shuffle),
    }))
}

impl ByLeg {
    fn tell(&mut self) {
        self.shuffle.note_legs(&self.seen);
        self.seen.fill(Leg::default());
        self.untold = 0;
    }
}

impl RowSink for ByLeg {
    fn push(&mut self, row: &[Val<'_>]) -> Result<()> {
        let Some((Val::Int(leg), keyed)) = row.split_first() else {
            return Err(Error::Corrupt("a row of a join has no tag"));
        };
        if self.only != Some(*leg) && self.only.replace(*leg).is_some() {
            self.shuffle.note_mixed();
        }
        let seen = &mut self.seen[*leg as usize];
        seen.rows += 1;
        seen.width = seen.width.max((keyed.len() - self.keys) as u32);
        let (hash, plain) = key::hash_fields(&keyed[..self.keys], &mut self.encoded);
        seen.odd |= !plain;
        let bucket = self.writer.bucket(hash);
        self.writer.note(bucket, hash);
        seen.bytes += self.writer.push_measured(bucket, row)?;
        self.untold += 1;
        if self.untold >= TELL {
            self.tell();
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        self.tell();
        self.writer.finish()
    }
}

/// Buckets in turn (round robin), or one bucket for the whole task (gather).
struct InTurn {
    writer: BucketWriter,
    next: usize,
    step: usize,
}

impl RowSink for InTurn {
    fn push(&mut self, row: &[Val<'_>]) -> Result<()> {
        let bucket = self.next;
        self.next = (bucket + self.step) % self.writer.buckets();
        self.writer.push(bucket, row)
    }

    fn finish(&mut self) -> Result<()> {
        self.writer.finish()
    }
}

/// Sorted runs.
struct Sort {
    sorter: Option<Sorter>,
    task: MapTask,
    target: Arc<Target>,
    /// Where the runs go, if not into the target.
    outbox: Option<Arc<Outbox>>,
}

impl RowSink for Sort {
    fn push(&mut self, row: &[Val<'_>]) -> Result<()> {
        self.sorter.as_mut().expect("not finished yet").push(row)
    }

    fn finish(&mut self) -> Result<()> {
        let runs = self.sorter.take().expect("finished once").into_runs()?;
        if let Some(outbox) = &self.outbox {
            return runs.into_iter().try_for_each(|run| away::send_run(outbox, self.target.group, self.task, &run));
        }
        // Not `insert`: one task may feed a sort on several ways (a union of a step with itself).
        lock(&self.target.runs).entry(self.task).or_default().extend(runs);
        Ok(())
    }
}
