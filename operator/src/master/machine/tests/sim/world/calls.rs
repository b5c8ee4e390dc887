//! What leaders ask of others: agents, and the keeper of records.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use plan::task::Attempt;

use super::{Item, Worker, World, ms};
use crate::master::api::{Entry, KeepError, RecordError};
use crate::master::machine::event::{Command, Event, Found, OutputRequest, Unfetched};
use crate::master::machine::planning;

impl World {
    pub(super) fn call(&mut self, leader: usize, (epoch, asked): (u32, Duration), command: Command) {
        let (alive, term) = (self.leaders[leader].alive, self.leaders[leader].term);
        let troubled = self.troubled();
        let (loses, answer_lost) =
            (troubled && self.random.chance(self.faults.calls), troubled && self.random.chance(self.faults.calls));
        match command {
            Command::Name { ref agent, .. } | Command::Release { ref agent, .. } | Command::Inventory { ref agent, .. } => {
                if self.leaders[leader].epochs.get(agent).copied().unwrap_or(0) != epoch || !alive {
                    return;
                }
                let at = self.agent(agent).filter(|at| !loses && !self.is_cut(*at) && self.agents[*at].term <= term);
                let answer = at.and_then(|at| self.answer(at, term, &command));
                if at.is_some() && troubled && self.random.chance(self.faults.doubles) {
                    // It arrives once more, when nobody waits for an answer any more.
                    let (agent, command, when) = (agent.clone(), command.clone(), self.now + ms(self.random.next() % 8000));
                    self.at(when, Item::Echo { term, agent, command });
                }
                match answer {
                    Some(event) if !answer_lost => self.soon(Item::Tell { leader, via: None, event }),
                    None if at.is_some() => {}
                    _ => {
                        let when = self.now + ms(1000);
                        self.at(when, Item::Call { leader, epoch, asked, command });
                    }
                }
            }
            Command::Record { at, entry } => {
                let result = if loses { Err(unavailable("lost")) } else { self.append(leader, asked, at, entry) };
                let result = if answer_lost { Err(unavailable("answer lost")) } else { result };
                self.soon(Item::Tell { leader, via: None, event: Event::Recorded { at, result } });
            }
            Command::FetchOutput(request) => {
                let result = if loses { Err(Unfetched::Unavailable("lost".to_owned())) } else { self.fetch_output(&request) };
                self.soon(Item::Tell { leader, via: None, event: Event::OutputFetched { result } });
            }
            Command::KeepOutput { output } => {
                let lost = |why: &str| Err(KeepError::Unavailable(why.to_owned()));
                let result = if loses { lost("lost") } else { self.keep(term, output) };
                let result = if answer_lost { lost("answer lost") } else { result };
                self.soon(Item::Tell { leader, via: None, event: Event::OutputKept { result } });
            }
            Command::Send { .. } | Command::GiveUp { .. } | Command::Finished | Command::TakeUpAgain | Command::Abandon => {
                unreachable!("no call")
            }
        }
    }

    /// A call that was answered long ago comes again.
    pub(super) fn echo(&mut self, term: u64, agent: &str, command: &Command) {
        if let Some(at) = self.agent(agent).filter(|at| self.agents[*at].term <= term) {
            self.answer(at, term, command);
        }
    }

    /// What an agent does and answers.
    fn answer(&mut self, at: usize, term: u64, command: &Command) -> Option<Event> {
        let state = &mut self.agents[at];
        state.term = term;
        match command {
            Command::Name { agent, winners, fenced } => {
                for attempt in fenced {
                    state.held.remove(attempt);
                    state.fenced.insert(*attempt);
                }
                let mut missing = Vec::new();
                for winner in winners {
                    match state.held.get_mut(winner) {
                        Some((named, ..)) => *named = true,
                        None => missing.push(*winner),
                    }
                    let losers: Vec<Attempt> =
                        state.held.keys().filter(|held| held.task == winner.task && **held != *winner).copied().collect();
                    for loser in losers.into_iter().filter(|_| !missing.contains(winner)) {
                        state.held.remove(&loser);
                        state.fenced.insert(loser);
                    }
                }
                Some(Event::Named { agent: agent.clone(), winners: winners.clone(), missing })
            }
            Command::Release { attempts, .. } => {
                attempts.iter().for_each(|attempt| drop(state.held.remove(attempt)));
                None
            }
            Command::Inventory { agent, .. } => {
                let found = state.held.iter().map(|(attempt, (named, done, _))| Found {
                    attempt: *attempt,
                    named: *named,
                    done: Some(done.clone()),
                });
                Some(Event::Inventory { agent: agent.clone(), incarnation: state.incarnation, outputs: found.collect() })
            }
            _ => None,
        }
    }

    /// One object per entry: who makes it first has the say. Whoever leads no more writes nothing, but for what was sent before.
    fn append(&mut self, leader: usize, asked: Duration, at: usize, entry: Entry) -> Result<(), RecordError> {
        let current = self.current();
        let term = self.leaders[leader].term;
        if term < self.leaders[current].term && asked >= self.leaders[current].since {
            return Err(RecordError::Superseded);
        }
        if let Some((writer, before)) = self.record.get(at) {
            return match writer.cmp(&term) {
                Ordering::Equal if *before == entry => Ok(()),
                Ordering::Greater => Err(RecordError::Superseded),
                Ordering::Equal | Ordering::Less => Err(RecordError::Behind),
            };
        }
        assert_eq!(at, self.record.len(), "entries have no gaps");
        if let Entry::Planned { plan, .. } = &entry {
            self.worker = Some(Rc::new(Worker::new(planning::decode(plan).unwrap())));
        }
        self.record.push((term, entry));
        Ok(())
    }

    /// Whoever leads later has the say.
    fn keep(&mut self, term: u64, output: BTreeMap<String, Vec<u8>>) -> Result<(), KeepError> {
        if self.kept.0 > term {
            return Err(KeepError::Superseded);
        }
        self.kept = (term, output);
        Ok(())
    }

    fn fetch_output(&mut self, request: &OutputRequest) -> Result<BTreeMap<String, Vec<u8>>, Unfetched> {
        let mut output = BTreeMap::new();
        self.shown = request.steps.values().flatten().map(|held| held.attempt).collect();
        for (step, pieces) in &request.steps {
            let mut bytes = Vec::new();
            for held in pieces {
                let address = &request.agents[held.agent as usize];
                let Some(agent) = self.agent(address).filter(|at| !self.is_cut(*at)).map(|at| &self.agents[at]) else {
                    return Err(Unfetched::Unavailable("cut".to_owned()));
                };
                let Some((true, _, pieces)) = agent.held.get(&held.attempt) else {
                    return Err(Unfetched::Lost(vec![held.attempt]));
                };
                let frames = &pieces[held.piece as usize].frames[held.first as usize..held.end as usize];
                bytes.extend(frames.concat().iter().flat_map(|token| token.id.to_be_bytes()));
            }
            output.insert(step.clone(), bytes);
        }
        Ok(output)
    }
}

fn unavailable(why: &str) -> RecordError {
    RecordError::Unavailable(why.to_owned())
}
