//! One slot of an executor as a state machine: what the operator says, what the slot's process says, and the clock go in;
//! what to do comes out. Does no I/O and asks no clock.
//!
//! ```text
//! link:   Down ──time──► Greeting ──Welcome──► Up            (lost, NotLeader, an older term: Down again)
//! child:  Absent ──time──► Starting ──Ready──► Ready          (died: Absent again)
//! work:   Idle ──Run──► Waiting ──child Ready──► Running ──result──► Finished ──next order──► Idle
//! ```
//!
//! A result is kept and reported on every new link until the next order shows that it arrived: nothing is lost with a link,
//! with a leader, or with the slot's process.

mod link;
mod work;

use std::time::{Duration, Instant};

use plan::task::{Attempt, Task};
use proto::master::{FromSlot, Settings, ToSlot};
use proto::{RunId, Term};

use super::death::{Cause, Death, Why};
use crate::slot::protocol::{FromChild, ToChild};

/// How long a task may take to stop before its process is killed.
pub(crate) const STOP_GRACE: Duration = Duration::from_secs(5);
/// How long a leader may take to answer `Hello`.
pub(crate) const HELLO_PATIENCE: Duration = Duration::from_secs(10);
/// How long an idle slot of a pod that is taken down waits to be told to leave.
pub(crate) const LEAVE_PATIENCE: Duration = Duration::from_secs(5);
/// Progress is passed on no more often.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(900);
/// How often a process may fail to start before the executor gives up.
const START_LIMIT: u32 = 5;
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Who a slot is.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub run: RunId,
    pub pod: String,
    pub node: String,
    pub slot: u32,
    /// Random per slot and executor process. A replaced child keeps it: the executor remembers for it.
    pub incarnation: u64,
    /// Bytes that the slot's processes may hold.
    pub memory: u64,
}

/// What happened.
#[derive(Debug)]
pub(crate) enum Event {
    /// Time has passed; to be sent at `Session::wake_at`.
    Tick,
    LinkSaid(ToSlot),
    LinkDown(String),
    /// Another slot of this executor was welcomed by a leader of this term.
    TermSeen(Term),
    ChildSaid(FromChild),
    ChildGarbage(String),
    ChildDied(Death),
    /// The child's processes hold this many bytes, more than they may.
    ChildGrew(u64),
    /// SIGTERM: hand back what runs at `stop_at`, be gone at `end_at`.
    Terminate {
        stop_at: Instant,
        end_at: Instant,
    },
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    /// Open a link, to this leader or to any operator, and send this.
    Connect {
        leader: Option<String>,
        hello: FromSlot,
    },
    Disconnect,
    Send(FromSlot),
    StartChild,
    Tell(ToChild),
    KillChild,
    /// A leader of this term has welcomed the slot.
    Welcomed(Term),
    /// An attempt is over, for the counts.
    Counted(FromSlot),
    /// Something worth a line in the log.
    Log(String),
    /// The slot is over: nothing comes after it.
    End,
    /// The executor cannot work: end it with this message.
    GiveUp(String),
}

