//! Executors' slots: connections that break, results that are told until they are heard of, orders.

use std::time::Duration;

use plan::task::{Attempt, Failed, Fault, MapInput, Task, TaskId, Work as Input};
use proto::master::ToSlot;

use super::{Item, SLOTS, World, ms};
use crate::master::machine::event::{Event, SlotHello, SlotId};

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) pod: usize,
    pub(super) pod_name: String,
    pub(super) node: usize,
    pub(super) number: u32,
    pub(super) incarnation: u64,
    pub(super) alive: bool,
    pub(super) draining: bool,
    /// The leader that it is connected to, and the connection.
    pub(super) connection: Option<(usize, SlotId)>,
    pub(super) work: Work,
    /// Whether its task waits for room at an agent.
    pub(super) blocked: bool,
    /// When the last message on its way arrives, either way.
    pub(super) down: Duration,
    pub(super) up: Duration,
}

#[derive(Debug)]
pub(super) enum Work {
    Idle,
    Busy(Attempt),
    /// Told again on every new connection until the next order shows that it was heard.
    Finished(Attempt, Event),
}

impl Slot {
    pub(super) fn is_working(&self) -> bool {
        self.alive && matches!(self.work, Work::Busy(_))
    }

    fn attempt(&self) -> Option<Attempt> {
        match &self.work {
            Work::Idle => None,
            Work::Busy(attempt) | Work::Finished(attempt, _) => Some(*attempt),
        }
    }
}

impl World {
    pub(super) fn add_pod(&mut self, pod: usize, node: usize) {
        if self.deleted {
            return;
        }
        let pod_name = format!("sim-1-{pod}-{}", self.id());
        for number in 0..SLOTS {
            let slot = Slot {
                pod,
                pod_name: pod_name.clone(),
                node,
                number,
                incarnation: self.id(),
                alive: true,
                draining: false,
                connection: None,
                work: Work::Idle,
                blocked: false,
                down: Duration::ZERO,
                up: Duration::ZERO,
            };
            self.slots.push(slot);
            let slot = self.slots.len() - 1;
            self.soon(Item::Connect { slot });
        }
    }

    pub(super) fn send(&mut self, leader: usize, to: SlotId, message: ToSlot) {
        if let ToSlot::Run { task, .. } = &message {
            self.check_whole(leader, task);
        }
        let found = self.slots.iter().position(|slot| slot.connection == Some((leader, to)));
        let Some(slot) = found else { return };
        let when = (self.now + self.latency()).max(self.slots[slot].down);
        self.slots[slot].down = when;
        self.at(when, Item::Receive { slot, connection: to, message });
    }

    /// Of rows that may come out otherwise none is read before all of them are there.
    fn check_whole(&self, leader: usize, task: &Task) {
        let Input::Map { input: MapInput::Stored { pieces }, .. } = &task.work else { return };
        let machine = &self.leaders[leader].machine;
        for set in pieces.iter().map(|held| machine.flow().set_of(held.attempt.task)) {
            let whole = || machine.tasks_of(set).unwrap().into_iter().all(|task| machine.ledger.is_done(task));
            assert!(!machine.flow().indeterminate.contains(&set) || whole(), "{} reads of {set:?} too soon", task.attempt);
        }
    }

    /// A slot says something, if it is connected.
    pub(super) fn say(&mut self, slot: usize, event: impl FnOnce(SlotId) -> Event) {
        let Some((leader, id)) = self.slots[slot].connection else { return };
        let when = (self.now + self.latency()).max(self.slots[slot].up);
        self.slots[slot].up = when;
        let event = event(id);
        self.at(when, Item::Tell { leader, via: Some(id), event });
    }

    pub(super) fn connect(&mut self, slot: usize) {
        if !self.slots[slot].alive || self.slots[slot].connection.is_some() {
            return;
        }
        let node = self.slots[slot].node;
        if self.is_cut(node) {
            let when = self.agents[node].cut_until + self.latency();
            return self.at(when, Item::Connect { slot });
        }
        let leader = self.current();
        if !self.leaders[leader].alive {
            let when = self.now + ms(500 + self.random.next() % 1000);
            return self.at(when, Item::Connect { slot });
        }
        let id = SlotId(self.id());
        let state = &mut self.slots[slot];
        (state.connection, state.up, state.down) = (Some((leader, id)), self.now, self.now);
        let hello = SlotHello {
            pod: state.pod_name.clone(),
            node: format!("node-{node}"),
            number: state.number,
            incarnation: state.incarnation,
            busy: state.attempt(),
        };
        self.say(slot, |id| Event::SlotJoined { slot: id, hello });
    }

    pub(super) fn disconnect(&mut self, slot: usize) {
        let pause = ms(300 + self.random.next() % 3000);
        self.disconnect_for(slot, pause);
    }

    /// Its connection breaks, and it tries again after a while; meanwhile it works on.
    pub(super) fn disconnect_for(&mut self, slot: usize, pause: Duration) {
        let Some((leader, id)) = self.slots[slot].connection.take() else { return };
        if self.random.chance(50) {
            self.broken.insert(id);
        }
        // Whatever was said over it has come before, or is lost.
        let when = (self.now + ms(self.random.next() % 4000)).max(self.slots[slot].up);
        self.at(when, Item::Tell { leader, via: None, event: Event::SlotLeft { slot: id } });
        let when = self.now + pause;
        self.at(when, Item::Connect { slot });
    }

