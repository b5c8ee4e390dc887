//! Builds the chain of sinks behind a collection: the fused steps of one task.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use plan::schedule::Forward;
use plan::{CollectionId, Do, Node, NodeId, Op};

use crate::aside::Aside;
use crate::op::Allowance;
use crate::op::alone::Singles;
use crate::op::probe::ProbeJoin;
use crate::op::regroup::Regroup;
use crate::shuffle::MapTask;
use crate::{Error, Result, RowScratch, RowSink, TaskContext, function, pipe};

use super::deal::{Target, deal};
use super::fitting::Fitting;
use super::fold_lists::FoldLists;
use super::heads::fused_combines;
use super::job::{Job, is_ordered_sink};
use super::pass::{Count, Keep, Nobody, Probe, Select, Tee};
use super::unfit::Unfit;

/// What a chain may reach: the nodes of one side of a stage, and the shuffles that it feeds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reach {
    pub(crate) nodes: BTreeSet<NodeId>,
    /// By group node.
    pub(crate) groups: BTreeMap<NodeId, Arc<Target>>,
}

/// What a chain feeds beyond its own stage, by collection.
pub(crate) type Onward = BTreeMap<CollectionId, (Reach, Forward)>;

/// One task's chain under construction.
pub(crate) struct Chain<'a> {
    pub(crate) job: &'a Arc<Job>,
    pub(crate) ctx: &'a Rc<TaskContext>,
    pub(crate) reach: &'a Reach,
    pub(crate) onward: &'a Onward,
    pub(crate) task: MapTask,
    /// The task's place among all map tasks of the stage: (ordinal, count).
    pub(crate) place: (usize, usize),
    pub(crate) feeds: Feeds,
}

/// The shuffles that a task feeds, which share its memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Feeds {
    pub(crate) shuffles: usize,
    /// What part of the task's memory is for all of them: the whole, or one of so many.
    pub(crate) part: usize,
}

/// Least that an operator can do something with.
const LEAST_SHARE: usize = 256 << 10;