/// A slot.
#[derive(Debug)]
pub(crate) struct Session {
    me: Identity,
    term: Term,
    link: Link,
    /// Links that were tried since the last `Welcome`.
    tries: u32,
    /// Where the leader is said to be.
    leader: Option<String>,
    /// Whether the link was opened at another operator's word, without a pause.
    followed: bool,
    child: Child,
    failed_starts: u32,
    /// Why the child was killed; kept until it is dead.
    cause: Option<Cause>,
    work: Work,
    settings: Option<Settings>,
    plan: Option<Vec<u8>>,
    next_progress: Option<Instant>,
    drain: Option<Drain>,
    /// Told to leave: as soon as what has been staged is removed.
    leaving: bool,
    over: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Link {
    Down { until: Instant },
    Greeting { until: Instant },
    Up,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Child {
    Absent { until: Instant },
    Starting,
    Ready,
}

#[derive(Debug)]
enum Work {
    Idle,
    /// For the child to be ready.
    Waiting {
        task: Box<Task>,
        output: String,
    },
    Running {
        attempt: Attempt,
        output: String,
        deadline: Option<(Instant, u32)>,
        stop: Option<Stop>,
    },
    Finished {
        attempt: Attempt,
        report: FromSlot,
    },
}

#[derive(Clone, Copy, Debug)]
struct Stop {
    why: Why,
    kill_at: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Drain {
    stop_at: Instant,
    end_at: Instant,
    /// When an idle slot goes without being told to.
    leave_at: Instant,
}

impl Session {
    /// A slot that has done nothing yet; its first `Tick` starts it.
    #[must_use]
    pub(crate) fn new(me: Identity, now: Instant) -> Session {
        Session {
            me,
            term: Term::default(),
            link: Link::Down { until: now },
            tries: 0,
            leader: None,
            followed: false,
            child: Child::Absent { until: now },
            failed_starts: 0,
            cause: None,
            work: Work::Idle,
            settings: None,
            plan: None,
            next_progress: None,
            drain: None,
            leaving: false,
            over: false,
        }
    }

    /// What is to be done now that this has happened.
    pub(crate) fn handle(&mut self, now: Instant, event: Event) -> Vec<Action> {
        let mut out = Vec::new();
        if self.over {
            return out;
        }
        match event {
            Event::Tick => {}
            Event::LinkSaid(said) => self.link_said(now, said, &mut out),
            Event::LinkDown(why) => self.lose_link(now, &why, &mut out),
            Event::TermSeen(term) => self.see_term(now, term, &mut out),
            Event::ChildSaid(said) => self.child_said(now, said, &mut out),
            Event::ChildGarbage(what) => self.kill(Cause::Garbage(what), &mut out),
            Event::ChildDied(death) => self.child_died(now, &death, &mut out),
            Event::ChildGrew(held) => self.kill(Cause::Memory { held, limit: self.me.memory }, &mut out),
            Event::Terminate { stop_at, end_at } => self.terminate(now, stop_at, end_at, &mut out),
        }
        self.pass_time(now, &mut out);
        out
    }

    /// When `Tick` is due, if nothing happens before; `None`: only an event moves it.
    #[must_use]
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        let link = match self.link {
            Link::Down { until } if self.may_connect() => Some(until),
            Link::Down { .. } | Link::Up => None,
            Link::Greeting { until } => Some(until),
        };
        let child = match self.child {
            Child::Absent { until } if self.wants_child() => Some(until),
            Child::Absent { .. } | Child::Starting | Child::Ready => None,
        };
        let work = match &self.work {
            Work::Running { stop: Some(stop), .. } => self.cause.is_none().then_some(stop.kill_at),
            Work::Running { deadline, .. } => deadline.map(|(at, _)| at),
            Work::Idle | Work::Waiting { .. } | Work::Finished { .. } => None,
        };
        let drain = self.drain.map(|drain| match &self.work {
            Work::Idle => drain.leave_at,
            Work::Waiting { .. } => drain.stop_at,
            Work::Running { stop: None, .. } => drain.stop_at,
            Work::Running { .. } | Work::Finished { .. } => drain.end_at,
        });
        [link, child, work, drain].into_iter().flatten().min()
    }

    /// Whether the leader takes this slot for a worker.
    #[must_use]
    pub(crate) fn is_welcome(&self) -> bool {
        self.link == Link::Up && !self.over
    }

    fn pass_time(&mut self, now: Instant, out: &mut Vec<Action>) {
        if self.leaving && !matches!(self.work, Work::Running { .. }) {
            return self.end(out);
        }
        self.drain_on(now, out);
        if self.over {
            return;
        }
        self.watch_work(now, out);
        if self.wants_child() && matches!(self.child, Child::Absent { until } if until <= now) {
            self.child = Child::Starting;
            out.push(Action::StartChild);
        }
        self.tend_link(now, out);
    }

    /// A slot that ends needs a new process only for a task that it has taken.
    fn wants_child(&self) -> bool {
        (self.drain.is_none() && !self.leaving) || matches!(self.work, Work::Waiting { .. })
    }

    fn terminate(&mut self, now: Instant, stop_at: Instant, end_at: Instant, out: &mut Vec<Action>) {
        if self.drain.is_none() {
            self.drain = Some(Drain { stop_at, end_at, leave_at: end_at.min(now + LEAVE_PATIENCE) });
            if self.link == Link::Up {
                out.push(Action::Send(FromSlot::Draining));
            }
        }
    }

    fn drain_on(&mut self, now: Instant, out: &mut Vec<Action>) {
        let Some(drain) = self.drain else { return };
        if now >= drain.stop_at {
            self.hand_back(now, drain, out);
        }
        let idle = matches!(self.work, Work::Idle);
        if now >= drain.end_at || idle && (now >= drain.leave_at || self.link != Link::Up) {
            if !idle {
                out.push(Action::Log("the time to end is over before the operator said that the slot may leave".to_owned()));
            }
            self.end(out);
        }
    }

    /// The slot is over, with its process and its link.
    fn end(&mut self, out: &mut Vec<Action>) {
        self.over = true;
        if !matches!(self.child, Child::Absent { .. }) {
            out.push(Action::KillChild);
        }
        out.extend([Action::Disconnect, Action::End]);
    }

    fn kill(&mut self, cause: Cause, out: &mut Vec<Action>) {
        if self.cause.is_none() && !matches!(self.child, Child::Absent { .. }) {
            self.cause = Some(cause);
            out.push(Action::KillChild);
        }
    }

    /// Longer from try to try; the same for the same try of the same slot, different between slots.
    fn pause(&self, tries: u32) -> Duration {
        let whole = SHORTEST_PAUSE.saturating_mul(1 << tries.min(10)).min(LONGEST_PAUSE);
        let mixed = (self.me.incarnation ^ u64::from(tries)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56;
        whole.mul_f64(0.5 + mixed as f64 / 512.0)
    }
}

#[cfg(test)]
mod tests;
