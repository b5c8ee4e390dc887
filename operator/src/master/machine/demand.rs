//! The walk: from the sinks back to what must run now. Finds what can run, which shuffles can be cut, what must be done over.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use plan::task::{Piece, PieceName, TaskId};
use plan::{CollectionId, MscrId, NodeId, Sink};

use super::ledger::Standing;
use super::planted::{self, Bug};
use super::tasks::{MapFrom, is_part};
use super::{Machine, cut};
use crate::master::api::{Cut, Entry, TaskSet};

/// What a walk found.
#[derive(Debug, Default)]
pub(super) struct Walk {
    /// Tasks that could run now.
    pub(super) ready: Vec<TaskId>,
    /// Groups whose shuffle is whole and not shared out yet.
    cuts: BTreeSet<NodeId>,
    /// Joins of which it can be decided now whether they switch to a broadcast.
    pub(super) switches: BTreeSet<NodeId>,
    /// Per join that may switch: whether its large side can run.
    pub(super) joins: BTreeMap<NodeId, bool>,
    /// Sets whose lost rows may come out otherwise.
    redo: BTreeSet<TaskSet>,
    /// Tasks of such sets of which a lost attempt may have been named: it must not come back.
    doubt: BTreeSet<TaskId>,
    /// Per task that was asked for: whether its output is there.
    seen: BTreeMap<TaskId, bool>,
    /// Per set that must be whole: whether all its tasks are done.
    whole: BTreeMap<TaskSet, bool>,
    /// Per group, the makers whose output is not there.
    missing: BTreeMap<NodeId, Vec<TaskId>>,
    opened: BTreeSet<TaskSet>,
}

impl Machine {
    /// Finds out what is to be done, has decisions recorded, fills the agenda. Whether all that the sinks need is there.
    pub(super) fn look_around(&mut self) -> bool {
        self.number_maps();
        let mut walk = Walk::default();
        let kept = self.walk_results(&mut walk);
        let ready = self.walk_sinks(&mut walk) & self.walk_effects(&mut walk) && kept;
        self.stale = false;
        if self.redo_lost(&walk.redo, &walk.doubt) {
            self.agenda.clear();
            return false;
        }
        for group in std::mem::take(&mut walk.switches) {
            self.decide_switch(group);
        }
        for group in std::mem::take(&mut walk.cuts) {
            self.decide_cut(group);
        }
        self.agenda = self.in_order(std::mem::take(&mut walk.ready));
        let making: BTreeSet<TaskSet> = walk.seen.keys().map(|task| self.flow().set_of(*task)).collect();
        self.release_read(&making);
        ready
    }

    /// Upstream first; within a set by number.
    fn in_order(&self, ready: Vec<TaskId>) -> VecDeque<TaskId> {
        let flow = self.flow();
        let rank: BTreeMap<TaskSet, usize> = flow.sets.iter().enumerate().map(|(rank, set)| (*set, rank)).collect();
        let mut ready: Vec<(usize, TaskId)> =
            ready.into_iter().map(|task| (rank.get(&flow.set_of(task)).copied().unwrap_or(usize::MAX), task)).collect();
        ready.sort_unstable();
        ready.dedup();
        ready.into_iter().map(|(_, task)| task).collect()
    }

    fn walk_sinks(&self, walk: &mut Walk) -> bool {
        let mut ready = true;
        for (node, sink) in self.flow().sinks() {
            let done = match sink {
                Sink::Stdout { .. } => self.output.is_kept(),
                Sink::Files { .. } => self.staging.is_whole(),
            };
            let writers = self.flow().writers.get(&node.id).cloned().unwrap_or_default();
            let uses = |name: &PieceName| matches!(name, PieceName::Write { node: of, .. } if *of == node.id);
            for set in writers.into_iter().filter(|_| !done) {
                ready &= self.need_set(walk, set, &uses);
            }
        }
        ready
    }

    /// Steps that run though nobody reads what they make: whether they have run.
    fn walk_effects(&self, walk: &mut Walk) -> bool {
        let sets = self.flow().effects.iter().copied();
        sets.fold(true, |ready, set| self.need_set(walk, set, &|_| false) && ready)
    }

    /// Asks for the output of all tasks of a set, as far as it is used; whether all of it is there.
    pub(super) fn need_set(&self, walk: &mut Walk, set: TaskSet, uses: &dyn Fn(&PieceName) -> bool) -> bool {
        let Some(tasks) = self.tasks_of(set) else {
            self.open(walk, set);
            return false;
        };
        tasks.into_iter().fold(true, |ready, task| self.need(walk, task, uses) && ready)
    }

    /// Asks for a task's output, as far as it is used; whether it is there.
    pub(super) fn need(&self, walk: &mut Walk, task: TaskId, uses: &dyn Fn(&PieceName) -> bool) -> bool {
        match self.ledger.winner(task) {
            Some(winner) => match winner.standing {
                Standing::Held => true,
                Standing::Naming => false,
                Standing::Released | Standing::Lost if !winner.done.pieces.iter().any(|piece| uses(&piece.name)) => true,
                Standing::Released | Standing::Lost => self.make(walk, task),
            },
            None => self.make(walk, task),
        }
    }

