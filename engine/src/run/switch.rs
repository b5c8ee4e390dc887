//! Joins that wait for the sizes of their small sides: these are shuffled first, and if they are small indeed, they become a table
//! that every task of the other side looks its rows up in, with all that stands behind the join in the same pass.
//!
//! ```text
//! map tasks of the small sides ─► buckets ─► Gate: measured ─┬─ small: table ─► map tasks of the large side ─► steps behind the join
//!                                                            └─ large: as planned, the large side goes into buckets, too
//! ```
//!
//! The result is the same. Rows of the large side that match nothing, where the join keeps them, are shuffled as planned: which of
//! several equal keys shows (4 or 4.0) depends on all of them.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use plan::schedule::{Stays, Switch};
use plan::{Do, Mscr, Node, NodeId, Op, OutputChannel};

use crate::lock::lock;
use crate::op::probe::tagged::{TaggedProbe, TaggedTable};
use crate::shuffle::{Leg, MapTask};
use crate::{Error, Result, RowScratch, RowSink, Val};

use super::chain::{Chain, Onward, Reach};
use super::deal::{Target, key_fields};
use super::job::Job;
use super::stage::exact_partitions;

/// A join that has switched.
#[derive(Debug)]
pub(crate) struct Switched {
    table: Arc<TaggedTable>,
    /// The node behind the shuffle.
    untag: NodeId,
    /// What stands behind it, and what that feeds.
    reach: Reach,
    onward: Onward,
    /// Channels of the stage: numbers from here on are free for what map tasks make in place of reduce tasks.
    channels: usize,
    /// Map tasks of the stage.
    pub(crate) maps: usize,
}

/// Holds the map tasks of the waiting sides back until it is decided how they run.
pub(crate) struct Gate<'s> {
    job: &'s Arc<Job>,
    stage: &'s Mscr,
    onward: &'s Onward,
    switches: Vec<(&'s Switch, Arc<Target>)>,
    maps: usize,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// Map tasks that are to be over first.
    open: usize,
    decided: bool,
    /// One of them panicked.
    broken: bool,
}

/// So often a waiting task looks whether what is measured so far is too much already.
const LOOK: Duration = Duration::from_millis(5);

