//! Agents: who is there, who fell silent, and what is lost with one.

use std::time::Duration;

use plan::task::{Attempt, TaskId};

use super::event::{AgentBeat, Command};
use super::ledger::Standing;
use super::planted::{self, Bug};
use super::retry::Verdict;
use super::{Machine, Stage};

/// An agent that was not heard of for so long gets no new outputs.
const READY: Duration = Duration::from_secs(8);
/// After so long what it holds counts as lost: it is made anew as far as it is needed.
const SILENT: Duration = Duration::from_secs(20);

/// An agent, by its address.
#[derive(Clone, Debug)]
pub(super) struct Agent {
    pub(super) node: String,
    /// `None`: known from a slot alone.
    pub(super) incarnation: Option<u64>,
    seen: Duration,
    waiting: bool,
    pub(super) used: u64,
    pub(super) limit: u64,
    /// Silent for so long that nothing is expected of it.
    gone: bool,
    /// The process that was asked what it holds.
    asked: Option<u64>,
    pub(super) answered: bool,
    /// Whether it was given up before.
    returned: bool,
}

impl Machine {
    pub(super) fn beat(&mut self, beat: AgentBeat) {
        let moved =
            |(address, agent): (&String, &Agent)| (agent.node == beat.node && *address != beat.address).then(|| address.clone());
        let moved: Vec<String> = self.agents.iter().filter_map(moved).collect();
        for address in &moved {
            self.lose_agent(address);
            self.agents.remove(address);
        }
        let restarted =
            self.agents.get(&beat.address).is_some_and(|agent| agent.incarnation.is_some_and(|it| it != beat.incarnation));
        if restarted {
            // What it held in memory is gone; what is still there it tells.
            self.lose_agent(&beat.address);
        }
        let before = self.agents.get(&beat.address);
        let news = restarted || before.is_none_or(|agent| agent.gone || agent.incarnation.is_none());
        // A beat from before it moved may come late: then it is the other address that was given up, and is heard of again.
        let returned = restarted || !moved.is_empty() || before.is_some_and(|agent| agent.gone || agent.returned);
        let asked = before.filter(|_| !news).and_then(|agent| agent.asked);
        let answered = asked.is_some() && before.is_some_and(|agent| agent.answered);
        let agent = Agent {
            node: beat.node,
            incarnation: Some(beat.incarnation),
            seen: self.now,
            waiting: beat.waiting,
            used: beat.used,
            limit: beat.limit,
            gone: false,
            asked,
            answered,
            returned,
        };
        self.agents.insert(beat.address.clone(), agent);
        // Whatever an agent holds that we do not know of an earlier leader has left there, or we have given up.
        if asked.is_none() && beat.holds && (self.resumed || returned) && self.flow.is_some() && !self.is_over() {
            self.ask(&beat.address, beat.incarnation);
        }
        self.stale |= news;
    }

    fn ask(&mut self, address: &str, incarnation: u64) {
        if let Some(agent) = self.agents.get_mut(address) {
            (agent.asked, agent.answered) = (Some(incarnation), false);
            self.out.push(Command::Inventory { agent: address.to_owned(), incarnation });
        }
    }

    /// Whether all that were asked what they hold have answered.
    pub(super) fn all_answered(&self) -> bool {
        self.agents.values().all(|agent| agent.gone || agent.asked.is_none() || agent.answered)
    }

    /// Notes an agent that a slot has put its output to.
    pub(super) fn note_agent(&mut self, address: &str) {
        let now = self.now;
        self.agents.entry(address.to_owned()).or_insert_with(|| Agent {
            node: String::new(),
            incarnation: None,
            seen: now,
            waiting: false,
            used: 0,
            limit: 0,
            gone: false,
            asked: None,
            answered: false,
            returned: false,
        });
    }

    /// Agents that can take outputs.
    pub(super) fn ready_agents(&self) -> impl Iterator<Item = (&String, &Agent)> {
        let now = self.now;
        self.agents.iter().filter(move |(_, agent)| agent.incarnation.is_some() && !agent.gone && agent.seen + READY > now)
    }