    /// Finds out how a task gets to run. Never there already.
    pub(super) fn make(&self, walk: &mut Walk, task: TaskId) -> bool {
        if walk.seen.insert(task, false).is_some() {
            return false;
        }
        let set = self.flow().set_of(task);
        let state = self.ledger.get(task);
        if self.flow().indeterminate.contains(&set) {
            if state.is_some_and(|state| state.is_done()) || self.ledger.is_forgotten(task) {
                walk.redo.insert(set);
            } else if state.is_some_and(|state| state.doubtful.is_some()) {
                walk.doubt.insert(task);
            }
        }
        if !self.is_answered(task) && !state.is_some_and(|state| state.is_busy()) && self.inputs_ready(walk, task) {
            walk.ready.push(task);
        }
        false
    }

    /// Finds out what a set's number of tasks waits for.
    pub(super) fn open(&self, walk: &mut Walk, set: TaskSet) {
        if !walk.opened.insert(set) {
            return;
        }
        match set {
            TaskSet::Maps(stage) => self.open_maps(walk, stage),
            TaskSet::Reduces(group) => {
                if self.makers_done(walk, group) {
                    walk.cuts.insert(group);
                }
            }
            TaskSet::Split(_) | TaskSet::Operate(_) | TaskSet::One(_) => {}
        }
    }

    fn open_maps(&self, walk: &mut Walk, stage: MscrId) {
        let flow = self.flow();
        if flow.splits(stage) && !self.recorded.splits.contains_key(&stage) {
            self.need(walk, TaskId::Split { stage }, &|_| true);
        }
        for input in flow.inputs(TaskSet::Maps(stage)).filter(|input| self.tasks_of(*input).is_none()).collect::<Vec<_>>() {
            self.open(walk, input);
        }
    }

    /// Whether all that feed a group are done; if not, sees to it.
    pub(super) fn makers_done(&self, walk: &mut Walk, group: NodeId) -> bool {
        let Some(makers) = self.group_makers(group) else {
            for input in
                self.flow().inputs(TaskSet::Reduces(group)).filter(|input| self.tasks_of(*input).is_none()).collect::<Vec<_>>()
            {
                self.open(walk, input);
            }
            return false;
        };
        makers.into_iter().fold(true, |done, maker| (self.ledger.is_done(maker) || self.make(walk, maker)) && done)
    }

    /// Whether all that a task reads is there; if not, sees to it.
    fn inputs_ready(&self, walk: &mut Walk, task: TaskId) -> bool {
        let flow = self.flow();
        match task {
            TaskId::Split { stage } => {
                flow.path_reads(stage).into_iter().fold(true, |ready, (_, read)| self.need_collection(walk, read) && ready)
            }
            TaskId::Map { stage, at } => {
                let Some(spec) = self.maps.get(&stage).and_then(|maps| maps.get(at as usize)) else { return false };
                let sides = flow.sides_of(&flow.channel(stage, spec.from.channel).does);
                let ready = self.need_collections(walk, sides);
                let ready = self.need_joins(walk, stage, spec.from.channel) && ready;
                match &spec.input {
                    MapFrom::Split { .. } | MapFrom::Nothing => ready,
                    MapFrom::Stored { part, maker } => self.need_part(walk, *part, *maker) && ready,
                }
            }
            TaskId::Reduce { group, at, .. } => {
                let ready = self.need_collections(walk, flow.reduce_sides(group));
                self.need_shuffle(walk, group, at) && ready
            }
            TaskId::Operate { node } => self.need_collections(walk, flow.sides_of(&[node])),
            TaskId::Inspect | TaskId::LookUp | TaskId::Keep { .. } | TaskId::Stage | TaskId::Commit | TaskId::Discard => true,
        }
    }

    pub(super) fn need_collections(&self, walk: &mut Walk, collections: BTreeSet<CollectionId>) -> bool {
        collections.into_iter().fold(true, |ready, collection| self.need_collection(walk, collection) && ready)
    }

    /// Asks for all parts of a collection.
    fn need_collection(&self, walk: &mut Walk, collection: CollectionId) -> bool {
        let flow = self.flow();
        let mut ready = true;
        for leaf in flow.leaves(collection) {
            for set in flow.makers(leaf) {
                ready &= self.need_set(walk, set, &|name| is_part(name, leaf));
            }
        }
        ready
    }

    /// Asks for what one task stored of a collection. Of rows that may come out otherwise all must be there before any is read:
    /// then what was read of them is consistent, whoever leads.
    fn need_part(&self, walk: &mut Walk, part: CollectionId, maker: TaskId) -> bool {
        let set = self.flow().set_of(maker);
        let any = !self.flow().indeterminate.contains(&set) || planted::has(Bug::ReadsTooSoon);
        let whole = any || self.is_whole(walk, set);
        self.need(walk, maker, &|name| is_part(name, part)) && whole
    }

