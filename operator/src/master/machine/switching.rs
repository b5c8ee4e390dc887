//! Joins that may switch to a broadcast: their small sides are mapped first, then it is decided, and recorded, how the rest runs.
//!
//! Where a join switches, the map tasks of its large side look their rows up in the small sides, which they fetch whole, and run what
//! stands behind the join; its reduce tasks are left with rows that match nothing, where the join keeps them.

use std::collections::BTreeSet;

use plan::schedule::{self, Switch};
use plan::task::{MapTask, PieceName, TaskId};
use plan::{MscrId, NodeId};

use super::Machine;
use super::demand::Walk;
use crate::master::api::{Entry, TaskSet};

impl Machine {
    /// The joins that rows of a channel wait for, or have waited for.
    pub(super) fn switches(&self, stage: MscrId, channel: usize) -> impl Iterator<Item = &Switch> {
        let (plan, partitions) = (&self.flow().plan, self.recorded.partitions);
        let free = move |switch: &&Switch| schedule::exact_partitions(plan, switch.group, partitions).is_none();
        plan.switches.iter().filter(move |switch| switch.waits(stage, channel)).filter(free)
    }

    /// The tasks that make the small sides of a join; `None`: not known yet.
    pub(super) fn small_makers(&self, switch: &Switch) -> Option<Vec<TaskId>> {
        let large: BTreeSet<TaskId> = self.map_tasks(switch.stage, &switch.late)?.into_iter().collect();
        Some(self.group_makers(switch.group)?.into_iter().filter(|maker| !large.contains(maker)).collect())
    }

    /// Whether reduce tasks read what a mapper dealt into buckets: where a join has switched, that of the large side alone.
    pub(super) fn is_read(&self, group: NodeId, from: &MapTask) -> bool {
        let flow = self.flow();
        !flow.is_switched(group) || flow.late(group).contains(&from.channel)
    }

    /// Asks for what map tasks of a channel need of joins that may switch; whether it is there.
    pub(super) fn need_joins(&self, walk: &mut Walk, stage: MscrId, channel: usize) -> bool {
        let switches: Vec<&Switch> = self.switches(stage, channel).collect();
        switches.into_iter().fold(true, |ready, switch| {
            let known = walk.joins.get(&switch.group).copied();
            let here = known.unwrap_or_else(|| self.need_join(walk, switch));
            walk.joins.insert(switch.group, here);
            here && ready
        })
    }

    fn need_join(&self, walk: &mut Walk, switch: &Switch) -> bool {
        let group = switch.group;
        match self.recorded.switches.get(&group) {
            None => {
                self.measure(walk, switch);
                false
            }
            Some(told) if !told.did => true,
            Some(_) => {
                let Some(makers) = self.small_makers(switch) else { return self.makers_done(walk, group) };
                let small = |name: &PieceName| match name {
                    PieceName::Bucket { group: of, from, .. } => *of == group && !switch.late.contains(&from.channel),
                    _ => false,
                };
                let sides = self.need_collections(walk, self.flow().reduce_sides(group));
                makers.into_iter().fold(sides, |ready, maker| self.need(walk, maker, &small) && ready)
            }
        }
    }

    /// Sees to it that the small sides of a join are made, until it can be decided.
    fn measure(&self, walk: &mut Walk, switch: &Switch) {
        let Some(makers) = self.small_makers(switch) else {
            let open: Vec<TaskSet> = self.flow().inputs(TaskSet::Reduces(switch.group)).collect();
            return open.into_iter().filter(|set| self.tasks_of(*set).is_none()).for_each(|set| self.open(walk, set));
        };
        let (done, rest): (Vec<TaskId>, Vec<TaskId>) = makers.into_iter().partition(|maker| self.ledger.is_done(*maker));
        if rest.is_empty() || switch.decide(&self.legs(switch.group, &done), self.room()).is_err() {
            walk.switches.insert(switch.group);
        }
        for maker in rest {
            self.make(walk, maker);
        }
    }

    /// What one operator of a task may hold, as the engine has it: a slot has one task at a time, half of its memory is for stores.
    fn room(&self) -> u64 {
        (self.spec.slot_memory / 4).max(1 << 20)
    }

    pub(super) fn decide_switch(&mut self, group: NodeId) {
        if self.is_recording(|entry| matches!(entry, Entry::Switch { group: this, .. } if *this == group)) {
            return;
        }
        let Some(switch) = self.flow().plan.switches.iter().find(|switch| switch.group == group) else { return };
        let makers = self.small_makers(switch).unwrap_or_default();
        let done: Vec<TaskId> = makers.into_iter().filter(|maker| self.ledger.is_done(*maker)).collect();
        let decided = switch.decide(&self.legs(group, &done), self.room());
        let told = switch.told(&self.flow().plan, &decided);
        self.record(Entry::Switch { group, told });
    }

    /// Works out what follows from the joins that have switched.
    pub(super) fn switch_joins(&mut self) {
        let switched = self.recorded.switches.iter().filter(|(_, told)| told.did).map(|(group, _)| *group).collect();
        if let Some(flow) = &mut self.flow {
            flow.switch(switched);
        }
    }

    /// Where small sides are made anew and may come out otherwise, it is decided anew.
    pub(super) fn forget_switches(&mut self, redone: &BTreeSet<TaskSet>) {
        let Some(flow) = &self.flow else { return };
        let measured = |group: &NodeId| flow.feeders(*group).iter().any(|set| redone.contains(set));
        let void: Vec<NodeId> = self.recorded.switches.keys().copied().filter(measured).collect();
        for group in void {
            self.recorded.switches.remove(&group);
        }
        self.switch_joins();
    }
}