    pub(super) fn leave(&mut self, leader: usize) {
        let there: Vec<usize> =
            (0..self.slots.len()).filter(|slot| self.slots[*slot].connection.is_some_and(|(at, _)| at == leader)).collect();
        there.into_iter().for_each(|slot| self.disconnect(slot));
    }

    pub(super) fn receive(&mut self, slot: usize, connection: SlotId, message: ToSlot) {
        let state = &self.slots[slot];
        if !state.alive || state.connection.is_none_or(|(_, id)| id != connection) {
            return;
        }
        match message {
            ToSlot::Run { task, output } => self.order(slot, task, output),
            ToSlot::Cancel { attempt } => self.cancel(slot, attempt),
            ToSlot::Leave { .. } => self.leave_for_good(slot),
            ToSlot::Welcome { .. } => {
                if let Work::Finished(_, event) = &self.slots[slot].work {
                    let event = event.clone();
                    self.say(slot, |id| readdressed(event, id));
                }
                if self.slots[slot].draining {
                    self.say(slot, |id| Event::Draining { slot: id });
                }
            }
            ToSlot::Plan { .. } | ToSlot::NotLeader { .. } => {}
        }
    }

    fn order(&mut self, slot: usize, task: Box<Task>, output: String) {
        let attempt = task.attempt;
        let state = &mut self.slots[slot];
        assert!(!state.is_working(), "{slot} is busy with {:?} and gets {attempt}", state.work);
        if state.draining && !matches!(attempt.task, TaskId::Commit | TaskId::Discard) {
            state.work = Work::Idle;
            return self.say(slot, |id| stopped(id, attempt));
        }
        state.work = Work::Busy(attempt);
        let incarnation = state.incarnation;
        assert!(self.attempts.insert(attempt), "{attempt} is given out twice");
        *self.begun.entry(attempt.task).or_default() += 1;
        if matches!(attempt.task, TaskId::Stage | TaskId::Commit) {
            self.aim(Some(slot));
        }
        self.volume.begins(attempt);
        let when = self.now + ms(100 + self.random.next() % 3000);
        self.at(when, Item::Finish { slot, incarnation, task, output });
    }

    fn cancel(&mut self, slot: usize, attempt: Attempt) {
        match &self.slots[slot].work {
            Work::Busy(busy) if *busy == attempt => {
                // It may end before it notices.
                let when = self.now + ms(self.random.next() % 1500);
                self.at(when, Item::Stopped { slot, attempt });
            }
            Work::Finished(finished, event) if *finished == attempt => {
                let event = event.clone();
                self.say(slot, |id| readdressed(event, id));
            }
            Work::Idle | Work::Busy(_) | Work::Finished(..) => self.say(slot, |id| stopped(id, attempt)),
        }
    }

    pub(super) fn slot_stopped(&mut self, slot: usize, attempt: Attempt) {
        let state = &self.slots[slot];
        if state.alive && matches!(&state.work, Work::Busy(busy) if *busy == attempt) {
            self.volume.gives_up(attempt);
            self.finished(slot, attempt, stopped(SlotId(0), attempt));
        }
    }

    /// Reports a result, now and until it is heard of.
    pub(super) fn finished(&mut self, slot: usize, attempt: Attempt, event: Event) {
        let state = &mut self.slots[slot];
        (state.work, state.blocked) = (Work::Finished(attempt, event.clone()), false);
        self.say(slot, |id| readdressed(event, id));
    }

    /// Nothing is left of a slot that is told to leave: it removes what it has staged.
    fn leave_for_good(&mut self, slot: usize) {
        let state = &mut self.slots[slot];
        state.alive = false;
        if let Work::Busy(attempt) = state.work {
            self.volume.gives_up(attempt);
        }
        if self.outcome.is_none() {
            // Told by a leader that is one no more: the next one has executors made.
            self.disconnect(slot);
            self.replace_pod(slot);
        }
    }

    /// The pod of a slot that was taken down is gone.
    pub(super) fn slot_gone(&mut self, slot: usize) {
        let state = &self.slots[slot];
        if !state.alive {
            return;
        }
        if let Work::Busy(attempt) = state.work {
            // Its time is over: it is told to stop first.
            self.slot_stopped(slot, attempt);
        }
        self.slots[slot].alive = false;
        self.disconnect(slot);
        self.replace_pod(slot);
    }

    /// Where all slots of a pod are gone another one comes.
    fn replace_pod(&mut self, slot: usize) {
        let (pod, node, name) = (self.slots[slot].pod, self.slots[slot].node, self.slots[slot].pod_name.clone());
        if self.slots.iter().all(|slot| slot.pod_name != name || !slot.alive) {
            let (when, leader) = (self.now + ms(self.random.next() % 3000), self.current());
            self.at(when, Item::Tell { leader, via: None, event: Event::PodGone { pod: name, why: "it ended".to_owned() } });
            self.add_pod(pod, node);
        }
    }
}

fn stopped(slot: SlotId, attempt: Attempt) -> Event {
    let failed = Failed { fault: Fault::Stopped, message: "told to stop".to_owned(), step: None };
    Event::Failed { slot, attempt, failed: Box::new(failed) }
}

pub(super) fn readdressed(event: Event, id: SlotId) -> Event {
    match event {
        Event::Done { attempt, agent, done, .. } => Event::Done { slot: id, attempt, agent, done },
        Event::Failed { attempt, failed, .. } => Event::Failed { slot: id, attempt, failed },
        other => other,
    }
}
