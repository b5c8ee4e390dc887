//! A run in progress: the plan, what has been stored so far, the open sinks, the counters.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use plan::schedule::{Forward, TASK_BYTES, kept};
use plan::task::Held;
use plan::{CollectionId, Decision, Do, NodeId, Op, Plan};

use crate::cache::Cache;
use crate::function::Side;
use crate::lock::lock;
use crate::op::OperatorError;
use crate::op::probe::{ProbeSpec, ProbeTable};
use crate::shuffle::{BucketSize, MapTask};
use crate::sink::{self, Staging};
use crate::worker::Frames;
use crate::{BatchLog, Error, Result, RunContext};

use super::away::Away;
use super::deal::Target;

/// Shared by the tasks of a run.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) plan: Arc<Plan>,
    pub(crate) run: Arc<RunContext>,
    /// Of a single task, whose rows come from elsewhere and go elsewhere.
    pub(crate) away: Option<Away>,
    /// `--partitions`.
    pub(crate) partitions: Option<u32>,
    /// What a reduce task has about, where the number of partitions is free.
    pub(crate) task_bytes: u64,
    /// Results of earlier runs.
    pub(crate) cache: Option<Arc<Cache>>,
    /// Collections that go from one stage straight into another.
    pub(crate) forwards: BTreeMap<CollectionId, Forward>,
    /// Shuffles that have been opened, by group node.
    targets: Mutex<BTreeMap<NodeId, Arc<Target>>>,
    /// Main consumers of each collection, once per edge.
    pub(crate) consumers: BTreeMap<CollectionId, Vec<NodeId>>,
    /// Commands, and nodes whose rows lead to one.
    pub(crate) waiting: BTreeSet<NodeId>,
    /// Collections whose rows must be kept.
    kept: BTreeSet<CollectionId>,
    stored: Mutex<BTreeMap<CollectionId, BTreeMap<MapTask, Arc<BatchLog>>>>,
    /// Per step that writes: copies of one write share a sink.
    sinks: BTreeMap<String, Arc<Staging>>,
    /// How many write tasks each unordered sink has had; names their files.
    writers: AtomicU64,
    rows: BTreeMap<CollectionId, Arc<AtomicU64>>,
    sides: Mutex<BTreeMap<CollectionId, Arc<BatchLog>>>,
    probes: Mutex<BTreeMap<NodeId, Option<Arc<ProbeTable>>>>,
    decisions: Mutex<Vec<Decision>>,
}

/// Whether the rows of a sink are one sequence: copies of a write stand behind the inputs of a union, whose order means nothing.
pub(crate) fn is_ordered_sink(plan: &Plan, step: &str) -> bool {
    let mut writes = plan.graph.nodes.values().filter(|node| node.step == step && node.is_write());
    match (writes.next(), writes.next()) {
        (Some(write), None) => plan.graph.collection(write.inputs[0]).ordered,
        _ => false,
    }
}

impl Job {
    /// Prepares a run: opens every sink, so that a sink that cannot be written fails before any work is done.
    pub(crate) fn open(
        plan: &Plan,
        run: Arc<RunContext>,
        partitions: Option<u32>,
        forwards: BTreeMap<CollectionId, Forward>,
    ) -> Result<Job> {
        let mut job = Job::of(Arc::new(plan.clone()), run, partitions, forwards);
        for node in plan.graph.nodes.values() {
            if let Op::ParallelDo(Do::Write(sink)) = &node.op
                && !job.sinks.contains_key(&node.step)
            {
                let ordered = is_ordered_sink(plan, &node.step);
                job.sinks.insert(node.step.clone(), Arc::new(Staging::open(&node.step, sink, &job.run, ordered)?));
            }
        }
        sink::refuse_shared(job.sinks.iter().filter_map(|(step, sink)| Some((step.as_str(), sink.directory()?))))?;
        Ok(job)
    }

    /// Prepares a single task of a run that is spread over processes.
    pub(crate) fn single(
        plan: &Arc<Plan>,
        run: Arc<RunContext>,
        partitions: Option<u32>,
        forwards: BTreeMap<CollectionId, Forward>,
        away: Away,
    ) -> Job {
        let job = Job::of(Arc::clone(plan), run, partitions, forwards);
        Job { away: Some(away), ..job }
    }

    fn of(plan: Arc<Plan>, run: Arc<RunContext>, partitions: Option<u32>, forwards: BTreeMap<CollectionId, Forward>) -> Job {
        Job {
            consumers: plan.graph.consumers(),
            waiting: waiting(&plan),
            kept: kept(&plan),
            rows: plan.graph.collections.keys().map(|id| (*id, Arc::default())).collect(),
            plan,
            run,
            away: None,
            partitions,
            task_bytes: TASK_BYTES,
            cache: None,
            forwards,
            targets: Mutex::default(),
            stored: Mutex::default(),
            sinks: BTreeMap::new(),
            writers: AtomicU64::new(0),
            sides: Mutex::default(),
            probes: Mutex::default(),
            decisions: Mutex::default(),
        }
    }

