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

use plan::schedule::{Switch, leg_names};
use plan::{Do, Mscr, Node, NodeId, Op, OutputChannel};

use crate::op::probe::tagged::{TaggedProbe, TaggedTable};
use crate::shuffle::{Leg, MapTask, lock};
use crate::{Error, Result, RowScratch, RowSink, Val};

use super::chain::{Chain, Onward, Reach};
use super::deal::{Target, key_fields};
use super::job::Job;
use super::stage::exact_partitions;

/// What decisions of this kind are called in reports: the planner's pass that made them possible.
const PASS: &str = "switch-joins";

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
                Some(exact) => job.decided(PASS, switch.group, false, format!("shuffled: into {exact} partitions, as asked for")),
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
        self.switches.iter().all(|(switch, target)| switch.decide(&bytes(&legs(self.job, switch, target))).is_err())
    }

    fn decide(&self) -> Result<()> {
        for (switch, target) in &self.switches {
            match self.table(switch, target)? {
                Ok((switched, why)) => {
                    target.shuffle.empty();
                    // Nobody else sets it: there is one gate per stage, and it decides once.
                    let _ = target.switched.set(switched);
                    self.job.decided(PASS, switch.group, true, why);
                }
                Err(why) => self.job.decided(PASS, switch.group, false, format!("shuffled: {why}")),
            }
        }
        Ok(())
    }

    /// What a join switches to, or why it stays a shuffle.
    fn table(&self, switch: &Switch, target: &Target) -> Result<Result<(Switched, String), String>> {
        let (plan, legs, names) = (&self.job.plan, legs(self.job, switch, target), leg_names(&self.job.plan, switch.group));
        let big = switch.big as usize;
        let total = match switch.decide(&bytes(&legs)) {
            Ok(total) => total,
            Err(large) => {
                let name = &names[large.leg];
                return Ok(Err(format!("`{name}` has {} bytes or more, above {}", large.bytes, switch.limit)));
            }
        };
        if let Some(leg) = (0..legs.len()).find(|leg| *leg != big && legs[*leg].odd) {
            return Ok(Err(format!("keys of `{}` could be shown in another way by equal ones, as 4.0 by 4", names[leg])));
        }
        let Some((untag, reduce)) = behind(self.job, self.stage, switch.group) else {
            return Err(Error::Plan(format!("the join of group {} is separated from its shuffle", switch.group)));
        };
        let Op::ParallelDo(Do::UntagJoin { kind, widths, .. }) = &untag.op else {
            return Err(Error::Plan(format!("step {:?} is no join", untag.step)));
        };
        let width = |(leg, width): (usize, &Option<u32>)| width.map_or(legs[leg].width, |width| width as usize);
        let widths = widths.iter().enumerate().map(width).collect();
        let keys = key_fields(&self.job.plan, plan.graph.node(switch.group))?;
        let mut table = TaggedTable::new(*kind, big, keys, widths, &self.job.run.allowance(&untag.step));
        let (mut scratch, mut fits) = (RowScratch::default(), true);
        target.shuffle.look(|batch| {
            batch.for_each(&mut scratch, |row| {
                fits = fits && table.push(row)?;
                Ok(())
            })
        })?;
        if !fits || !table.is_plain() {
            return Ok(Err(format!("the other sides ({total} bytes) do not fit into the memory of a task")));
        }
        let others: Vec<String> =
            names.iter().enumerate().filter(|(leg, _)| *leg != big).map(|(_, name)| format!("`{name}`")).collect();
        let why = format!(
            "switched to a broadcast: every task holds {} whole, {total} bytes; `{}` is not shuffled",
            others.join(" and "),
            names[big]
        );
        let reach = Reach { nodes: reduce.iter().copied().collect(), groups: std::collections::BTreeMap::new() };
        let (channels, maps) = (self.stage.inputs.len(), self.maps);
        Ok(Ok((Switched { table: Arc::new(table), untag: untag.id, reach, onward: self.onward.clone(), channels, maps }, why)))
    }
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

fn bytes(legs: &[Leg]) -> Vec<u64> {
    legs.iter().map(|leg| leg.bytes).collect()
}

/// The node behind the shuffle of a join, and all that its reduce tasks run.
fn behind<'j>(job: &'j Job, stage: &'j Mscr, of: NodeId) -> Option<(&'j Node, &'j [NodeId])> {
    let made = job.plan.graph.node(of).outputs[0];
    stage.outputs.iter().find_map(|output| match output {
        OutputChannel::Group { group, reduce, .. } if *group == of => {
            let untag = job.consumers.get(&made)?.iter().find(|reader| reduce.contains(reader))?;
            Some((job.plan.graph.node(*untag), &reduce[..]))
        }
        OutputChannel::Group { .. } | OutputChannel::Pass { .. } => None,
    })
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
