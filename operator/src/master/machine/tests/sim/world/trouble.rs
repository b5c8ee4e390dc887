//! What goes wrong, and when.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::slots::Work;
use super::{Item, NODES, PODS, TROUBLE, World, ms};
use crate::master::machine::event::Event;

#[derive(Clone, Copy, Debug)]
pub(super) enum Trouble {
    Kill,
    Drain,
    Restart,
    Leader,
    Cut,
    Full(u64),
    Stop,
    Delete,
    /// The pod of a slot is killed.
    KillSlot(usize),
    /// A slot's connection breaks for so long that its work is given to another.
    Mute(usize),
    /// See [`super::Faults::relays`].
    Relay,
    /// An old leader ends at last.
    Depose(usize),
}

/// Less than pods have.
const GRACE: Duration = Duration::from_secs(15);

impl World {
    pub(super) fn plan_trouble(&mut self) {
        let faults = self.faults;
        let mut plan = |count: u32, what: Trouble| {
            for _ in 0..count {
                let when = ms(self.random.next() % TROUBLE.as_millis() as u64);
                // Rather early: small runs are over soon.
                let when = if self.random.chance(60) { when / 8 } else { when };
                self.at(when, Item::Trouble(what));
            }
        };
        plan(faults.kills, Trouble::Kill);
        plan(faults.drains, Trouble::Drain);
        plan(faults.restarts, Trouble::Restart);
        plan(faults.leaders, Trouble::Leader);
        plan(faults.cuts, Trouble::Cut);
        plan(faults.full.0, Trouble::Full(faults.full.1));
        plan(faults.relays, Trouble::Relay);
        plan(u32::from(faults.delete), Trouble::Delete);
        plan(u32::from(faults.stop), Trouble::Stop);
    }

    /// One of a run's last steps is about to be done, by a slot if any: something may go wrong right now.
    pub(super) fn aim(&mut self, slot: Option<usize>) {
        let faults = self.faults;
        if faults.aimed == 0 || !self.troubled() || !self.random.chance(faults.aimed) {
            return;
        }
        let mut all = Vec::new();
        all.extend((faults.stop && !self.stopped).then_some(Trouble::Stop));
        all.extend((faults.delete && !self.deleted).then_some(Trouble::Delete));
        all.extend((faults.leaders > 0).then_some(Trouble::Leader));
        all.extend(slot.filter(|_| faults.kills > 0).map(Trouble::KillSlot));
        all.extend(slot.filter(|_| faults.cuts > 0).map(Trouble::Mute));
        if !all.is_empty() {
            let (what, soon) = (all[self.random.below(all.len())], ms(self.random.next() % 1500));
            let when = self.now + if self.random.chance(50) { Duration::ZERO } else { soon };
            self.at(when, Item::Trouble(what));
        }
    }

    pub(super) fn trouble(&mut self, trouble: Trouble) {
        if (self.outcome.is_some() || self.deleted) && matches!(trouble, Trouble::Leader) {
            // Nobody takes up what is over.
            return;
        }
        match trouble {
            Trouble::Kill => {
                let pod = self.random.below(PODS);
                self.kill(pod);
            }
            Trouble::Drain => {
                let pod = self.random.below(PODS);
                self.drain(pod);
            }
            Trouble::Restart => self.restart_agent(),
            Trouble::Leader => self.change_leader(),
            Trouble::Cut => {
                let lasts = ms(self.random.next() % 40_000);
                self.cut(lasts);
            }
            Trouble::Relay => {
                let lasts = ms(11_000 + self.random.next() % 8000);
                self.cut(lasts);
                let when = self.now + lasts - ms(self.random.next() % 8000);
                self.at(when, Item::Trouble(Trouble::Leader));
            }
            Trouble::KillSlot(slot) => {
                let pod = self.slots[slot].pod;
                self.kill(pod);
            }
            Trouble::Mute(slot) => {
                let pause = ms(11_000 + self.random.next() % 5000);
                self.disconnect_for(slot, pause);
            }
            Trouble::Delete => self.delete(trouble),
            Trouble::Full(seconds) => {
                let until = self.now + Duration::from_secs(seconds);
                self.agents.iter_mut().for_each(|agent| agent.full_until = until);
            }
            Trouble::Stop => {
                let leader = self.current();
                if self.leaders[leader].alive {
                    self.stopped = true;
                    return self.tell(leader, Event::Stop { why: "cancelled".to_owned() });
                }
                let when = self.now + ms(1000);
                self.at(when, Item::Trouble(trouble));
            }
            Trouble::Depose(leader) => {
                self.leaders[leader].alive = false;
                self.leave(leader);
            }
        }
    }