    /// Whether all tasks of a set are done; if not, sees to it.
    fn is_whole(&self, walk: &mut Walk, set: TaskSet) -> bool {
        if let Some(whole) = walk.whole.get(&set) {
            return *whole;
        }
        let tasks = self.tasks_of(set).unwrap_or_default();
        let whole = tasks.into_iter().fold(true, |whole, task| (self.ledger.is_done(task) || self.make(walk, task)) && whole);
        walk.whole.insert(set, whole);
        whole
    }

    /// Asks for what a reduce task reads of its shuffle.
    fn need_shuffle(&self, walk: &mut Walk, group: NodeId, at: u32) -> bool {
        let missing = match walk.missing.get(&group) {
            Some(missing) => missing.clone(),
            None => {
                let there = |maker: &TaskId| self.ledger.winner(*maker).is_some_and(|winner| winner.standing == Standing::Held);
                let Some(makers) = self.group_makers(group) else { return self.makers_done(walk, group) };
                let missing: Vec<TaskId> = makers.into_iter().filter(|maker| !there(maker)).collect();
                walk.missing.insert(group, missing.clone());
                missing
            }
        };
        missing.into_iter().fold(true, |ready, maker| self.need(walk, maker, &|name| self.reads(group, at, name)) && ready)
    }

    /// Whether a reduce task reads a piece.
    fn reads(&self, of: NodeId, at: u32, name: &PieceName) -> bool {
        match (self.recorded.cuts.get(&of), name) {
            (Some(cut @ (Cut::Buckets(_) | Cut::Shares(_))), PieceName::Bucket { group, bucket, from }) => {
                *group == of && self.is_read(of, from) && cut::reads(cut, at, *bucket, from)
            }
            (Some(Cut::Places(bounds)), PieceName::Run { group, marks, .. }) => {
                let (lower, upper) = cut::range(bounds, at as usize);
                *group == of && !cut::frames(marks, u32::MAX, lower, upper).is_empty()
            }
            _ => false,
        }
    }

    fn decide_cut(&mut self, group: NodeId) {
        if self.is_recording(|entry| matches!(entry, Entry::Cut { group: this, .. } if *this == group)) {
            return;
        }
        let makers = self.group_makers(group).unwrap_or_default();
        let pieces: Vec<(&Piece, &[u32])> = makers.iter().flat_map(|maker| self.marked_pieces(*maker)).collect();
        let pieces = pieces.into_iter().filter(|(piece, _)| match &piece.name {
            PieceName::Bucket { from, .. } => self.is_read(group, from),
            _ => true,
        });
        let shape = cut::Shape { partitions: self.recorded.partitions, slots: self.recorded.slots, buckets: self.buckets(group) };
        let (flow, legs) = (self.flow(), self.legs(group, &makers));
        let (cut, told) = cut::decide((&flow.plan, flow.stage(flow.stage_of(group))), group, shape, (pieces.collect(), &legs));
        self.record(Entry::Cut { group, cut, told });
    }

    /// Has it recorded that rows which may come out otherwise are done over, with all that read them. Whether there is any.
    fn redo_lost(&mut self, lost: &BTreeSet<TaskSet>, doubt: &BTreeSet<TaskId>) -> bool {
        if lost.is_empty() && doubt.is_empty() {
            return false;
        }
        if !self.is_recording(|entry| matches!(entry, Entry::Redo { .. })) {
            let mut sets = if planted::has(Bug::ForgetsReaders) { BTreeSet::new() } else { self.flow().readers(lost) };
            sets.extend(lost);
            sets.extend(doubt.iter().map(|task| TaskSet::One(*task)));
            self.record(Entry::Redo { sets, above: self.ledger.highest_of_all(), except: BTreeSet::new() });
        }
        true
    }

    /// Lets go of outputs whose readers are all done, and need not be done again.
    fn release_read(&mut self, making: &BTreeSet<TaskSet>) {
        let flow = self.flow();
        let done = |set: TaskSet| {
            let tasks = self.tasks_of(set);
            match set {
                // Its answer is in the record.
                TaskSet::Split(stage) => !flow.splits(stage) || self.recorded.splits.contains_key(&stage),
                _ => tasks.is_some_and(|tasks| tasks.into_iter().all(|task| self.ledger.is_done(task))),
            }
        };
        let whole: BTreeSet<TaskSet> = flow.sets.iter().copied().filter(|set| !making.contains(set) && done(*set)).collect();
        let over = |set: &&TaskSet| {
            let read = planted::has(Bug::ReleasesUnread) || flow.read_by(**set).all(|reader| whole.contains(&reader));
            // What ran for its effects alone stays: a later leader could not tell that it ran.
            whole.contains(set) && !flow.lasting.contains(set) && !flow.effects.contains(set) && read
        };
        let over: BTreeSet<TaskSet> = flow.sets.iter().filter(over).copied().collect();
        let of = |task: TaskId| self.flow().set_of(task);
        let released: Vec<TaskId> = self
            .ledger
            .iter()
            .filter(|(task, state)| state.standing() == Some(Standing::Held) && over.contains(&of(**task)))
            .map(|(task, _)| *task)
            .collect();
        self.release(&released);
    }
}
