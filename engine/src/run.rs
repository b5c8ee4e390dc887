//! Runs a whole plan in this process: stage after stage, and beside each other those that would leave threads idle; then commits the sinks.

pub(crate) mod away;
pub(crate) mod chain;
mod deal;
mod fitting;
mod fold;
mod fold_lists;
mod heads;
pub(crate) mod input;
pub(crate) mod job;
mod keep;
mod pass;
pub(crate) mod reduce;
pub(crate) mod shares;
pub(crate) mod stage;
mod steps;
mod streamed;
pub(crate) mod switch;
mod unfit;
mod units;
mod workers;

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Instant;

use plan::schedule::{self, Unit};
use plan::{NodeId, Plan};

use crate::cleanup::Leftover;
use crate::report::{Observer, Report};
use crate::scratch::Scratch;
use crate::shuffle::MapTask;
use crate::store::Stores;
use crate::{Cleanup, Error, Result, RunContext, TaskContext, function};

pub use self::keep::Persistence;

use self::chain::{Chain, Feeds, Onward, Reach};
use self::job::Job;
pub use self::workers::STACK;

use self::keep::Keeper;
use self::units::Outcome;

/// How to run a plan here.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Relative paths of sources and sinks resolve here.
    pub base: PathBuf,
    /// Where spill files go (a directory of the run's own is made in it, and removed); `None`: the system's.
    pub scratch: Option<PathBuf>,
    /// Worker threads, at least 1.
    pub threads: usize,
    /// The memory budget in bytes.
    pub memory: usize,
    /// Partitions of steps that do not say `partitions` themselves; `None`: as many as the data asks for.
    pub partitions: Option<u32>,
    /// What a reduce task has about, where the number of partitions is free: [`plan::schedule::TASK_BYTES`]; less in tests.
    pub task_bytes: u64,
    /// Seeds `math.random`.
    pub seed: u64,
    /// Where persisted results are read and kept; `None`: they live as long as the run.
    pub persistence: Option<Persistence>,
    /// Set from outside to stop the run soon; it then returns [`crate::Error::Interrupted`]. Also set by a failure.
    pub stop: Arc<AtomicBool>,
    /// To be swept where the process has to end without waiting for the run.
    pub cleanup: Arc<Cleanup>,
}

/// Runs the plan; rows of `write.stdout` go to standard output, files appear when all is done.
///
/// # Errors
/// The first failure; nothing is left behind then.
pub fn run(plan: &Plan, options: &RunOptions, observer: &dyn Observer) -> Result<Report> {
    let begun = Instant::now();
    let (scratch, _scratch_is_left) = {
        let beginning = options.cleanup.begin();
        let scratch = scratch_dir(options)?;
        let left = beginning.register(Leftover::Directory(scratch.path().to_path_buf()));
        (scratch, left)
    };
    let run = Arc::new(context(plan, options, scratch.path()));
    let order = schedule::units(plan).map_err(|cyclic| Error::Plan(cyclic.to_string()))?;
    let cache = options.persistence.as_ref().map(|persistence| Arc::clone(&persistence.cache));
    let job = Job::open(plan, run, options.partitions, schedule::forwards(plan, &order))?.with_cache(cache);
    let job = Arc::new(job.with_task_bytes(options.task_bytes));
    let mut keeper = Keeper::new(plan, options.persistence.as_ref());
    let ran = units::run(&job, &order, &mut keeper, observer).and_then(|outcomes| job.prepare().map(|()| outcomes));
    let mut report = match ran {
        Ok(outcomes) => report(&job, outcomes),
        Err(error) => {
            let seconds = begun.elapsed().as_secs_f64();
            observer.run_failed(Report { seconds, ..report(&job, Vec::new()) });
            return Err(error);
        }
    };
    Arc::into_inner(job).expect("all tasks are over").commit()?;
    report.kept = keeper.finish();
    report.seconds = begun.elapsed().as_secs_f64();
    Ok(report)
}

/// What was done, with the units that are over.
fn report(job: &Job, outcomes: Vec<Outcome>) -> Report {
    let (mut report, mut operated) = (Report::default(), Vec::new());
    for outcome in outcomes {
        match outcome {
            Outcome::Stage(stage) => report.stages.push(stage),
            Outcome::Operate(node, seconds) => operated.push((job.plan.graph.node(node).step.as_str(), seconds)),
        }
    }
    report.decisions = job.take_decisions();
    report.steps = steps::reports(job, &report.stages, &operated);
    report
}

/// What the reducers of unit `index` feed beyond their stage.
pub(crate) fn onward(job: &Job, order: &[Unit<'_>], index: usize) -> Onward {
    let mut onward = Onward::new();
    for (collection, forward) in job.forwards.iter().filter(|(_, forward)| forward.from == index) {
        if let Unit::Stage(stage) = order[forward.to] {
            let reach = stage::reach(stage, forward.channel, &stage::targets(job, stage));
            onward.insert(*collection, (reach, *forward));
        }
    }
    onward
}

fn scratch_dir(options: &RunOptions) -> Result<Scratch> {
    let made = Scratch::below(&options.scratch.clone().unwrap_or_else(std::env::temp_dir));
    made.map_err(|source| Error::System { attempt: "make a directory for spill files".to_owned(), source })
}

fn context(plan: &Plan, options: &RunOptions, scratch: &std::path::Path) -> RunContext {
    let steps = || plan.graph.nodes.values().map(|node| node.step.clone());
    RunContext {
        seed: options.seed,
        prelude: plan.prelude.clone(),
        threads: options.threads.max(1),
        stop: Arc::clone(&options.stop),
        cleanup: Arc::clone(&options.cleanup),
        set_aside: steps().map(|step| (step, AtomicU64::default())).collect(),
        spilled: steps().map(|step| (step, Arc::default())).collect(),
        bytes: steps().map(|step| (step, AtomicU64::default())).collect(),
        stores: Stores::from_environment(),
        ..RunContext::new(&options.base, scratch, options.memory / 2)
    }
}

/// Runs an `operate` and keeps what it emits.
pub(crate) fn operate(job: &Arc<Job>, node: NodeId) -> Result<()> {
    let node = job.plan.graph.node(node);
    let ctx = Rc::new(TaskContext::new(Arc::clone(&job.run), 0));
    let task = MapTask { channel: 0, read: 0, split: 0 };
    let feeds = Feeds { shuffles: 0, part: 1 };
    let chain = Chain { job, ctx: &ctx, reach: &Reach::default(), onward: &Onward::new(), task, place: (0, 1), feeds };
    function::operate(node, &ctx, &job.sides(node)?, chain.collection(node.outputs[0])?)
}
