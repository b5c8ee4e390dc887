//! Which slot gets which task, and which agent its output.

use std::collections::BTreeMap;
use std::time::Duration;

use plan::task::TaskId;
use proto::master::ToSlot;

use super::Machine;
use super::event::SlotId;
use super::ledger::Running;
use super::slots::Slot;

impl Machine {
    /// Gives out what can run, as far as there are slots.
    pub(super) fn give_out(&mut self) {
        let mut later = Vec::new();
        while let Some(task) = self.agenda.pop_front() {
            if !self.slots.values().any(Slot::is_idle) || self.ready_agents().next().is_none() {
                self.agenda.push_front(task);
                break;
            }
            let state = self.ledger.get(task);
            if state.is_some_and(|state| state.is_busy()) {
                continue;
            }
            if state.is_some_and(|state| state.not_before > self.now) {
                later.push(task);
                continue;
            }
            self.start(task);
        }
        // These wait for their time; it comes with a tick.
        self.agenda.extend(later);
    }

    /// Gives one task out, if it is nowhere yet and a slot is idle.
    pub(super) fn offer(&mut self, task: TaskId) {
        let waits = self.ledger.get(task).is_some_and(|state| state.is_busy() || state.not_before > self.now);
        if !waits
            && !self.is_answered(task)
            && self.slots.values().any(|slot| slot.takes(task))
            && self.ready_agents().next().is_some()
        {
            self.start(task);
        }
    }

    fn start(&mut self, task: TaskId) {
        let Some(assembled) = self.assemble(task) else { return };
        let last_pod = self.ledger.get(task).and_then(|state| state.last_pod.clone());
        let Some(slot) = self.choose_slot(task, &assembled.weights, last_pod.as_deref()) else { return };
        let Some(output) = self.choose_agent(&self.slots[&slot].hello.node) else { return };
        let attempt = self.ledger.next(task);
        let mut made = assembled.task;
        made.attempt = attempt;
        let hello = &self.slots[&slot].hello;
        let (pod, number) = (hello.pod.clone(), hello.number);
        let running = Running { attempt, slot: Some(slot), pod, number, until: Duration::MAX };
        self.ledger.entry(task).running.push(running);
        if !self.encoded_plan.is_empty() && !self.slots[&slot].planned {
            let plan = self.encoded_plan.clone();
            self.send(slot, ToSlot::Plan { plan });
        }
        if let Some(slot) = self.slots.get_mut(&slot) {
            slot.begins(attempt);
            slot.planned |= !self.encoded_plan.is_empty();
        }
        self.send(slot, ToSlot::Run { task: Box::new(made), output });
    }

    /// The idle slot on the node that holds most of what a task reads, if possible not where it failed last.
    fn choose_slot(&self, task: TaskId, weights: &BTreeMap<String, u64>, not_on: Option<&str>) -> Option<SlotId> {
        let mut by_node: BTreeMap<&str, u64> = BTreeMap::new();
        for (address, bytes) in weights {
            if let Some(agent) = self.agents.get(address) {
                *by_node.entry(&agent.node).or_default() += bytes;
            }
        }
        let worth = |slot: &Slot| {
            let elsewhere = not_on != Some(slot.hello.pod.as_str());
            (!slot.draining, elsewhere, by_node.get(slot.hello.node.as_str()).copied().unwrap_or(0))
        };
        let idle = self.slots.iter().filter(|(_, slot)| slot.takes(task));
        // Of equals the one that is there the longest: later executors can be let go of.
        idle.max_by(|(a, one), (b, other)| worth(one).cmp(&worth(other)).then(b.cmp(a))).map(|(id, _)| *id)
    }

    /// The agent of a node; where that one is not ready, the ready one with the most room.
    pub(super) fn choose_agent(&self, node: &str) -> Option<String> {
        let room = |used: u64, limit: u64| limit.saturating_sub(used);
        let best = self.ready_agents().max_by(|(a, one), (b, other)| {
            let worth = |agent: &super::agents::Agent| (agent.node == node, room(agent.used, agent.limit));
            worth(one).cmp(&worth(other)).then(b.cmp(a))
        });
        best.map(|(address, _)| address.clone())
    }
}