impl<'s> Gate<'s> {
    /// The gate of a stage. Joins whose partitions are asked for are shuffled as they are.
    pub(crate) fn new(
        job: &'s Arc<Job>,
        stage: &'s Mscr,
        onward: &'s Onward,
        target: impl Fn(NodeId) -> Arc<Target>,
    ) -> Gate<'s> {
        let mut switches = Vec::new();
        for switch in job.plan.switches.iter().filter(|switch| switch.stage == stage.id) {
            match exact_partitions(job, switch.group) {
                None => switches.push((switch, target(switch.group))),
                Some(exact) => job.decided(switch.told_exact(&job.plan, exact)),
            }
        }
        let state = Mutex::new(State { open: 0, decided: false, broken: false });
        Gate { job, stage, onward, switches, maps: 0, state, changed: Condvar::new() }
    }

    /// Puts the tasks that others wait for first; takes and gives the channel of each.
    pub(crate) fn order(&mut self, channels: &[usize]) -> Vec<usize> {
        let (late, early): (Vec<usize>, Vec<usize>) = (0..channels.len()).partition(|at| self.is_late(channels[*at]));
        self.maps = channels.len();
        self.state = Mutex::new(State { open: early.len(), decided: self.switches.is_empty(), broken: false });
        early.into_iter().chain(late).collect()
    }

    pub(crate) fn is_late(&self, channel: usize) -> bool {
        self.switches.iter().any(|(switch, _)| switch.late.contains(&channel))
    }

    /// To be held while a task runs that others wait for.
    pub(crate) fn early(&self) -> Early<'_, 's> {
        Early { gate: self }
    }

    /// Waits until it is decided how the waiting sides run; the first who can decides.
    pub(crate) fn wait(&self) -> Result<()> {
        let mut state = lock(&self.state);
        loop {
            if state.decided {
                return Ok(());
            }
            if state.broken || self.job.run.stop.load(std::sync::atomic::Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            if state.open == 0 || self.is_hopeless() {
                state.decided = true;
                let decided = self.decide();
                self.changed.notify_all();
                return decided;
            }
            let waited = self.changed.wait_timeout(state, LOOK);
            state = waited.map_or_else(|poisoned| poisoned.into_inner().0, |(state, _)| state);
        }
    }

    /// Whether no join can switch any more, though not all is measured.
    fn is_hopeless(&self) -> bool {
        self.switches.iter().all(|(switch, target)| switch.decide(&legs(self.job, switch, target), ANY_ROOM).is_err())
    }

    fn decide(&self) -> Result<()> {
        for (switch, target) in &self.switches {
            let mut decided = switch.decide(&legs(self.job, switch, target), ANY_ROOM);
            if let Ok(bytes) = decided {
                match self.switched(switch, target)? {
                    Some(switched) => {
                        target.shuffle.empty();
                        // Nobody else sets it: there is one gate per stage, and it decides once.
                        let _ = target.switched.set(switched);
                    }
                    None => decided = Err(Stays::NoRoom { bytes }),
                }
            }
            self.job.decided(switch.told(&self.job.plan, &decided));
        }
        Ok(())
    }

    /// What a join switches to; `None`: the table is more than a task may hold.
    fn switched(&self, switch: &Switch, target: &Target) -> Result<Option<Switched>> {
        let mut table = new_table(self.job, (self.stage, switch), &legs(self.job, switch, target))?;
        let (mut scratch, mut fits) = (RowScratch::default(), true);
        target.shuffle.look(|batch| {
            batch.for_each(&mut scratch, |row| {
                fits = fits && table.push(row)?;
                Ok(())
            })
        })?;
        if !fits || !table.is_plain() {
            return Ok(None);
        }
        Switched::new(self.job, (self.stage, switch), self.onward, (table, self.maps)).map(Some)
    }
}

/// The table itself shows whether it is too large.
const ANY_ROOM: u64 = u64::MAX;

/// An empty table of the small sides of a join.
fn new_table(job: &Job, (stage, switch): (&Mscr, &Switch), legs: &[Leg]) -> Result<TaggedTable> {
    let (untag, _) = behind(job, stage, switch.group)?;
    let Op::ParallelDo(Do::UntagJoin { kind, widths, .. }) = &untag.op else {
        return Err(Error::Plan(format!("step {:?} is no join", untag.step)));
    };
    let seen = |leg: usize| legs.get(leg).map_or(0, |leg| leg.width as usize);
    let widths = widths.iter().enumerate().map(|(leg, width)| width.map_or_else(|| seen(leg), |width| width as usize)).collect();
    let keys = key_fields(&job.plan, job.plan.graph.node(switch.group))?;
    Ok(TaggedTable::new(*kind, switch.big as usize, keys, widths, &job.run.allowance(&untag.step)))
}

impl Switched {
    fn new(
        job: &Job,
        (stage, switch): (&Mscr, &Switch),
        onward: &Onward,
        (table, maps): (TaggedTable, usize),
    ) -> Result<Switched> {
        let (untag, reduce) = behind(job, stage, switch.group)?;
        let reach = Reach { nodes: reduce.iter().copied().collect(), groups: std::collections::BTreeMap::new() };
        let (table, untag, channels) = (Arc::new(table), untag.id, stage.inputs.len());
        Ok(Switched { table, untag, reach, onward: onward.clone(), channels, maps })
    }
}