impl Chain<'_> {
    /// What an operator in front of a shuffle may use, beside those in front of other shuffles that the task feeds.
    pub(crate) fn share(&self, step: &str) -> Allowance {
        let whole = self.job.run.allowance(step);
        let share = whole.budget / (self.feeds.part * self.feeds.shuffles.max(1));
        Allowance { budget: share.max(LEAST_SHARE.min(whole.budget)), ..whole }
    }

    /// The sink for a collection's rows: all that this stage does with them.
    pub(crate) fn collection(&self, collection: CollectionId) -> Result<Box<dyn RowSink>> {
        let out = self.consumers(collection)?;
        Ok(Box::new(Count { rows: 0, total: self.job.counter(collection), out }))
    }

    /// The sink for a group's lists: as `collection`, without the combines that get the rows themselves.
    pub(crate) fn lists(&self, collection: CollectionId) -> Result<Box<dyn RowSink>> {
        let mut reach = Reach { nodes: self.reach.nodes.clone(), groups: self.reach.groups.clone() };
        for combine in fused_combines(self, collection) {
            reach.nodes.remove(&combine);
        }
        Chain { reach: &reach, ..*self }.collection(collection)
    }

    fn consumers(&self, collection: CollectionId) -> Result<Box<dyn RowSink>> {
        let mut outs = self.readers(collection)?;
        if self.job.keeps(collection) {
            outs.push(self.keep(collection));
        }
        if let Some((reach, forward)) = self.onward.get(&collection) {
            // Readers alone: what is kept of the collection is kept here already.
            let task = MapTask { channel: forward.channel, read: forward.read, split: self.place.0 };
            outs.extend(Chain { reach, onward: &Onward::new(), task, ..*self }.readers(collection)?);
        }
        Ok(tee(outs, self.has_effects(collection)))
    }

    /// The sink for rows of a collection that is stored: its readers alone, as it was counted and kept when it was made.
    pub(crate) fn stored(&self, collection: CollectionId) -> Result<Box<dyn RowSink>> {
        self.readers(collection).map(|outs| tee(outs, false))
    }

    /// Whether a collection comes from a step that is there for its effects: not deterministic or an operate, and nobody reads what it
    /// makes.
    fn has_effects(&self, collection: CollectionId) -> bool {
        let producer = self.job.plan.graph.producer(collection);
        let is_read = |made: &CollectionId| self.job.consumers.contains_key(made) || self.job.keeps(*made);
        (!producer.deterministic || matches!(producer.op, Op::Operate(_))) && !producer.outputs.iter().any(is_read)
    }

    /// A sink for each consumer in this stage. Commands come last: the others would wait for their end with what is left to do.
    fn readers(&self, collection: CollectionId) -> Result<Vec<Box<dyn RowSink>>> {
        let consumers = self.job.consumers.get(&collection).map(Vec::as_slice).unwrap_or_default();
        let (quick, waiting): (Vec<NodeId>, Vec<NodeId>) = consumers.iter().partition(|node| !self.job.waiting.contains(*node));
        let sinks = quick.iter().chain(&waiting).map(|node| self.node(self.job.plan.graph.node(*node)));
        Ok(sinks.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
    }

    /// What a consumer does in this stage; nothing if it belongs to another.
    fn node(&self, node: &Node) -> Result<Option<Box<dyn RowSink>>> {
        if let Some(target) = self.reach.groups.get(&node.id) {
            return Ok(Some(deal(self, target)?));
        }
        match &node.op {
            // A flatten is a view: its consumers read each of its inputs. What is kept of it is kept of its inputs.
            Op::Flatten { .. } if self.leads_on(node.outputs[0]) => self.consumers(node.outputs[0]).map(Some),
            _ if !self.reach.nodes.contains(&node.id) => Ok(None),
            Op::ParallelDo(what) => self.parallel_do(node, what).map(Some),
            Op::Combine(fold) => Ok(Some(Box::new(FoldLists::new(self, node, fold)?))),
            Op::Read(_) | Op::Flatten { .. } | Op::Group(_) | Op::Operate(_) => {
                Err(Error::Plan(format!("step {:?} cannot run inside a stage", node.step)))
            }
        }
    }

    /// Whether anything in this stage reads a flatten.
    fn leads_on(&self, flatten: CollectionId) -> bool {
        let consumers = self.job.consumers.get(&flatten).map(Vec::as_slice).unwrap_or_default();
        consumers.iter().any(|id| {
            let node = self.job.plan.graph.node(*id);
            let further = matches!(node.op, Op::Flatten { .. }) && self.leads_on(node.outputs[0]);
            further || self.reach.nodes.contains(id) || self.reach.groups.contains_key(id)
        })
    }

    fn parallel_do(&self, node: &Node, what: &Do) -> Result<Box<dyn RowSink>> {
        if let Do::Write(_) = what {
            return self.write(node);
        }
        let mut outs = node.outputs.iter().map(|output| self.collection(*output)).collect::<Result<Vec<_>>>()?;
        match what {
            Do::Map(_) | Do::FlatMap(_) | Do::Filter(_) | Do::ForEach(_) | Do::Split { .. } => {
                function::stage(node, self.ctx, &self.job.sides(node)?, outs)
            }
            Do::Select(columns) => {
                let aside = Aside::of(node, self.ctx, &mut outs);
                Ok(Box::new(Select { columns: columns.clone(), scratch: RowScratch::default(), aside, out: only(&mut outs) }))
            }
            Do::Fit(fit) => {
                let aside = Aside::of(node, self.ctx, &mut outs);
                Ok(Box::new(Fitting::new(&node.step, fit, aside, only(&mut outs))?))
            }
            Do::Pipe { command } => pipe::pipe(&node.step, command, self.ctx, only(&mut outs)),
            Do::PipeAsArgs { command } => {
                let aside = Aside::of(node, self.ctx, &mut outs);
                Ok(pipe::pipe_as_args(&node.step, command, aside, only(&mut outs)))
            }
            Do::Identity => Ok(only(&mut outs)),
            Do::Regroup { kind, keys, sides } => {
                Ok(Box::new(Regroup::new(*kind, *keys as usize, sides.clone(), only(&mut outs))))
            }
            Do::Alone { key, made } => Ok(Box::new(Singles::new(key.clone(), *made, only(&mut outs)))),
            Do::Tag { leg, key } => Ok(Box::new(super::deal::Tag::new(self.ctx, node, *leg, key, only(&mut outs)))),
            Do::ProbeJoin { .. } => Ok(match self.job.probe_table(node)? {
                Some(table) => Box::new(Probe { join: ProbeJoin::new(table, node.step.clone()), out: only(&mut outs) }),
                None => Box::new(Unfit::new(&node.step, self.ctx, self.job.probed(node)?, only(&mut outs))),
            }),
            Do::UntagCoGroup { .. } | Do::UntagJoin { .. } => {
                Err(Error::Plan(format!("step {:?} is separated from its shuffle", node.step)))
            }
            Do::Write(_) => unreachable!("handled above"),
        }
    }

    fn write(&self, node: &Node) -> Result<Box<dyn RowSink>> {
        if let Some(away) = &self.job.away {
            return away.write(node, self.place.0, self.ctx);
        }
        let (sink, next) = self.job.sink(&node.step);
        // One task may feed several copies of a write.
        let number = if is_ordered_sink(&self.job.plan, &node.step) { self.place.0 } else { next };
        sink.writer(number, self.ctx)
    }

    fn keep(&self, collection: CollectionId) -> Box<dyn RowSink> {
        if let Some(away) = &self.job.away {
            return away.part(collection, self.task);
        }
        let log = Some(self.job.new_log(collection));
        Box::new(Keep { job: Arc::clone(self.job), collection, task: self.task, log })
    }
}

/// One sink for all.
fn tee(mut outs: Vec<Box<dyn RowSink>>, for_effects: bool) -> Box<dyn RowSink> {
    match outs.len() {
        0 => Box::new(Nobody { for_effects }),
        1 => outs.pop().expect("there is one"),
        _ => Box::new(Tee(outs)),
    }
}

fn only(outs: &mut Vec<Box<dyn RowSink>>) -> Box<dyn RowSink> {
    outs.pop().expect("checked: the node has one output")
}
