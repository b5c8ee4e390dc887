//! Makes a task of what is known: everything that a slot needs, and where the pieces are. Pure.

use std::collections::BTreeMap;

use plan::schedule;
use plan::task::{Held, MapInput, MapTask, Piece, PieceName, ReduceInput, Task, TaskId, Wanted, Work};
use plan::{CollectionId, MscrId, NodeId, Sink};

use super::event::OutputRequest;
use super::ledger::Standing;
use super::output::is_stdout;
use super::planted::{self, Bug};
use super::staging::is_files;
use super::tasks::{MapFrom, is_part, number};
use super::{Machine, cut};
use crate::master::api::{Cut, TaskSet};

/// A task about to be given out.
#[derive(Debug)]
pub(super) struct Assembled {
    pub(super) task: Task,
    /// Bytes that it reads, by agent.
    pub(super) weights: BTreeMap<String, u64>,
}

/// Collects references to pieces.
#[derive(Debug, Default)]
struct Pieces {
    agents: Vec<String>,
    weights: BTreeMap<String, u64>,
    /// Whether something is not there that should be.
    missing: bool,
}

impl Pieces {
    fn hold(&mut self, machine: &Machine, task: TaskId, at: u32, frames: std::ops::Range<u32>) -> Option<Held> {
        let Some(winner) = machine.ledger.winner(task).filter(|winner| winner.standing == Standing::Held) else {
            self.missing = true;
            return None;
        };
        let piece = winner.done.pieces.get(at as usize)?;
        let agent = match self.agents.iter().position(|agent| *agent == winner.agent) {
            Some(agent) => agent,
            None => {
                self.agents.push(winner.agent.clone());
                self.agents.len() - 1
            }
        };
        let share = piece.bytes.saturating_mul(u64::from(frames.end - frames.start)) / u64::from(piece.frames.max(1));
        *self.weights.entry(winner.agent.clone()).or_default() += share;
        Some(Held { agent: number(agent), attempt: winner.attempt, piece: at, first: frames.start, end: frames.end })
    }

    fn whole(&mut self, machine: &Machine, task: TaskId, uses: impl Fn(&PieceName) -> bool) -> Vec<Held> {
        self.missing |= !machine.ledger.is_done(task);
        let found: Vec<(u32, u32)> = machine
            .pieces(task)
            .filter(|(_, piece)| uses(&piece.name) && piece.frames > 0)
            .map(|(at, piece)| (at, piece.frames))
            .collect();
        found.into_iter().filter_map(|(at, frames)| self.hold(machine, task, at, 0..frames)).collect()
    }
}

impl Machine {
    /// A task; `None` where what it is about is not known (any more).
    pub(super) fn assemble(&self, task: TaskId) -> Option<Assembled> {
        let mut pieces = Pieces::default();
        let mut made = Task {
            attempt: plan::task::Attempt { task, number: 0 },
            place: (0, 1),
            work: Work::Discard { manifest: None },
            agents: Vec::new(),
            sides: BTreeMap::new(),
            buckets: BTreeMap::new(),
            widths: BTreeMap::new(),
            tables: BTreeMap::new(),
        };
        match task {
            TaskId::Inspect => {
                made.work = Work::Inspect { sources: self.sources()?, versions: self.versioned_sources() };
            }
            TaskId::LookUp => made.work = self.look_up_work(),
            TaskId::Keep { collection } => {
                let recipe = self.flow().plan.keep.get(&collection)?.clone();
                let part = |maker| pieces.whole(self, maker, |name| is_part(name, collection));
                made.work = Work::Keep { recipe, parts: self.parts(collection)?.into_iter().map(part).collect() };
            }
            TaskId::Split { stage } => made.work = self.split_work(stage, &mut pieces),
            TaskId::Map { stage, at } => self.map_task(stage, at, &mut made, &mut pieces)?,
            TaskId::Reduce { stage, group, at } => self.reduce_task((stage, group, at), &mut made, &mut pieces)?,
            TaskId::Operate { node } => {
                made.sides = self.sides(self.flow().sides_of(&[node]), &mut pieces);
                made.work = Work::Operate { node };
            }
            TaskId::Stage => made.work = Work::Stage { sinks: self.written(is_files, &mut pieces) },
            TaskId::Commit => made.work = Work::Commit { manifest: self.recorded.manifest.clone()? },
            TaskId::Discard => made.work = Work::Discard { manifest: self.staging.manifest() },
        }
        made.agents = pieces.agents;
        (!pieces.missing).then_some(Assembled { task: made, weights: pieces.weights })
    }

    fn split_work(&self, stage: MscrId, pieces: &mut Pieces) -> Work {
        let wanted = Wanted { partitions: self.recorded.partitions, slots: self.recorded.slots };
        let reads = self.flow().path_reads(stage);
        let paths = reads.into_iter().map(|(node, read)| (node, self.rows(read, pieces))).collect();
        Work::Split { stage, wanted, paths }
    }

