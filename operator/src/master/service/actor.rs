//! One run's actor: owns the machine, hears events one by one, does what the machine wants.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use proto::master::ToSlot;
use proto::{RunId, Term};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};

use super::calls::{self, Caller};
use super::{Counters, Inner};
use crate::master::api::{Entry, Progress, Recorder, RunSpec};
use crate::master::machine::Machine;
use crate::master::machine::event::{Command, Event, OutputRequest, SlotId};

/// Time goes on for a machine this often; progress is told as often.
const TICK: Duration = Duration::from_secs(1);

/// What an actor hears.
#[derive(Debug)]
pub(super) enum Told {
    Event(Event),
    /// A slot has come, and hears what is sent here.
    Slot {
        slot: SlotId,
        answers: mpsc::Sender<ToSlot>,
        joined: Event,
    },
    /// Where the run's standard output is, now.
    Output {
        answer: tokio::sync::oneshot::Sender<Option<OutputRequest>>,
    },
}

#[derive(Debug)]
pub(super) struct Actor {
    inner: Arc<Inner>,
    id: RunId,
    caller: Caller,
    recorder: Arc<dyn Recorder>,
    progress: Arc<Mutex<Progress>>,
    slots: BTreeMap<SlotId, mpsc::Sender<ToSlot>>,
    /// What goes on, answered by an event.
    pending: JoinSet<Option<Event>>,
    /// Calls to each agent that are tried until it is given up.
    insistent: BTreeMap<String, Vec<AbortHandle>>,
    told: Instant,
    next: Next,
}

/// What becomes of the actor's machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    GoesOn,
    TakenUpAgain,
    Abandoned,
}

impl Actor {
    pub(super) fn new(
        inner: Arc<Inner>,
        (id, term): (RunId, Term),
        recorder: Arc<dyn Recorder>,
        progress: Arc<Mutex<Progress>>,
    ) -> Actor {
        let caller = Caller { inner: Arc::clone(&inner), run: id.clone(), term };
        Actor {
            inner,
            id,
            caller,
            recorder,
            progress,
            slots: BTreeMap::new(),
            pending: JoinSet::new(),
            insistent: BTreeMap::new(),
            told: Instant::now(),
            next: Next::GoesOn,
        }
    }

    /// Runs until the run is forgotten, or another leader has it.
    pub(super) async fn run(
        mut self,
        spec: RunSpec,
        known: Vec<Event>,
        mut told: mpsc::Receiver<Told>,
        mut ended: watch::Receiver<()>,
    ) {
        let (mut machine, commands) = Machine::new(spec, self.caller.term, self.inner.now());
        self.obey(commands);
        for event in known {
            self.handle(&mut machine, event);
        }
        self.publish(&machine, true);
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while self.next != Next::Abandoned {
            if self.next == Next::TakenUpAgain {
                let Some(record) = self.read(&mut ended).await else { return };
                machine = self.take_up_again(&machine, record);
            }
            tokio::select! {
                // Only an error comes: the run was dropped.
                _ = ended.changed() => return,
                heard = told.recv() => match heard {
                    Some(Told::Event(event)) => self.handle(&mut machine, event),
                    Some(Told::Slot { slot, answers, joined }) => {
                        self.slots.insert(slot, answers);
                        self.handle(&mut machine, joined);
                    }
                    Some(Told::Output { answer }) => drop(answer.send(machine.output())),
                    None => return,
                },
                Some(answer) = self.pending.join_next(), if !self.pending.is_empty() => {
                    match answer {
                        Ok(Some(event)) => self.handle(&mut machine, event),
                        Err(error) if error.is_panic() => {
                            // Its answer will never come: what the machine knows must not hang on it.
                            tracing::error!(run = %self.id, %error, "a call panicked");
                            self.next = Next::TakenUpAgain;
                        }
                        Ok(None) | Err(_) => {}
                    }
                }
                _ = ticks.tick() => self.handle(&mut machine, Event::Tick),
            }
            self.publish(&machine, false);
        }
    }

    /// The record, as soon as it can be read; `None`: the run was dropped.
    async fn read(&self, ended: &mut watch::Receiver<()>) -> Option<Vec<Entry>> {
        loop {
            tokio::select! {
                _ = ended.changed() => return None,
                read = self.recorder.read(&self.id) => match read {
                    Ok(record) => return Some(record),
                    Err(error) => tracing::warn!(run = %self.id, %error, "the record cannot be read"),
                },
            }
            tokio::select! {
                _ = ended.changed() => return None,
                () = tokio::time::sleep(TICK) => {}
            }
        }
    }

