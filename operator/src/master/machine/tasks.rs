//! Which tasks there are: numbered the same way by every leader, from the plan and the record alone.

use std::collections::{BTreeMap, BTreeSet};

use plan::task::{Leg, MapTask, Piece, PieceName, TaskId};
use plan::{CollectionId, MscrId, NodeId};

use super::flow::{Onward, Place};
use super::{Machine, cut};
use crate::master::api::TaskSet;

/// One map task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MapSpec {
    pub(super) from: MapTask,
    pub(super) collection: CollectionId,
    pub(super) input: MapFrom,
}

/// Where its rows come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum MapFrom {
    /// The `at`-th split of a read node.
    Split {
        node: NodeId,
        at: usize,
        /// Whether its dead letters are wanted, and not its rows.
        letters: bool,
    },
    /// What a task stored of a collection.
    Stored {
        part: CollectionId,
        maker: TaskId,
    },
    Nothing,
}

impl Machine {
    /// Works out all map tasks again, from a record that has changed.
    pub(super) fn number_anew(&mut self) {
        self.maps.clear();
        if self.flow.is_some() {
            self.number_maps();
        }
    }

    /// Works out the map tasks of all stages whose inputs are known.
    pub(super) fn number_maps(&mut self) {
        let stages: Vec<MscrId> = self.flow().plan.mscrs.iter().map(|stage| stage.id).collect();
        // Upstream first, as the stages are: what an earlier one makes counts for a later one.
        for stage in stages {
            if !self.maps.contains_key(&stage)
                && let Some(maps) = self.number_stage(stage)
            {
                self.maps.insert(stage, maps);
            }
        }
    }

    fn number_stage(&self, id: MscrId) -> Option<Vec<MapSpec>> {
        let flow = self.flow();
        let splits = match self.recorded.splits.get(&id) {
            Some(splits) => splits,
            None if flow.splits(id) => return None,
            None => &BTreeMap::new(),
        };
        let mut maps = Vec::new();
        for (channel, input) in flow.stage(id).inputs.iter().enumerate() {
            let mut read = 0;
            for collection in &input.reads {
                if flow.is_forwarded(*collection) {
                    // Its rows flow in from an earlier stage; it keeps its number among the reads.
                    read += 1;
                    continue;
                }
                for leaf in flow.leaves(*collection) {
                    let inputs = if flow.runs_read(id, leaf) {
                        let node = flow.plan.graph.collection(leaf).producer;
                        let letters = flow.plan.graph.node(node).outputs.get(1) == Some(&leaf);
                        let count = splits.get(&node).map_or(0, Vec::len);
                        let split = |at| MapFrom::Split { node, at, letters };
                        if count == 0 { vec![MapFrom::Nothing] } else { (0..count).map(split).collect() }
                    } else {
                        self.parts(leaf)?.into_iter().map(|maker| MapFrom::Stored { part: leaf, maker }).collect()
                    };
                    let spec =
                        |(split, input)| MapSpec { from: MapTask { channel, read, split }, collection: *collection, input };
                    maps.extend(inputs.into_iter().enumerate().map(spec));
                    read += 1;
                }
            }
        }
        Some(maps)
    }

    /// The tasks that store parts of a collection that is no union, in the order of the parts; `None`: not known yet.
    pub(super) fn parts(&self, leaf: CollectionId) -> Option<Vec<TaskId>> {
        let mut parts: Vec<(MapTask, TaskId)> = Vec::new();
        for place in self.flow().made(leaf) {
            parts.extend(self.place_tasks(*place)?);
        }
        parts.sort_unstable();
        Some(parts.into_iter().map(|(_, task)| task).collect())
    }

