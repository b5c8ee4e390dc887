//! A new leader takes a run up: the record says what was decided, agents what is done, slots what goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use plan::task::{Attempt, TaskId};

use super::event::Found;
use super::ledger::{Standing, Winner};
use super::naming::is_answer;
use super::planted::{self, Bug};
use super::{Machine, Stage};
use crate::master::api::Entry;

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
}