    /// With results of earlier runs, if there are any.
    pub(crate) fn with_cache(self, cache: Option<Arc<Cache>>) -> Job {
        Job { cache, ..self }
    }

    /// With reduce tasks of about this size, where the number of partitions is free.
    pub(crate) fn with_task_bytes(self, task_bytes: u64) -> Job {
        Job { task_bytes, ..self }
    }

    /// Whether a collection's rows must be kept for later stages.
    pub(crate) fn keeps(&self, collection: CollectionId) -> bool {
        self.kept.contains(&collection) && !self.forwards.contains_key(&collection)
    }

    /// The shuffle of a group, made by the first who asks.
    pub(crate) fn target(&self, group: NodeId, make: impl FnOnce() -> Target) -> Arc<Target> {
        Arc::clone(lock(&self.targets).entry(group).or_insert_with(|| Arc::new(make())))
    }

    /// Drops a shuffle that has been read.
    pub(crate) fn close_target(&self, group: NodeId) {
        lock(&self.targets).remove(&group);
    }

    /// Counts what a group's shuffle moved.
    pub(crate) fn note_shuffled(&self, group: NodeId, size: BucketSize) {
        let step = &self.plan.graph.node(group).step;
        self.run.count_bytes(step, size.bytes);
        self.run.spilled[step].fetch_add(size.spilled, Ordering::Relaxed);
    }

    /// The counter of a collection's rows.
    pub(crate) fn counter(&self, collection: CollectionId) -> Arc<AtomicU64> {
        Arc::clone(&self.rows[&collection])
    }

    /// How many rows a collection has had so far.
    pub(crate) fn rows(&self, collection: CollectionId) -> u64 {
        self.rows[&collection].load(Ordering::Relaxed)
    }

    /// An empty log for a collection, which spills where this run spills.
    pub(crate) fn new_log(&self, collection: CollectionId) -> BatchLog {
        BatchLog::new(&self.run.memory, &self.run.scratch).of_step(&self.plan.graph.producer(collection).step)
    }

    /// Stores what one task made of a collection.
    pub(crate) fn keep_part(&self, collection: CollectionId, task: MapTask, log: BatchLog) {
        lock(&self.stored).entry(collection).or_default().insert(task, Arc::new(log));
    }

    /// The stored parts of a collection, in order; a flatten's are those of its inputs, one after the other.
    pub(crate) fn parts(&self, collection: CollectionId) -> Vec<Arc<BatchLog>> {
        let producer = self.plan.graph.node(self.plan.graph.collection(collection).producer);
        if matches!(producer.op, Op::Flatten { .. }) {
            return producer.inputs.iter().flat_map(|input| self.parts(*input)).collect();
        }
        lock(&self.stored).get(&collection).map(|parts| parts.values().cloned().collect()).unwrap_or_default()
    }

    /// Bytes stored of a collection.
    pub(crate) fn stored_bytes(&self, collection: CollectionId) -> u64 {
        self.parts(collection).iter().map(|part| part.bytes() as u64).sum()
    }

    /// Forgets a collection that nothing reads any more.
    pub(crate) fn free(&self, collection: CollectionId) {
        lock(&self.stored).remove(&collection);
        lock(&self.sides).remove(&collection);
    }

    /// A node's side inputs, whole.
    pub(crate) fn sides(&self, node: &plan::Node) -> Result<Vec<Side>> {
        let side =
            |input: &plan::SideInput| Ok(Side { name: input.name.clone(), shape: input.shape, rows: self.whole(input.from)? });
        node.side_inputs.iter().map(side).collect()
    }

    /// A stored collection as one log.
    pub(crate) fn whole(&self, collection: CollectionId) -> Result<Arc<BatchLog>> {
        let mut sides = lock(&self.sides);
        if let Some(log) = sides.get(&collection) {
            return Ok(Arc::clone(log));
        }
        let mut log = self.new_log(collection);
        if let Some(away) = &self.away {
            away.side(collection)?.try_for_each(|batch| log.append(batch?))?;
        }
        for part in self.parts(collection) {
            let mut reader = part.reader();
            while let Some(batch) = reader.next_batch()? {
                log.append(batch.as_ref().clone())?;
            }
        }
        log.seal()?;
        let log = Arc::new(log);
        sides.insert(collection, Arc::clone(&log));
        Ok(log)
    }

    /// Pieces that other processes hold, one after the other.
    pub(crate) fn fetch(&self, pieces: &[Held]) -> Result<Frames> {
        let Some(away) = &self.away else { return Err(Error::Plan("a run in one process fetches nothing".to_owned())) };
        away.fetch(pieces)
    }