    pub(super) fn agents_silent(&mut self) {
        let silent =
            |(address, agent): (&String, &Agent)| (!agent.gone && agent.seen + SILENT <= self.now).then(|| address.clone());
        let silent: Vec<String> = self.agents.iter().filter_map(silent).collect();
        silent.iter().for_each(|address| self.lose_agent(address));
    }

    /// Whether nothing is expected of an agent.
    pub(super) fn is_given_up(&self, address: &str) -> bool {
        self.agents.get(address).is_some_and(|agent| agent.gone)
    }

    /// Gives up all that an agent holds.
    fn lose_agent(&mut self, address: &str) {
        if let Stage::Resuming(resume) = &mut self.stage {
            resume.forget(address);
        }
        if let Some(agent) = self.agents.get_mut(address) {
            agent.gone = true;
        }
        self.out.push(Command::GiveUp { agent: address.to_owned() });
        let lost: Vec<Attempt> = self
            .ledger
            .iter()
            .filter_map(|(_, state)| state.winner.as_ref())
            .filter(|winner| winner.agent == address && matches!(winner.standing, Standing::Naming | Standing::Held))
            .map(|winner| winner.attempt)
            .collect();
        lost.into_iter().for_each(|attempt| self.output_lost(attempt));
    }

    /// A winner's output is gone.
    pub(super) fn output_lost(&mut self, attempt: Attempt) {
        self.stale = true;
        let indeterminate = self.flow.as_ref().is_some_and(|flow| flow.indeterminate.contains(&flow.set_of(attempt.task)));
        let state = self.ledger.entry(attempt.task);
        let Some(winner) = state.winner.as_mut().filter(|winner| winner.attempt == attempt) else { return };
        if winner.standing == Standing::Naming {
            // It may have been named all the same; nobody reads it, and nobody must read it later.
            state.doubtful = indeterminate.then_some(attempt.number);
            state.winner = None;
        } else if !planted::has(Bug::WaitsForLost) {
            winner.standing = Standing::Lost;
        }
        self.count_loss(attempt.task);
    }

    /// What a task has made is lost: it is made again, after a while, and not for ever.
    pub(super) fn count_loss(&mut self, task: TaskId) {
        let progress = self.ledger.progress();
        let state = self.ledger.entry(task);
        match state.tally.lose(progress, "DataLost") {
            Verdict::Retry(wait) => state.not_before = self.now + wait,
            Verdict::Fail(reason) if !matches!(self.stage, Stage::Committing) => {
                self.fail(reason, format!("the output of task {task} was lost again and again"));
            }
            Verdict::Fail(_) => {}
        }
    }

    /// Fails the run where shuffles have had no room, or no agent was there, for too long.
    pub(super) fn check_stall(&mut self) {
        let Some((_, message)) = self.stall() else {
            self.stalled = None;
            return;
        };
        let since = *self.stalled.get_or_insert(self.now);
        let deadline = Duration::from_secs(u64::from(self.spec.spec.stall_deadline_seconds));
        if self.now >= since + deadline && matches!(self.stage, Stage::Inspecting | Stage::Running) {
            self.fail("Stalled", format!("{message}, for {} s", deadline.as_secs()));
        }
    }

    /// Why nothing can go on, as far as agents are to blame.
    pub(super) fn stall(&self) -> Option<(&'static str, String)> {
        if matches!(self.stage, Stage::Over(_) | Stage::Abandoned) || self.slots.is_empty() {
            return None;
        }
        if self.ready_agents().next().is_none() {
            return Some(("AgentsNotReady", "no agent is ready to take what tasks make".to_owned()));
        }
        let waiting: Vec<&str> =
            self.ready_agents().filter(|(_, agent)| agent.waiting).map(|(_, agent)| agent.node.as_str()).collect();
        let why = || format!("agents have no room for shuffles: {}", waiting.join(", "));
        (!waiting.is_empty() && !planted::has(Bug::StallsSilently)).then(|| ("ShuffleSpace", why()))
    }
}