    fn map_task(&self, stage: MscrId, at: u32, made: &mut Task, pieces: &mut Pieces) -> Option<()> {
        let maps = self.maps.get(&stage)?;
        let spec = maps.get(at as usize)?;
        let input = match &spec.input {
            MapFrom::Nothing => MapInput::Nothing,
            MapFrom::Split { node, at, letters } => {
                let split = self.recorded.splits.get(&stage)?.get(node)?.get(*at)?.clone();
                MapInput::Split { node: *node, split, letters: *letters }
            }
            MapFrom::Stored { part, maker } => {
                MapInput::Stored { pieces: pieces.whole(self, *maker, |name| is_part(name, *part)) }
            }
        };
        made.place = (at, number(maps.len()));
        made.work = Work::Map { stage, from: spec.from, collection: spec.collection, input };
        made.sides = self.sides(self.flow().sides_of(&self.flow().channel(stage, spec.from.channel).does), pieces);
        made.buckets = self.bucket_counts(stage, spec.from.channel);
        for switch in self.switches(stage, spec.from.channel).filter(|switch| self.flow().is_switched(switch.group)) {
            let group = switch.group;
            let makers = self.small_makers(switch)?;
            made.tables.insert(group, self.bucket_pieces(group, |_, from| !switch.late.contains(&from.channel), &makers, pieces));
            made.widths.extend(self.widths(group, &makers));
            made.sides.extend(self.sides(self.flow().reduce_sides(group), pieces));
            for onward in self.onward(group) {
                made.buckets.extend(self.bucket_counts(onward.to, onward.channel));
            }
        }
        Some(())
    }

    fn reduce_task(&self, (stage, group, at): (MscrId, NodeId, u32), made: &mut Task, pieces: &mut Pieces) -> Option<()> {
        let cut = self.recorded.cuts.get(&group)?;
        let makers = self.group_makers(group)?;
        pieces.missing |= !makers.iter().all(|maker| self.ledger.is_done(*maker));
        let input = match cut {
            Cut::Buckets(_) | Cut::Shares(_) => {
                let reads = |bucket, from: &MapTask| self.is_read(group, from) && cut::reads(cut, at, bucket, from);
                let pieces = self.bucket_pieces(group, reads, &makers, pieces);
                match cut::part(cut, at) {
                    Some((part, of)) => ReduceInput::Part { pieces, part, of },
                    None => ReduceInput::Buckets { pieces },
                }
            }
            Cut::Places(bounds) => {
                let (lower, upper) = cut::range(bounds, at as usize);
                let runs = self.run_pieces(group, (lower, upper), &makers, pieces);
                ReduceInput::Range { runs, lower: lower.cloned(), upper: upper.cloned() }
            }
        };
        let before = number(self.before(group)?);
        made.place = (before + at, before + number(cut::tasks(cut)));
        made.work = Work::Reduce { stage, group, input };
        made.sides = self.sides(self.flow().reduce_sides(group), pieces);
        for onward in self.onward(group) {
            made.buckets.extend(self.bucket_counts(onward.to, onward.channel));
        }
        made.widths = self.widths(group, &makers);
        Some(())
    }

    /// Pieces of buckets: in bucket order, within a bucket in the order of the mappers.
    fn bucket_pieces(
        &self,
        of: NodeId,
        reads: impl Fn(u32, &MapTask) -> bool,
        makers: &[TaskId],
        pieces: &mut Pieces,
    ) -> Vec<Held> {
        let mut found: Vec<(u32, MapTask, TaskId, u32, u32)> = Vec::new();
        for maker in makers {
            found.extend(self.pieces(*maker).filter_map(|(at, piece)| match &piece.name {
                PieceName::Bucket { group, bucket, from } if *group == of && reads(*bucket, from) && piece.frames > 0 => {
                    Some((*bucket, *from, *maker, at, piece.frames))
                }
                _ => None,
            }));
        }
        found.sort_unstable();
        found.into_iter().filter_map(|(_, _, maker, at, frames)| pieces.hold(self, maker, at, 0..frames)).collect()
    }

    /// Of each sorted run the frames that can hold rows of a range; in the order of the mappers, then of their runs.
    fn run_pieces(&self, of: NodeId, (lower, upper): Bounds<'_>, makers: &[TaskId], pieces: &mut Pieces) -> Vec<Held> {
        let mut found: Vec<(MapTask, u32, TaskId, u32, std::ops::Range<u32>)> = Vec::new();
        for maker in makers {
            found.extend(self.pieces(*maker).filter_map(|(at, piece)| match &piece.name {
                PieceName::Run { group, run, from, marks } if *group == of => {
                    let frames = cut::frames(marks, piece.frames, lower, upper);
                    (!frames.is_empty()).then_some((*from, *run, *maker, at, frames))
                }
                _ => None,
            }));
        }
        found.sort_unstable_by_key(|a| (a.0, a.1, a.2, a.3));
        found.into_iter().filter_map(|(_, _, maker, at, frames)| pieces.hold(self, maker, at, frames)).collect()
    }

