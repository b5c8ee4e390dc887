//! What a new leader doubts: of rows that may come out otherwise, attempts that it knows nothing of may have been named and read.

use std::collections::BTreeSet;

use plan::task::TaskId;

use super::Machine;
use super::output::is_stdout;
use super::planted::{self, Bug};
use super::staging::is_files;
use super::tasks::{MapFrom, MapSpec, number};
use crate::master::api::{Entry, TaskSet};

impl Machine {
    /// Of rows that may come out otherwise, an attempt that we know nothing of may have been named by the leader before, and been
    /// read. Where a winner is not known, all such attempts are void from now on, and so is what was made of them. Where all that
    /// read them is done, nothing is made anew as long as none of it is lost: they are forgotten, and never taken up again.
    pub(super) fn settle_doubts(&mut self) {
        let above = self.ledger.before();
        let (mut open, mut tasks, mut forgotten) = (BTreeSet::new(), Vec::new(), BTreeSet::new());
        let behind = self.behind_us();
        for set in &self.flow().indeterminate {
            let all = self.tasks_of(*set).unwrap_or_default();
            for task in all.into_iter().filter(|task| !self.ledger.is_done(*task)) {
                // Its set may be read by more than read it: a shuffle has what some channels make.
                let is_read = self.flow().read_by(*set).any(|reader| self.may_read(reader, task));
                if behind.contains(set) && is_read && !planted::has(Bug::RemakesRead) {
                    forgotten.insert(task);
                } else {
                    open.insert(*set);
                    tasks.push((*set, task));
                }
            }
        }
        if planted::has(Bug::TrustsUnknown) {
            return;
        }
        self.withdraw(&forgotten);
        self.ledger.forget(forgotten);
        if open.is_empty() {
            return;
        }
        let mut sets = self.may_have_read(tasks.iter().map(|(_, task)| *task).collect());
        if self.flow().write(&open, is_files) {
            sets.insert(TaskSet::One(TaskId::Stage));
        }
        // What goes on of the open ones may go on, unless it has read of another.
        tasks.retain(|(set, _)| !sets.contains(set));
        let mut except = BTreeSet::new();
        for (_, task) in tasks {
            sets.insert(TaskSet::One(task));
            if let Some(state) = self.ledger.get(task) {
                except.extend(state.running.iter().map(|running| running.attempt));
                except.extend(state.winner.iter().map(|winner| winner.attempt));
            }
        }
        self.record(Entry::Redo { sets, above, except });
    }

    /// Who may have read what these tasks made, or what was made of that. What the record has no number of tasks for has never begun:
    /// neither has what reads it, as that needs all of its tasks. Of a stage that reads other things, too, its single map tasks are
    /// meant, as long as none of them changes its number by what is done over.
    fn may_have_read(&self, mut made: Vec<TaskId>) -> BTreeSet<TaskSet> {
        let flow = self.flow();
        let (mut whole, mut single, mut touched) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        while let Some(task) = made.pop() {
            let readers = flow.read_by(flow.set_of(task)).filter(|reader| self.may_read(*reader, task));
            for reader in readers.filter(|reader| self.tasks_of(*reader).is_some()) {
                touched.insert(reader);
                match self.single_readers(reader, task) {
                    Some(readers) => made.extend(readers.into_iter().filter(|reader| single.insert(TaskSet::One(*reader)))),
                    None => {
                        whole.insert(reader);
                    }
                }
            }
        }
        let mut sets = flow.readers(&whole);
        sets.extend(whole);
        if flow.write(&touched, is_files) {
            sets.insert(TaskSet::One(TaskId::Stage));
        }
        sets.extend(single);
        sets
    }

    /// The tasks of a stage that read what a task made; `None`: it takes all of the stage, as more than rows hangs on them (what was
    /// kept of standard output, whether a join has switched), or as it is doubted itself. (What they make for later runs does not
    /// count: of rows that may come out otherwise nothing is kept.)
    fn single_readers(&self, reader: TaskSet, task: TaskId) -> Option<Vec<TaskId>> {
        let TaskSet::Maps(stage) = reader else { return None };
        let flow = self.flow();
        let decides = |group: &plan::NodeId| flow.feeders(*group).contains(&reader);
        let shown = flow.write(&BTreeSet::from([reader]), is_stdout);
        if shown || flow.indeterminate.contains(&reader) || self.recorded.switches.keys().any(decides) {
            return None;
        }
        let aside = |channel: usize| {
            let sides = flow.sides_of(&flow.channel(stage, channel).does);
            let mut leaves = sides.into_iter().flat_map(|side| flow.leaves(side));
            leaves.any(|leaf| self.parts(leaf).is_none_or(|parts| parts.contains(&task)))
        };
        let reads =
            |spec: &MapSpec| matches!(&spec.input, MapFrom::Stored { maker, .. } if *maker == task) || aside(spec.from.channel);
        let maps = self.maps.get(&stage)?.iter().enumerate().filter(|(_, spec)| reads(spec));
        Some(maps.map(|(at, _)| TaskId::Map { stage, at: number(at) }).collect())
    }

    /// Ends attempts of tasks that were done under an earlier leader: a slot may tell once more what that leader knew, or be late.
    fn withdraw(&mut self, tasks: &BTreeSet<TaskId>) {
        let (mut running, mut fenced) = (BTreeSet::new(), Vec::new());
        for task in tasks {
            let state = self.ledger.entry(*task);
            running.extend(state.running.iter().map(|running| running.attempt));
            fenced.extend(state.winner.take());
        }
        self.cancel(&running);
        fenced.into_iter().for_each(|winner| self.fence(winner.agent, vec![winner.attempt]));
    }

    /// Sets of which nothing is read any more, unless something is lost: all that read them is done, or is behind us itself.
    fn behind_us(&self) -> BTreeSet<TaskSet> {
        let flow = self.flow();
        let whole =
            |set: TaskSet| self.tasks_of(set).is_some_and(|tasks| tasks.into_iter().all(|task| self.ledger.is_done(task)));
        let mut behind = BTreeSet::new();
        // Readers come before what they read.
        for set in flow.sets.iter().rev().filter(|set| !flow.lasting.contains(set)) {
            let mut readers = flow.read_by(*set).peekable();
            if readers.peek().is_some() && readers.all(|reader| behind.contains(&reader) || whole(reader)) {
                behind.insert(*set);
            }
        }
        behind
    }
}