    /// The tasks that run a node at one of its places, each with the key under which it stores.
    fn place_tasks(&self, place: Place) -> Option<Vec<(MapTask, TaskId)>> {
        match place {
            Place::Channel { stage, channel } => {
                let specs = self.maps.get(&stage)?.iter().enumerate().filter(|(_, spec)| spec.from.channel == channel);
                Some(specs.map(|(at, spec)| (spec.from, TaskId::Map { stage, at: number(at) })).collect())
            }
            Place::Group { group, onward } => {
                let ((channel, read), before) = (onward.unwrap_or_default(), self.before(group)?);
                let task = |(at, task)| (MapTask { channel, read, split: before + at }, task);
                Some(self.tasks_of(TaskSet::Reduces(group))?.into_iter().enumerate().map(task).collect())
            }
            Place::Late { stage, channel, onward } => {
                let channels = self.flow().stage(stage).inputs.len();
                let key = |at: usize, from: MapTask| match onward {
                    Some((channel, read)) => MapTask { channel, read, split: at },
                    None => MapTask { channel: channels + from.channel, ..from },
                };
                let specs = self.maps.get(&stage)?.iter().enumerate().filter(|(_, spec)| spec.from.channel == channel);
                Some(specs.map(|(at, spec)| (key(at, spec.from), TaskId::Map { stage, at: number(at) })).collect())
            }
            Place::Operate(node) => Some(vec![(MapTask::default(), TaskId::Operate { node })]),
        }
    }

    /// How many numbers the map tasks of a join that has switched have taken from its reduce tasks.
    pub(super) fn before(&self, group: NodeId) -> Option<usize> {
        let flow = self.flow();
        if flow.is_switched(group) { self.maps.get(&flow.stage_of(group)).map(Vec::len) } else { Some(0) }
    }

    /// All tasks of a set, in order; `None`: not known yet.
    pub(super) fn tasks_of(&self, set: TaskSet) -> Option<Vec<TaskId>> {
        match set {
            TaskSet::Split(stage) => Some(vec![TaskId::Split { stage }]),
            TaskSet::Maps(stage) => {
                let count = self.maps.get(&stage)?.len();
                Some((0..count).map(|at| TaskId::Map { stage, at: number(at) }).collect())
            }
            TaskSet::Reduces(group) => {
                let count = cut::tasks(self.recorded.cuts.get(&group)?);
                let stage = self.flow().stage_of(group);
                Some((0..count).map(|at| TaskId::Reduce { stage, group, at: number(at) }).collect())
            }
            TaskSet::Operate(node) => Some(vec![TaskId::Operate { node }]),
            TaskSet::One(task) => Some(vec![task]),
        }
    }

    /// The tasks whose output a group's reduce tasks read; `None`: not known yet.
    pub(super) fn group_makers(&self, group: NodeId) -> Option<Vec<TaskId>> {
        let flow = self.flow();
        let stage = flow.stage_of(group);
        let from = flow.group(group).0;
        let mut makers = self.map_tasks(stage, from)?;
        // One group's reducers may feed another on several ways: a join of a step with itself.
        let onward = flow.onward.iter().filter(|onward| flow.feeds(onward, group));
        for fed_by in onward.map(|onward| onward.group) {
            makers.extend(self.tasks_of(TaskSet::Reduces(fed_by))?);
            // Of a join that has switched, its map tasks do so too.
            makers.extend(self.map_tasks(flow.stage_of(fed_by), flow.late(fed_by))?);
        }
        // One task may feed a group through several channels.
        makers.sort_unstable();
        makers.dedup();
        Some(makers)
    }

    /// Whether tasks of a set that reads a task's set may read what this one makes, as far as is known.
    pub(super) fn may_read(&self, reader: TaskSet, task: TaskId) -> bool {
        let flow = self.flow();
        let collections: BTreeSet<CollectionId> = match reader {
            TaskSet::Split(stage) => flow.path_reads(stage).into_iter().map(|(_, read)| read).collect(),
            // Its map tasks fetch small sides of joins, too.
            TaskSet::Maps(stage) if flow.has_switched(stage) => return true,
            TaskSet::Maps(stage) => flow.stored_reads(stage).collect(),
            TaskSet::Reduces(group) => {
                if self.group_makers(group).is_none_or(|makers| makers.contains(&task)) {
                    return true;
                }
                flow.reduce_sides(group)
            }
            TaskSet::Operate(node) => flow.sides_of(&[node]),
            TaskSet::One(_) => return true,
        };
        let makes = |leaf| self.parts(leaf).is_none_or(|parts| parts.contains(&task));
        collections.into_iter().flat_map(|read| flow.leaves(read)).any(makes)
    }