    fn bucket_counts(&self, stage: MscrId, channel: usize) -> BTreeMap<NodeId, u32> {
        let groups = self.fed(stage, channel).into_iter().filter(|group| !schedule::is_sort(&self.flow().plan, *group));
        groups.map(|group| (group, self.buckets(group))).collect()
    }

    /// The widest row of each leg, of all that fed a group.
    fn widths(&self, group: NodeId, makers: &[TaskId]) -> BTreeMap<NodeId, Vec<u32>> {
        let widest: Vec<u32> = self.legs(group, makers).iter().map(|leg| leg.width).collect();
        if widest.is_empty() { BTreeMap::new() } else { BTreeMap::from([(group, widest)]) }
    }

    fn sides(
        &self,
        collections: impl IntoIterator<Item = CollectionId>,
        pieces: &mut Pieces,
    ) -> BTreeMap<CollectionId, Vec<Held>> {
        collections.into_iter().map(|collection| (collection, self.rows(collection, pieces))).collect()
    }

    /// All rows of a stored collection, in order.
    fn rows(&self, collection: CollectionId, pieces: &mut Pieces) -> Vec<Held> {
        let mut rows = Vec::new();
        for leaf in self.flow().leaves(collection) {
            let Some(makers) = self.parts(leaf) else {
                pieces.missing = true;
                continue;
            };
            for maker in makers {
                rows.extend(pieces.whole(self, maker, |name| is_part(name, leaf)));
            }
        }
        rows
    }

    /// What is written to some sinks, per step, in order.
    fn written(&self, of: impl Fn(&Sink) -> bool, pieces: &mut Pieces) -> BTreeMap<String, Vec<Held>> {
        let mut steps: BTreeMap<String, Vec<Held>> = BTreeMap::new();
        for (step, parts) in self.written_pieces(&of) {
            let held = parts.into_iter().filter_map(|(maker, at, piece)| {
                let frames = piece.frames;
                if frames == 0 { None } else { pieces.hold(self, maker, at, 0..frames) }
            });
            let mut held: Vec<Held> = held.collect();
            if planted::has(Bug::WritesTwice) {
                held.extend(held.first().cloned());
            }
            steps.insert(step, held);
        }
        let sets =
            self.flow().sinks().filter(|(_, sink)| of(sink)).filter_map(|(node, _)| self.flow().writers.get(&node.id)).flatten();
        let whole =
            |set: &TaskSet| self.tasks_of(*set).is_some_and(|tasks| tasks.into_iter().all(|task| self.ledger.is_done(task)));
        pieces.missing |= !sets.into_iter().all(whole);
        steps
    }

    /// Pieces of some sinks, per step (copies of one write share it), in the order of the rows where they have one.
    pub(super) fn written_pieces(&self, of: impl Fn(&Sink) -> bool) -> BTreeMap<String, Vec<(TaskId, u32, &Piece)>> {
        let mut steps: BTreeMap<String, Vec<(u32, NodeId, TaskId, u32, &Piece)>> = BTreeMap::new();
        for (node, _) in self.flow().sinks().filter(|(_, sink)| of(sink)) {
            let found = steps.entry(node.step.clone()).or_default();
            let sets = self.flow().writers.get(&node.id).into_iter().flatten();
            for maker in sets.flat_map(|set| self.tasks_of(*set).unwrap_or_default()) {
                found.extend(self.pieces(maker).filter_map(|(at, piece)| match piece.name {
                    PieceName::Write { node: this, number } if this == node.id => Some((number, this, maker, at, piece)),
                    _ => None,
                }));
            }
        }
        let ordered = |mut pieces: Vec<(u32, NodeId, TaskId, u32, _)>| {
            pieces.sort_unstable_by_key(|a| (a.0, a.1, a.2, a.3));
            pieces.into_iter().map(|(_, _, maker, at, piece)| (maker, at, piece)).collect()
        };
        steps.into_iter().map(|(step, pieces)| (step, ordered(pieces))).collect()
    }

    /// What there is to fetch of standard output; `first`: only where it begins, for a preview. `None`: not all is there.
    pub(super) fn output_request(&self, first: bool) -> Option<OutputRequest> {
        let mut pieces = Pieces::default();
        let mut steps = self.written(is_stdout, &mut pieces);
        if first {
            for held in steps.values_mut() {
                held.truncate(1);
                held.iter_mut().for_each(|held| held.end = held.end.min(held.first + 1));
            }
        }
        (!pieces.missing).then_some(OutputRequest { agents: pieces.agents, steps })
    }
}

/// A range of a sort's order.
type Bounds<'a> = (Option<&'a plan::task::Place>, Option<&'a plan::task::Place>);
