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
    /// An old leader ends at last.
    Depose(usize),
}

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
        plan(u32::from(faults.stop), Trouble::Stop);
    }

    pub(super) fn trouble(&mut self, trouble: Trouble) {
        if self.outcome.is_some() && matches!(trouble, Trouble::Leader) {
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
                let at = self.random.below(NODES);
                self.agents[at].cut_until = self.now + ms(self.random.next() % 40_000);
                let there: Vec<usize> = (0..self.slots.len()).filter(|slot| self.slots[*slot].node == at).collect();
                there.into_iter().for_each(|slot| self.disconnect(slot));
            }
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