    /// The table of a broadcast join: built by the first task that asks; `None`: it does not fit into memory.
    pub(crate) fn probe_table(&self, node: &plan::Node) -> Result<Option<Arc<ProbeTable>>> {
        let mut probes = lock(&self.probes);
        if let Some(table) = probes.get(&node.id) {
            return Ok(table.clone());
        }
        let (spec, sides) = self.probed(node)?;
        let sides: Vec<&BatchLog> = sides.iter().map(Arc::as_ref).collect();
        let table = match ProbeTable::build(spec, &sides, &self.run.allowance(&node.step)) {
            Ok(table) => Some(Arc::new(table)),
            Err(Error::Step { source, .. })
                if matches!(source.downcast_ref::<OperatorError>(), Some(OperatorError::SideTooLarge { .. })) =>
            {
                None
            }
            Err(error) => return Err(error),
        };
        Ok(probes.entry(node.id).or_insert(table).clone())
    }

    /// What a broadcast join is, and the rows of its small legs.
    pub(crate) fn probed(&self, node: &plan::Node) -> Result<(ProbeSpec, Vec<Arc<BatchLog>>)> {
        let Op::ParallelDo(Do::ProbeJoin { kind, big, keys, widths }) = &node.op else {
            return Err(Error::Plan(format!("step {:?} is no broadcast join", node.step)));
        };
        let sides = node.side_inputs.iter().map(|side| self.whole(side.from)).collect::<Result<Vec<_>>>()?;
        let widths = widths.iter().map(|width| width.map(|width| width as usize)).collect();
        let spec = ProbeSpec { kind: *kind, big: *big as usize, keys: keys.clone(), widths };
        Ok((spec, sides))
    }

    /// Notes what was decided about a group's shuffle, by sizes that are known now.
    pub(crate) fn decided(&self, decision: Decision) {
        lock(&self.decisions).push(decision);
    }

    /// All decisions, in their order.
    pub(crate) fn take_decisions(&self) -> Vec<Decision> {
        std::mem::take(&mut lock(&self.decisions))
    }

    /// The sink of a write node, and the number of the next task that writes to it.
    pub(crate) fn sink(&self, step: &str) -> (Arc<Staging>, usize) {
        (Arc::clone(&self.sinks[step]), self.writers.fetch_add(1, Ordering::Relaxed) as usize)
    }

    /// Does all that can fail for every sink before the first one commits.
    pub(crate) fn prepare(&self) -> Result<()> {
        at_once(self.sinks.iter().collect(), |(step, sink)| {
            sink.prepare()?;
            self.run.count_bytes(step, sink.bytes());
            Ok(())
        })
    }

    /// Makes all output visible.
    pub(crate) fn commit(self) -> Result<()> {
        let sinks: Vec<Staging> =
            self.sinks.into_values().map(|sink| Arc::into_inner(sink).expect("all tasks are over")).collect();
        self.run.cleanup.commit(|| at_once(sinks, Staging::commit))
    }
}

/// The nodes from which rows go to a command.
fn waiting(plan: &Plan) -> BTreeSet<NodeId> {
    let is_command = |node: &&plan::Node| matches!(node.op, Op::ParallelDo(Do::Pipe { .. } | Do::PipeAsArgs { .. }));
    let mut open: Vec<NodeId> = plan.graph.nodes.values().filter(is_command).map(|node| node.id).collect();
    let mut waiting = BTreeSet::new();
    while let Some(node) = open.pop() {
        if waiting.insert(node) {
            open.extend(plan.graph.node(node).inputs.iter().map(|input| plan.graph.collection(*input).producer));
        }
    }
    waiting
}

/// So many sinks are worked on at a time: they wait for the disk, which has many of them written in the time of one.
const AT_ONCE: usize = 8;

/// Does the same with several things, some at a time; the first error in their order.
fn at_once<T: Send>(things: Vec<T>, work: impl Fn(T) -> Result<()> + Sync) -> Result<()> {
    if things.len() < 2 {
        return things.into_iter().try_for_each(work);
    }
    let failure: Mutex<Option<(usize, Error)>> = Mutex::new(None);
    let open = Mutex::new(things.into_iter().enumerate());
    let threads = lock(&open).len().min(AT_ONCE);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let Some((at, thing)) = lock(&open).next().filter(|_| lock(&failure).is_none()) else { return };
                    if let Err(error) = work(thing) {
                        let mut failure = lock(&failure);
                        if failure.as_ref().is_none_or(|(first, _)| at < *first) {
                            *failure = Some((at, error));
                        }
                    }
                }
            });
        }
    });
    failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), |(_, error)| Err(error))
}