    fn cut(&mut self, lasts: Duration) {
        let at = self.random.below(NODES);
        self.agents[at].cut_until = self.now + lasts;
        let there: Vec<usize> = (0..self.slots.len()).filter(|slot| self.slots[*slot].node == at).collect();
        there.into_iter().for_each(|slot| self.disconnect(slot));
    }

    /// The flow is deleted: its run is stopped, and all of its pods go within their grace period.
    fn delete(&mut self, trouble: Trouble) {
        let leader = self.current();
        if !self.leaders[leader].alive {
            let when = self.now + ms(1000);
            return self.at(when, Item::Trouble(trouble));
        }
        (self.stopped, self.deleted) = (true, true);
        self.tell(leader, Event::Stop { why: "cancelled".to_owned() });
        for slot in (0..self.slots.len()).filter(|slot| self.slots[*slot].alive).collect::<Vec<_>>() {
            self.slots[slot].draining = true;
            self.say(slot, |id| Event::Draining { slot: id });
            let when = self.now + GRACE;
            self.at(when, Item::Gone { slot });
        }
    }

    fn restart_agent(&mut self) {
        let (at, incarnation) = (self.random.below(NODES), self.id());
        let moves = self.random.chance(40);
        let agent = &mut self.agents[at];
        agent.pod += u32::from(moves);
        (agent.incarnation, agent.held, agent.fenced, agent.term) = (incarnation, BTreeMap::new(), BTreeSet::new(), 0);
    }

    fn kill(&mut self, pod: usize) {
        let slots: Vec<usize> =
            (0..self.slots.len()).filter(|slot| self.slots[*slot].pod == pod && self.slots[*slot].alive).collect();
        let Some(first) = slots.first() else { return };
        let (name, node) = (self.slots[*first].pod_name.clone(), self.slots[*first].node);
        for slot in slots {
            let state = &mut self.slots[slot];
            (state.alive, state.work, state.blocked) = (false, Work::Idle, false);
            self.disconnect(slot);
        }
        if self.random.chance(60) {
            let (when, leader) = (self.now + ms(self.random.next() % 5000), self.current());
            self.at(when, Item::Tell { leader, via: None, event: Event::PodGone { pod: name, why: "killed".to_owned() } });
        }
        self.add_pod(pod, node);
    }

    /// A pod is told to go: it finishes what it does, if that does not take too long.
    fn drain(&mut self, pod: usize) {
        let slots: Vec<usize> =
            (0..self.slots.len()).filter(|slot| self.slots[*slot].pod == pod && self.slots[*slot].alive).collect();
        for slot in slots {
            self.slots[slot].draining = true;
            self.say(slot, |id| Event::Draining { slot: id });
            let when = self.now + ms(2000 + self.random.next() % 3000);
            self.at(when, Item::Gone { slot });
        }
    }

    /// Another leader begins: when the one before is gone, at once or later, or while it still takes itself for one.
    fn change_leader(&mut self) {
        let old = self.current();
        match self.random.below(3) {
            0 if self.faults.calls > 0 => {
                let when = self.now + ms(self.random.next() % 10_000);
                self.at(when, Item::Trouble(Trouble::Depose(old)));
                // Some slots have noticed, others not.
                let some: Vec<usize> = (0..self.slots.len()).filter(|_| self.random.chance(50)).collect();
                self.terms += 1;
                self.lead(self.terms);
                some.into_iter().for_each(|slot| self.disconnect(slot));
            }
            after => {
                self.leaders[old].alive = false;
                self.leave(old);
                let gap = if after == 1 { 0 } else { self.random.next() % 20_000 };
                let when = self.now + ms(gap);
                self.at(when, Item::Lead);
            }
        }
    }
}
