//! A new leader takes a run up: the record says what was decided, agents what is done, slots what goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use plan::task::{Attempt, TaskId};

use super::event::Found;
use super::ledger::{Standing, Winner};
use super::naming::is_answer;
use super::planted::{self, Bug};
use super::staging::is_files;
use super::{Machine, Stage};
use crate::master::api::{Entry, TaskSet};

/// So long agents and slots have to find a new leader before it goes on without them: a connection that is tried in vain, a pause,
/// and the next one. What an agent holds that comes later is made again for nothing.
const GATHER: Duration = Duration::from_secs(10);
/// So long an agent that was heard of has to tell what it holds.
const ANSWERS: Duration = Duration::from_secs(20);

/// What was heard so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Resume {
    since: Duration,
    /// By agent.
    found: Vec<(String, Found)>,
}

impl Resume {
    /// Notes an output that an agent holds.
    pub(super) fn find(&mut self, agent: String, found: Found) {
        self.found.push((agent, found));
    }

    /// What an agent told counts no more.
    pub(super) fn forget(&mut self, agent: &str) {
        self.found.retain(|(this, _)| this != agent);
    }
}

impl Machine {
    /// Begins a run, or takes it up.
    pub(super) fn begin(&mut self, record: Vec<Entry>) {
        if record.is_empty() {
            return self.begin_planning();
        }
        self.resumed = true;
        self.stage = Stage::Resuming(Resume { since: self.now, found: Vec::new() });
        for entry in record {
            let forgets = planted::has(Bug::ForgetsCommit) && matches!(entry, Entry::Committing { .. })
                || planted::has(Bug::ForgetsCuts) && matches!(entry, Entry::Cut { .. });
            if !forgets {
                self.replay(entry);
            }
        }
        if self.flow.is_none() {
            self.fail("Invalid", "the run record does not begin with a plan".to_owned());
        }
    }

    pub(super) fn inventory(&mut self, agent: String, incarnation: u64, outputs: Vec<Found>) {
        let Some(known) = self.agents.get_mut(&agent).filter(|known| known.incarnation == Some(incarnation)) else { return };
        known.answered = true;
        if let Stage::Resuming(resume) = &mut self.stage {
            outputs.into_iter().for_each(|found| resume.find(agent.clone(), found));
        } else if self.flow.is_some() && matches!(self.stage, Stage::Running) {
            self.number_maps();
            let outputs = outputs.into_iter().map(|found| (agent.clone(), found)).collect();
            self.adopt(outputs);
        }
    }

    pub(super) fn resume_if_ready(&mut self) {
        let Stage::Resuming(resume) = &mut self.stage else { return };
        let waited = self.now.saturating_sub(resume.since);
        if waited < GATHER {
            return;
        }
        let found = std::mem::take(&mut resume.found);
        if waited < ANSWERS && !self.all_answered() {
            if let Stage::Resuming(resume) = &mut self.stage {
                resume.found = found;
            }
            return;
        }
        self.number_maps();
        self.stage = Stage::Running;
        self.note_resumed();
        self.adopt(found);
        self.drop_answered();
        self.settle_doubts();
        self.stale = true;
        self.run_tasks();
    }

    /// Takes over what agents hold: of several attempts of a task the first that was named, else the first that is whole.
    fn adopt(&mut self, mut found: Vec<(String, Found)>) {
        found.sort_by_key(|(agent, found)| (!found.named, found.attempt, agent.clone()));
        let mut fenced: BTreeMap<String, Vec<Attempt>> = BTreeMap::new();
        for (agent, found) in found {
            let Found { attempt, named, done } = found;
            if is_answer(attempt.task) {
                continue;
            }
            self.stale = true;
            let usable = self.is_task(attempt.task) && !self.is_void(attempt);
            match (self.ledger.winner(attempt.task), done) {
                (Some(winner), _) if winner.attempt == attempt => self.found_again(attempt, &agent),
                (None, Some(done)) if usable && named => {
                    let winner = Winner { attempt, agent, done: done.into(), standing: Standing::Naming };
                    self.ledger.entry(attempt.task).winner = Some(winner);
                    self.won(attempt);
                }
                (None, Some(done)) if usable => self.propose(attempt, agent, done),
                // Another attempt has won, or this one must not.
                (Some(_), _) | (None, _) => fenced.entry(agent).or_default().push(attempt),
            }
        }
        fenced.into_iter().for_each(|(agent, fenced)| self.fence(agent, fenced));
    }

    /// An output that counted as lost is there after all.
    fn found_again(&mut self, attempt: Attempt, agent: &str) {
        let Some(winner) = &mut self.ledger.entry(attempt.task).winner else { return };
        if winner.standing == Standing::Lost && winner.agent == agent {
            winner.standing = Standing::Held;
            let others: BTreeSet<Attempt> =
                self.ledger.entry(attempt.task).running.iter().map(|running| running.attempt).collect();
            self.cancel(&others);
        }
    }

    /// Slots that work on what is done already are told to stop.
    fn drop_answered(&mut self) {
        let over = |task: TaskId| {
            let answered =
                matches!(task, TaskId::Inspect | TaskId::LookUp | TaskId::Commit | TaskId::Discard) || self.is_answered(task);
            !self.is_task(task) || self.ledger.is_there(task) || answered
        };
        let attempts = self.ledger.iter().flat_map(|(_, state)| &state.running).map(|running| running.attempt);
        let over: BTreeSet<Attempt> = attempts.filter(|attempt| over(attempt.task) || self.is_void(*attempt)).collect();
        self.cancel(&over);
    }

    /// Of rows that may come out otherwise, an attempt that we know nothing of may have been named by the leader before, and been
    /// read. Where a winner is not known, all such attempts are void from now on, and so is what was made of them. Where all that
    /// read them is done, nothing is made anew as long as none of it is lost: they are forgotten, and never taken up again.
    fn settle_doubts(&mut self) {
        let above = self.ledger.before();
        let (mut open, mut tasks, mut forgotten) = (BTreeSet::new(), Vec::new(), BTreeSet::new());
        let (mut doubted, behind) = (BTreeSet::new(), self.behind_us());
        for set in &self.flow().indeterminate {
            let all = self.tasks_of(*set).unwrap_or_default();
            for task in all.into_iter().filter(|task| !self.ledger.is_done(*task)) {
                // Its set may be read by more than read it: a shuffle has what some channels make.
                let readers: Vec<TaskSet> = self.flow().read_by(*set).filter(|reader| self.may_read(*reader, task)).collect();
                if behind.contains(set) && !readers.is_empty() && !planted::has(Bug::RemakesRead) {
                    forgotten.insert(task);
                } else {
                    open.insert(*set);
                    tasks.push((*set, task));
                    doubted.extend(readers);
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
        let mut sets = self.flow().readers(&doubted);
        sets.extend(doubted);
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
