//! One map task, reduce task or operate, by itself: built of the same chains as a run in one process.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use plan::schedule::{Unit, forwards, units};
use plan::task::{Done, Leg, Place, ReduceInput, StepCount, Task, Work};
use plan::{Group, Mscr, MscrId, NodeId, Op, OutputChannel, Plan};

use super::{Exchange, Watch, WorkerOptions, context, listing, staging};
use crate::cache::Cache;
use crate::outbox::Outbox;
use crate::run::away::Away;
use crate::run::chain::Onward;
use crate::run::input::Input;
use crate::run::job::Job;
use crate::run::shares::Part;
use crate::run::{self, reduce, stage, switch};
use crate::{Error, Result};

/// A task about to run.
pub(super) struct Single<'a> {
    pub(super) plan: &'a Arc<Plan>,
    pub(super) options: &'a WorkerOptions,
    /// Results of earlier runs.
    pub(super) cache: Option<&'a Arc<Cache>>,
    pub(super) task: &'a Task,
    pub(super) exchange: &'a Arc<dyn Exchange>,
    pub(super) watch: &'a Arc<Watch>,
}

impl Single<'_> {
    pub(super) fn run(&self) -> Result<Done> {
        let order = units(self.plan).map_err(|cyclic| Error::Plan(cyclic.to_string()))?;
        let job = Arc::new(self.job(&order));
        let place = (self.task.place.0 as usize, self.task.place.1 as usize);
        let (mut answer, mut legs) = (None, BTreeMap::new());
        match &self.task.work {
            Work::Map { stage, from, collection, input } => {
                let (stage, onward) = (self.stage(*stage)?, onward(&job, &order, *stage)?);
                let targets = stage::targets(&job, stage);
                targets.values().try_for_each(|target| switch::take_over(&job, stage, &onward, target, self.task))?;
                let reach = stage::reach(stage, from.channel, &targets);
                let input = Input::of_task(&job, *from, *collection, input)?;
                stage::map_task(&job, &reach, &input, place)?;
                legs = stage::legs(&targets);
                legs.extend(onward_legs(&onward));
            }
            Work::Reduce { stage, group, input } => {
                let (stage, onward) = (self.stage(*stage)?, onward(&job, &order, *stage)?);
                reduce(&job, self.task, (stage, &onward), *group, input)?;
                legs = onward_legs(&onward);
            }
            Work::Operate { node } => run::operate(&job, *node)?,
            Work::Split { stage, wanted, paths } => answer = Some(listing::split(&job, *stage, *wanted, paths)?),
            Work::Stage { sinks } => return staging::stage(&job, self.options, self.task.attempt.number, sinks),
            Work::Discard { manifest } => {
                return staging::discard(&job, manifest.as_ref(), self.options, self.task.attempt.number);
            }
            Work::Inspect { .. } | Work::LookUp { .. } | Work::Keep { .. } | Work::Commit { .. } => {
                unreachable!("they are no work on rows of this plan")
            }
        }
        Ok(Done { answer, legs, ..self.done(&job) })
    }

    fn job(&self, order: &[Unit<'_>]) -> Job {
        let away = Away {
            exchange: Arc::clone(self.exchange),
            outbox: Arc::new(Outbox::new(Arc::clone(self.exchange), Arc::clone(self.watch))),
            watch: Arc::clone(self.watch),
            agents: self.task.agents.clone(),
            sides: self.task.sides.clone(),
            buckets: self.task.buckets.clone(),
        };
        let forwards = forwards(self.plan, order);
        let context = Arc::new(context(self.plan, self.options, self.watch));
        let job = Job::single(self.plan, context, self.options.partitions, forwards, away);
        job.with_cache(self.cache.cloned())
    }

    fn stage(&self, id: MscrId) -> Result<&Mscr> {
        self.plan.mscrs.iter().find(|mscr| mscr.id == id).ok_or_else(|| Error::Plan(format!("there is no stage {id}")))
    }

    fn done(&self, job: &Job) -> Done {
        let count = |step: &String| StepCount {
            bytes: job.run.bytes[step].load(Ordering::Relaxed),
            spilled: job.run.spilled[step].load(Ordering::Relaxed),
            set_aside: job.run.set_aside[step].load(Ordering::Relaxed),
        };
        let steps = job.run.bytes.keys().map(|step| (step.clone(), count(step)));
        let rows = job.plan.graph.collections.keys().map(|collection| (*collection, job.rows(*collection)));
        Done {
            pieces: job.away.as_ref().map(|away| away.outbox.pieces()).unwrap_or_default(),
            marks: job.away.as_ref().map(|away| away.outbox.marks()).unwrap_or_default(),
            rows: rows.filter(|(_, rows)| *rows > 0).collect(),
            steps: steps.filter(|(_, count)| *count != StepCount::default()).collect(),
            ..Done::default()
        }
    }
}

/// What the reducers of a stage feed beyond it.
fn onward(job: &Job, order: &[Unit<'_>], stage: MscrId) -> Result<Onward> {
    let is_it = |unit: &Unit<'_>| matches!(unit, Unit::Stage(mscr) if mscr.id == stage);
    let index = order.iter().position(is_it).ok_or_else(|| Error::Plan(format!("there is no stage {stage}")))?;
    Ok(run::onward(job, order, index))
}

/// What was seen of the joins that rows flowed on to.
fn onward_legs(onward: &Onward) -> BTreeMap<NodeId, Vec<Leg>> {
    onward.values().flat_map(|(reach, _)| stage::legs(&reach.groups)).collect()
}

fn reduce(job: &Arc<Job>, task: &Task, (stage, onward): (&Mscr, &Onward), group: NodeId, input: &ReduceInput) -> Result<()> {
    let output =
        stage.outputs.iter().find(|output| matches!(output, OutputChannel::Group { group: found, .. } if *found == group));
    let Some(output) = output else {
        return Err(Error::Plan(format!("stage {} has no group {group}", stage.id)));
    };
    let widths = task.widths.get(&group).map(Vec::as_slice).unwrap_or_default();
    let Some(target) = stage::read_target(job, output, widths) else { return Ok(()) };
    let place = (task.place.0 as usize, task.place.1 as usize);
    let from = match input {
        ReduceInput::Buckets { pieces } => reduce::From::Held(pieces.clone()),
        ReduceInput::Part { pieces, part, of } => {
            let part = Part::by_key(job, group, *part as usize, (*of).max(1) as usize)?;
            reduce::From::HeldPart(pieces.clone(), part)
        }
        ReduceInput::Range { runs, lower, upper } => {
            let Op::Group(Group::Sort { by } | Group::Merge { by }) = &job.plan.graph.node(group).op else {
                return Err(Error::Plan(format!("group {group} does not sort")));
            };
            let bound = |place: &Option<Place>| place.as_ref().map(|place| place.0.clone());
            reduce::From::Runs(Arc::new(reduce::fetch_runs(job, group, by, runs)?), (bound(lower), bound(upper)))
        }
    };
    reduce::run_single(job, output, onward, &target, place, from)
}