    /// The map tasks of some channels of a stage; `None`: not known yet.
    pub(super) fn map_tasks(&self, stage: MscrId, channels: &[usize]) -> Option<Vec<TaskId>> {
        if channels.is_empty() {
            return Some(Vec::new());
        }
        let maps = self.maps.get(&stage)?.iter().enumerate().filter(|(_, spec)| channels.contains(&spec.from.channel));
        Some(maps.map(|(at, _)| TaskId::Map { stage, at: number(at) }).collect())
    }

    /// Whether a task is one of this run's: what comes over the wire may name anything.
    pub(super) fn is_task(&self, task: TaskId) -> bool {
        let within = |count: Option<usize>, at: u32| count.is_some_and(|count| (at as usize) < count);
        let Some(flow) = &self.flow else { return matches!(task, TaskId::Inspect | TaskId::LookUp | TaskId::Discard) };
        match task {
            TaskId::Inspect | TaskId::LookUp | TaskId::Stage | TaskId::Commit | TaskId::Discard => true,
            TaskId::Keep { collection } => flow.plan.keep.contains_key(&collection),
            TaskId::Split { stage } => flow.plan.mscrs.iter().any(|mscr| mscr.id == stage),
            TaskId::Map { stage, at } => within(self.maps.get(&stage).map(Vec::len), at),
            TaskId::Reduce { stage, group, at } => {
                flow.is_group(group)
                    && flow.stage_of(group) == stage
                    && within(self.recorded.cuts.get(&group).map(cut::tasks), at)
            }
            TaskId::Operate { node } => flow.plan.operates.iter().any(|operate| operate.node == node),
        }
    }

    /// In how many buckets a group's shuffle is written: the same for all who write to it.
    pub(super) fn buckets(&self, group: NodeId) -> u32 {
        let flow = self.flow();
        let flows_in = flow.onward.iter().any(|onward| flow.feeds(onward, group));
        let makers = if flows_in { None } else { self.maps.get(&flow.stage_of(group)).map(Vec::len) };
        cut::buckets(&flow.plan, group, self.recorded.partitions, self.recorded.slots, makers)
    }

    /// The groups that a task feeds through a channel of a stage.
    pub(super) fn fed(&self, stage: MscrId, channel: usize) -> Vec<NodeId> {
        let flow = self.flow();
        let groups = flow.sets.iter().filter_map(|set| match set {
            TaskSet::Reduces(group) if flow.stage_of(*group) == stage => Some(*group),
            _ => None,
        });
        groups.filter(|group| flow.group(*group).0.contains(&channel)).collect()
    }

    /// What a group's reduce tasks push rows on to.
    pub(super) fn onward(&self, group: NodeId) -> impl Iterator<Item = &Onward> {
        self.flow().onward.iter().filter(move |onward| onward.group == group)
    }

    /// Pieces of what a task left, with their numbers; nothing where it is not done.
    pub(super) fn pieces(&self, task: TaskId) -> impl Iterator<Item = (u32, &Piece)> {
        let pieces = self.ledger.winner(task).map_or(&[][..], |winner| &winner.done.pieces[..]);
        pieces.iter().enumerate().map(|(at, piece)| (number(at), piece))
    }

    /// The same with the marks of some of its keys.
    pub(super) fn marked_pieces(&self, task: TaskId) -> impl Iterator<Item = (&Piece, &[u32])> {
        let marks = self.ledger.winner(task).map(|winner| &winner.done.marks);
        self.pieces(task).map(move |(at, piece)| (piece, marks.and_then(|marks| marks.get(&at)).map_or(&[][..], Vec::as_slice)))
    }

    /// What was seen of the legs of a join, by some of those that fed it.
    pub(super) fn legs(&self, group: NodeId, makers: &[TaskId]) -> Vec<Leg> {
        let mut legs = Vec::new();
        for seen in makers.iter().filter_map(|maker| self.ledger.winner(*maker)?.done.legs.get(&group)) {
            Leg::add_all(&mut legs, seen);
        }
        legs
    }
}

/// Whether a piece is a part of a collection.
pub(super) fn is_part(name: &PieceName, of: CollectionId) -> bool {
    matches!(name, PieceName::Part { collection, .. } if *collection == of)
}

pub(super) fn number(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}
