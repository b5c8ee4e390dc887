//! Runs the units of a plan, each when what it reads is there: the first in the plan's order has all workers that it can use, and
//! one that waits for nothing runs beside it on those that would be idle.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use plan::schedule::{self, Unit, side_inputs, stage_nodes};
use plan::{After, CollectionId, NodeId, Op};

use crate::report::{Observer, StageReport};
use crate::{Error, Result};

use super::job::Job;
use super::keep::Keeper;
use super::workers::{Crew, STACK, Workers};
use super::{onward, operate, stage};

/// What a unit did.
pub(super) enum Outcome {
    Stage(StageReport),
    /// How many seconds it took.
    Operate(NodeId, f64),
}

/// Runs all units; what they did, in their order.
pub(super) fn run(job: &Arc<Job>, order: &[Unit<'_>], keeper: &mut Keeper, observer: &dyn Observer) -> Result<Vec<Outcome>> {
    let (waits, mut readers) = (waits(job, order), readers(job, order));
    let workers = Workers::new(job.run.threads);
    let mut open: BTreeSet<usize> = (0..order.len()).collect();
    let (mut done, mut running) = (BTreeSet::new(), 0_usize);
    let mut outcomes: BTreeMap<usize, Outcome> = BTreeMap::new();
    let mut failure: Option<Error> = None;
    std::thread::scope(|scope| {
        loop {
            let next = open.iter().copied().find(|unit| waits[*unit].is_subset(&done));
            if let Some(unit) = next.filter(|_| failure.is_none() && (running == 0 || workers.are_idle())) {
                start(scope, &workers, unit, move |crew| one(job, order, crew, observer));
                running += 1;
                open.remove(&unit);
                continue;
            }
            if running == 0 {
                break;
            }
            let may_start = next.is_some() && failure.is_none();
            for (unit, result) in workers.wait(may_start) {
                running -= 1;
                match result {
                    Ok(outcome) => {
                        keeper.unit_done(job, &order[unit]);
                        free(job, &mut readers, unit);
                        done.insert(unit);
                        outcomes.insert(unit, outcome);
                    }
                    Err(error) => failure = Some(stopped(job, failure.take(), error)),
                }
            }
        }
    });
    match failure {
        Some(error) => Err(error),
        None => Ok(outcomes.into_values().collect()),
    }
}

/// Ends everything else; the first failure that is not a consequence of another.
fn stopped(job: &Job, before: Option<Error>, error: Error) -> Error {
    job.run.stop.store(true, Ordering::Relaxed);
    match before {
        Some(before) if !matches!(before, Error::Interrupted) => before,
        Some(_) | None => error,
    }
}

fn start<'s, 'e: 's>(
    scope: &'s std::thread::Scope<'s, 'e>,
    workers: &'s Workers<Outcome>,
    unit: usize,
    run: impl FnOnce(&Crew<'_>) -> Result<Outcome> + Send + 's,
) {
    let work = move || {
        let crew = workers.crew(unit);
        let result = catch_unwind(AssertUnwindSafe(|| run(&crew)));
        let panicked = || Err(Error::Plan("a stage panicked: please report this with the message above".to_owned()));
        workers.is_over(unit, result.unwrap_or_else(|_| panicked()));
    };
    workers.begins(unit);
    let thread = std::thread::Builder::new().name(format!("stage-{unit}")).stack_size(STACK);
    if let Err(source) = thread.spawn_scoped(scope, work) {
        workers.is_over(unit, Err(Error::System { attempt: "start a thread for a stage".to_owned(), source }));
    }
}

fn one(job: &Arc<Job>, order: &[Unit<'_>], crew: &Crew<'_>, observer: &dyn Observer) -> Result<Outcome> {
    match order[crew.unit] {
        Unit::Stage(mscr) => {
            let onward = onward(job, order, crew.unit);
            stage::run_stage(job, mscr, &onward, (crew, observer)).map(Outcome::Stage)
        }
        Unit::Operate(node) => {
            let begun = Instant::now();
            let _worker = crew.enter();
            operate(job, node)?;
            Ok(Outcome::Operate(node, begun.elapsed().as_secs_f64()))
        }
    }
}

/// Which units each one waits for.
fn waits(job: &Job, order: &[Unit<'_>]) -> Vec<BTreeSet<usize>> {
    let plan = &job.plan;
    let place = |after: &After| {
        order.iter().position(|unit| match (unit, after) {
            (Unit::Stage(stage), After::Mscr(id)) => stage.id == *id,
            (Unit::Operate(node), After::Operate(id)) => node == id,
            _ => false,
        })
    };
    let after = |unit: &Unit<'_>| match unit {
        Unit::Stage(stage) => stage.after.clone(),
        Unit::Operate(node) => {
            let found = plan.operates.iter().find(|operate| operate.node == *node);
            found.map(|operate| operate.after.clone()).unwrap_or_default()
        }
    };
    let mut waits: Vec<BTreeSet<usize>> = order.iter().map(|unit| after(unit).iter().filter_map(place).collect()).collect();
    // What is pushed on from one unit runs steps of another: their side inputs must be there by then.
    let made = makers(job, order);
    for forward in job.forwards.values() {
        waits[forward.to].insert(forward.from);
        let Unit::Stage(to) = order[forward.to] else { continue };
        let sides = to.inputs[forward.channel].does.iter().flat_map(|node| side_inputs(plan, *node));
        let makers = sides.flat_map(|side| job.plan.graph.leaves(side)).filter_map(|side| made.get(&side).copied());
        waits[forward.from].extend(makers.filter(|maker| *maker < forward.from));
    }
    // Of several units that read a stored source, the first reads the files and stores the rows.
    let mut stores: BTreeMap<CollectionId, usize> = BTreeMap::new();
    for (at, unit) in order.iter().enumerate() {
        for read in schedule::unit_reads(plan, unit) {
            if matches!(plan.graph.producer(read).op, Op::Read(_)) && job.keeps(read) {
                let first = *stores.entry(read).or_insert(at);
                waits[at].extend((first != at).then_some(first));
            }
        }
    }
    waits
}

/// Per collection the unit that makes it.
fn makers(job: &Job, order: &[Unit<'_>]) -> BTreeMap<CollectionId, usize> {
    let nodes = |unit: &Unit<'_>| match unit {
        Unit::Stage(stage) => stage_nodes(stage),
        Unit::Operate(node) => vec![*node],
    };
    let made = order.iter().enumerate().flat_map(|(at, unit)| nodes(unit).into_iter().map(move |node| (at, node)));
    made.flat_map(|(at, node)| job.plan.graph.node(node).outputs.iter().map(move |output| (*output, at))).collect()
}

/// Per collection the units that read it.
fn readers(job: &Job, order: &[Unit<'_>]) -> BTreeMap<CollectionId, BTreeSet<usize>> {
    let mut readers: BTreeMap<CollectionId, BTreeSet<usize>> = BTreeMap::new();
    for (at, unit) in order.iter().enumerate() {
        for read in schedule::unit_reads(&job.plan, unit) {
            readers.entry(read).or_default().insert(at);
        }
    }
    readers
}

/// Frees what nobody reads any more, now that a unit is done.
fn free(job: &Job, readers: &mut BTreeMap<CollectionId, BTreeSet<usize>>, unit: usize) {
    for (collection, left) in readers.iter_mut() {
        if left.remove(&unit) && left.is_empty() {
            job.free(*collection);
        }
    }
}