    /// Another machine goes on from the record. What the old one had asked for counts no more; slots lose their connection, come
    /// back, and say what they do.
    fn take_up_again(&mut self, old: &Machine, record: Vec<Entry>) -> Machine {
        tracing::info!(run = %self.id, entries = record.len(), "the run is taken up again from its record");
        self.next = Next::GoesOn;
        self.pending = JoinSet::new();
        self.insistent.clear();
        self.slots.clear();
        let (mut machine, commands) = old.again(record, self.inner.now());
        self.obey(commands);
        for event in self.inner.known_agents(&self.id) {
            self.handle(&mut machine, event);
        }
        machine
    }

    fn handle(&mut self, machine: &mut Machine, event: Event) {
        match &event {
            Event::SlotLeft { slot } => drop(self.slots.remove(slot)),
            Event::Done { .. } => Counters::count(&self.inner.counters.attempts_done),
            Event::Failed { .. } => Counters::count(&self.inner.counters.attempts_failed),
            _ => {}
        }
        let commands = machine.handle(event, self.inner.now());
        self.obey(commands);
    }

    fn obey(&mut self, commands: Vec<Command>) {
        for command in commands {
            match command {
                Command::Send { slot, message } => self.send(slot, message),
                Command::Name { agent, winners, fenced } => {
                    let call = calls::name(self.caller.clone(), agent.clone(), winners, fenced);
                    self.insist(agent, call);
                }
                Command::Inventory { agent, incarnation } => {
                    let call = calls::inventory(self.caller.clone(), agent.clone(), incarnation);
                    self.insist(agent, call);
                }
                Command::Release { agent, attempts } => {
                    self.pending.spawn(calls::release(self.caller.clone(), agent, attempts));
                }
                Command::GiveUp { agent } => {
                    self.insistent.remove(&agent).into_iter().flatten().for_each(|call| call.abort());
                    self.inner.connect.forget(&agent);
                }
                Command::Record { at, entry } => {
                    let (recorder, run) = (Arc::clone(&self.recorder), self.id.clone());
                    self.pending.spawn(async move {
                        let result = recorder.append(&run, at, &entry).await;
                        Some(Event::Recorded { at, result })
                    });
                }
                Command::KeepOutput { output } => {
                    let (recorder, run) = (Arc::clone(&self.recorder), self.id.clone());
                    self.pending.spawn(async move {
                        let result = recorder.keep_output(&run, &output).await;
                        Some(Event::OutputKept { result })
                    });
                }
                Command::FetchOutput(request) => drop(self.pending.spawn(calls::output(self.caller.clone(), request))),
                Command::Finished => {}
                Command::Abandon => {
                    tracing::info!(run = %self.id, "another leader has the run");
                    self.next = Next::Abandoned;
                }
                Command::TakeUpAgain => self.next = Next::TakenUpAgain,
            }
        }
    }

    fn send(&mut self, slot: SlotId, message: ToSlot) {
        if matches!(message, ToSlot::Run { .. }) {
            Counters::count(&self.inner.counters.attempts_given);
        }
        // A slot that does not take its messages is as good as gone: its stream ends, and it may come back.
        if self.slots.get(&slot).is_some_and(|answers| answers.try_send(message).is_err()) {
            self.slots.remove(&slot);
        }
    }

    fn insist(&mut self, agent: String, call: impl Future<Output = Option<Event>> + Send + 'static) {
        let handle = self.pending.spawn(call);
        let calls = self.insistent.entry(agent).or_default();
        calls.retain(|call| !call.is_finished());
        calls.push(handle);
    }

    /// Tells how the run stands, at most once a second, but its phase at once.
    fn publish(&mut self, machine: &Machine, at_once: bool) {
        let due = at_once || self.told.elapsed() >= TICK || machine.is_over();
        if !due {
            return;
        }
        let progress = machine.progress();
        let news = {
            let mut shown = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
            let news = *shown != progress;
            *shown = progress;
            news
        };
        self.told = Instant::now();
        if news {
            // Without a listener nobody needs to know.
            let _ = self.inner.changes.send(self.id.clone());
        }
    }
}