/// Has a single map task look its rows up where a join has switched: `task` has the rows of the small sides.
pub(crate) fn take_over(job: &Job, stage: &Mscr, onward: &Onward, target: &Target, task: &plan::task::Task) -> Result<()> {
    let Some(pieces) = task.tables.get(&target.group) else { return Ok(()) };
    let switch = job.plan.switches.iter().find(|switch| switch.group == target.group);
    let switch = switch.ok_or_else(|| Error::Plan(format!("the join of group {} may not switch", target.group)))?;
    let leg = |width: &u32| Leg { width: *width, ..Leg::default() };
    let legs: Vec<Leg> = task.widths.get(&target.group).into_iter().flatten().map(leg).collect();
    let mut table = new_table(job, (stage, switch), &legs)?;
    let mut scratch = RowScratch::default();
    for batch in job.fetch(pieces)? {
        // Whether it fits was decided before, for all tasks alike.
        batch?.for_each(&mut scratch, |row| table.push(row).map(drop))?;
    }
    let switched = Switched::new(job, (stage, switch), onward, (table, task.place.1 as usize))?;
    // Nobody else sets it: the task has just begun.
    let _ = target.switched.set(switched);
    Ok(())
}

/// A task that others wait for.
pub(crate) struct Early<'g, 's> {
    gate: &'g Gate<'s>,
}

impl Drop for Early<'_, '_> {
    fn drop(&mut self) {
        let mut state = lock(&self.gate.state);
        state.open = state.open.saturating_sub(1);
        state.broken |= std::thread::panicking();
        if state.open == 0 || state.broken {
            self.gate.changed.notify_all();
        }
    }
}

/// What is measured of each leg so far.
fn legs(job: &Job, switch: &Switch, target: &Target) -> Vec<Leg> {
    let mut legs = target.shuffle.legs();
    if let Op::Group(plan::Group::ByLeg { legs: count }) = &job.plan.graph.node(switch.group).op {
        legs.resize(*count as usize, Leg::default());
    }
    legs
}

/// The node behind the shuffle of a join, and all that its reduce tasks run.
fn behind<'j>(job: &'j Job, stage: &'j Mscr, of: NodeId) -> Result<(&'j Node, &'j [NodeId])> {
    let made = job.plan.graph.node(of).outputs[0];
    let found = stage.outputs.iter().find_map(|output| match output {
        OutputChannel::Group { group, reduce, .. } if *group == of => {
            let untag = job.consumers.get(&made)?.iter().find(|reader| reduce.contains(reader))?;
            Some((job.plan.graph.node(*untag), &reduce[..]))
        }
        OutputChannel::Group { .. } | OutputChannel::Pass { .. } => None,
    });
    found.ok_or_else(|| Error::Plan(format!("the join of group {of} is separated from its shuffle")))
}

/// The sink of a map task of the side that waited; `shuffled` is where its rows would have gone.
pub(crate) fn probe(chain: &Chain<'_>, switched: &Switched, shuffled: Box<dyn RowSink>) -> Result<Box<dyn RowSink>> {
    // What it makes must not be taken for what a reduce task makes.
    let task = MapTask { channel: switched.channels + chain.task.channel, ..chain.task };
    let behind = Chain { reach: &switched.reach, onward: &switched.onward, task, ..*chain };
    let out = behind.collection(chain.job.plan.graph.node(switched.untag).outputs[0])?;
    let unmatched = switched.table.keeps_unmatched().then_some(shuffled);
    Ok(Box::new(Probing { probe: TaggedProbe::new(Arc::clone(&switched.table)), out, unmatched }))
}

struct Probing {
    probe: TaggedProbe,
    out: Box<dyn RowSink>,
    unmatched: Option<Box<dyn RowSink>>,
}

impl RowSink for Probing {
    fn push(&mut self, row: &[Val<'_>]) -> Result<()> {
        let found = self.probe.push(row, self.out.as_mut())?;
        match &mut self.unmatched {
            Some(unmatched) if !found => unmatched.push(row),
            _ => Ok(()),
        }
    }

    fn finish(&mut self) -> Result<()> {
        if let Some(unmatched) = &mut self.unmatched {
            unmatched.finish()?;
        }
        self.out.finish()
    }

    fn wants_more(&self) -> bool {
        self.unmatched.is_some() || self.out.wants_more()
    }
}
