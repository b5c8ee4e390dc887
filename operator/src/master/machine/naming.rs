//! Winners: an attempt counts once its agent has named it. Of several whole attempts the first that can be named wins.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use plan::task::{Attempt, Done, PieceName, TaskId};

use super::event::{Command, Found, SlotId};
use super::ledger::{Standing, Winner};
use super::planted::{self, Bug};
use super::{Machine, Stage};

impl Machine {
    pub(super) fn attempt_done(&mut self, id: SlotId, attempt: Attempt, agent: String, done: Done) {
        self.free(id, attempt);
        self.note_agent(&agent);
        let wanted = self.is_wanted(attempt);
        self.ledger.entry(attempt.task).running.retain(|running| running.attempt != attempt);
        self.stale = true;
        if is_answer(attempt.task) {
            if wanted {
                self.answered(attempt, done);
            } else if attempt.task == TaskId::Stage {
                self.staged_in_vain();
            }
            return;
        }
        if let Stage::Resuming(resume) = &mut self.stage
            && !planted::has(Bug::ProposesEarly)
        {
            // Another one may have been named by the leader before: the agents are heard first.
            return resume.find(agent, Found { attempt, named: false, done: Some(done) });
        }
        match self.ledger.winner(attempt.task) {
            // Told twice.
            Some(winner) if winner.attempt == attempt => {}
            _ if wanted => self.propose(attempt, agent, done),
            _ => self.fence(agent, vec![attempt]),
        }
    }

    /// Has an attempt named.
    pub(super) fn propose(&mut self, attempt: Attempt, agent: String, done: Done) {
        if self.is_given_up(&agent) {
            // Nobody would answer. Should it come back, the attempt is refused there.
            self.fence(agent, vec![attempt]);
            return self.count_loss(attempt.task);
        }
        let winner = Winner { attempt, agent: agent.clone(), done: Arc::new(done), standing: Standing::Naming };
        self.ledger.entry(attempt.task).winner = Some(winner);
        self.out.push(Command::Name { agent, winners: vec![attempt], fenced: Vec::new() });
        if planted::has(Bug::CountsUnnamed) {
            self.won(attempt);
        }
    }

    pub(super) fn fence(&mut self, agent: String, fenced: Vec<Attempt>) {
        if planted::has(Bug::FencesNothing) {
            return;
        }
        self.out.push(Command::Name { agent, winners: Vec::new(), fenced });
    }

    pub(super) fn named(&mut self, agent: &str, winners: &[Attempt], missing: &[Attempt]) {
        for attempt in winners {
            let current = |winner: &&Winner| winner.attempt == *attempt && winner.agent == agent;
            let Some(winner) = self.ledger.winner(attempt.task).filter(current) else {
                // Given up meanwhile, for another one.
                self.fence(agent.to_owned(), vec![*attempt]);
                continue;
            };
            match (winner.standing, missing.contains(attempt)) {
                (Standing::Naming | Standing::Held, true) => {
                    self.output_lost(*attempt);
                    // The agent itself says that it is not there.
                    self.ledger.entry(attempt.task).doubtful = None;
                }
                (Standing::Naming, false) => self.won(*attempt),
                (Standing::Held | Standing::Released | Standing::Lost, _) => {}
            }
        }
    }

    /// An attempt counts from now on.
    pub(super) fn won(&mut self, attempt: Attempt) {
        self.stale = true;
        let state = self.ledger.entry(attempt.task);
        let Some(winner) = &mut state.winner else { return };
        winner.standing = Standing::Held;
        state.doubtful = None;
        let shuffled = |name: &PieceName| matches!(name, PieceName::Bucket { .. } | PieceName::Run { .. });
        self.bytes_shuffled +=
            winner.done.pieces.iter().filter(|piece| shuffled(&piece.name)).map(|piece| piece.bytes).sum::<u64>();
        self.ledger.note_done(attempt.task);
        self.stalled = self.stalled.map(|_| self.now);
        let others: BTreeSet<Attempt> = self.ledger.entry(attempt.task).running.iter().map(|running| running.attempt).collect();
        self.cancel(&others);
    }

    /// Lets go of outputs that nobody needs any more.
    pub(super) fn release(&mut self, tasks: &[TaskId]) {
        let mut released: BTreeMap<String, Vec<Attempt>> = BTreeMap::new();
        for task in tasks {
            if let Some(winner) = &mut self.ledger.entry(*task).winner {
                winner.standing = Standing::Released;
                released.entry(winner.agent.clone()).or_default().push(winner.attempt);
            }
        }
        for (agent, attempts) in released {
            self.out.push(Command::Release { agent, attempts });
        }
    }
}

/// Whether a task's answer is all that it makes: it counts when it is told, and is in the record when it is acted on.
pub(super) fn is_answer(task: TaskId) -> bool {
    match task {
        TaskId::Inspect
        | TaskId::LookUp
        | TaskId::Split { .. }
        | TaskId::Keep { .. }
        | TaskId::Stage
        | TaskId::Commit
        | TaskId::Discard => true,
        TaskId::Map { .. } | TaskId::Reduce { .. } | TaskId::Operate { .. } => false,
    }
}
