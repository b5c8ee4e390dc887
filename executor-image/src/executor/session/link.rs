//! The operator's side of a slot: finding the leader, greeting it, its orders.

use std::time::Instant;

use proto::Term;
use proto::master::{FromSlot, Settings, ToSlot};

use super::{Action, Child, HELLO_PATIENCE, Link, Session, Work};
use crate::slot::protocol::ToChild;

impl Session {
    pub(super) fn link_said(&mut self, now: Instant, said: ToSlot, out: &mut Vec<Action>) {
        if matches!(self.link, Link::Down { .. }) {
            return;
        }
        let greeting = self.link != Link::Up;
        match said {
            ToSlot::Welcome { term, settings } => self.welcome(now, term, settings, out),
            ToSlot::NotLeader { leader } => self.follow(now, leader, out),
            ToSlot::Leave { reason } => {
                out.push(Action::Log(format!("told to leave: {reason}")));
                self.leave(now, out);
            }
            ToSlot::Plan { .. } | ToSlot::Run { .. } | ToSlot::Cancel { .. } if greeting => {
                self.drop_link(now, "an order came before a welcome", out);
            }
            ToSlot::Plan { plan } => {
                if self.child == Child::Ready {
                    out.push(Action::Tell(ToChild::Plan(plan.clone())));
                }
                self.plan = Some(plan);
            }
            ToSlot::Run { task, output } => self.take(now, task, output, out),
            ToSlot::Cancel { attempt } => self.cancel(now, attempt, out),
        }
    }

    fn welcome(&mut self, now: Instant, term: Term, settings: Settings, out: &mut Vec<Action>) {
        if term < self.term {
            let why = format!("refused a leader of term {}, term {} is known", term.0, self.term.0);
            return self.drop_link(now, &why, out);
        }
        self.term = term;
        self.link = Link::Up;
        self.tries = 0;
        out.push(Action::Welcomed(term));
        if self.settings.as_ref() != Some(&settings) {
            if self.child == Child::Ready {
                out.push(Action::Tell(ToChild::Settings(settings.clone())));
            }
            self.settings = Some(settings);
        }
        if let Work::Finished { report, .. } = &self.work {
            out.push(Action::Send(report.clone()));
        }
        if self.drain.is_some() {
            out.push(Action::Send(FromSlot::Draining));
        }
    }

    /// Goes where the leader is said to be: at once, but not twice in a row, since operators may point at each other.
    fn follow(&mut self, now: Instant, leader: Option<String>, out: &mut Vec<Action>) {
        let at_once = leader.is_some() && !self.followed;
        self.drop_link(now, "not the leader", out);
        self.leader = leader;
        self.followed = at_once;
        if at_once {
            self.link = Link::Down { until: now };
        }
    }

    pub(super) fn see_term(&mut self, now: Instant, term: Term, out: &mut Vec<Action>) {
        if term > self.term {
            self.term = term;
            if self.link == Link::Up {
                self.drop_link(now, "another leader leads now", out);
            }
        }
    }

    pub(super) fn drop_link(&mut self, now: Instant, why: &str, out: &mut Vec<Action>) {
        out.push(Action::Disconnect);
        self.lose_link(now, why, out);
    }

    pub(super) fn lose_link(&mut self, now: Instant, why: &str, out: &mut Vec<Action>) {
        if matches!(self.link, Link::Down { .. }) {
            return;
        }
        out.push(Action::Log(format!("the link to the operator is down: {why}")));
        self.leader = None;
        self.followed = false;
        self.link = Link::Down { until: now + self.pause(self.tries) };
        self.tries = self.tries.saturating_add(1);
    }

    /// The first link waits for a child: a slot that cannot start one must not be given a task.
    pub(super) fn may_connect(&self) -> bool {
        (self.child == Child::Ready || self.settings.is_some()) && !self.leaving
    }

    pub(super) fn tend_link(&mut self, now: Instant, out: &mut Vec<Action>) {
        if matches!(self.link, Link::Greeting { until } if until <= now) {
            self.drop_link(now, "no answer to the greeting", out);
        }
        if self.may_connect() && matches!(self.link, Link::Down { until } if until <= now) {
            self.link = Link::Greeting { until: now + HELLO_PATIENCE };
            out.push(Action::Connect { leader: self.leader.clone(), hello: self.hello() });
        }
    }

    fn hello(&self) -> FromSlot {
        let busy = match &self.work {
            Work::Idle => None,
            Work::Waiting { task, .. } => Some(task.attempt),
            Work::Running { attempt, .. } | Work::Finished { attempt, .. } => Some(*attempt),
        };
        FromSlot::Hello {
            run: self.me.run.clone(),
            pod: self.me.pod.clone(),
            node: self.me.node.clone(),
            slot: self.me.slot,
            incarnation: self.me.incarnation,
            busy,
        }
    }
}
