//! Carries out what a slot's [`Session`] says: one loop per slot, no rules of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use proto::Term;
use proto::master::{FromSlot, ToSlot};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::child::{Child, Happening, Living, Program};
use super::death::{Death, How};
use super::link::{Dialer, Heard, Link};
use super::metrics::Metrics;
use super::session::{Action, Event, Identity, Session};
use crate::slot::protocol::Opening;

/// Things that happened and wait to be looked at.
const QUEUE: usize = 64;
/// How long an ended slot waits for what it sent last to be out.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// What all slots of an executor share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) dialer: Dialer,
    pub(super) program: Program,
    pub(super) living: Living,
    pub(super) metrics: Metrics,
    /// The newest term that any slot was welcomed in.
    pub(super) term: watch::Sender<Term>,
    /// When to hand back and when to be gone, once the pod is taken down.
    pub(super) drain: watch::Sender<Option<(Instant, Instant)>>,
}

/// How one slot is.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) identity: Identity,
    pub(super) opening: Opening,
    /// Bytes held beyond the limit, as the watchdog finds them: session and bytes.
    pub(super) grown: mpsc::Receiver<(i32, u64)>,
    pub(super) session: watch::Sender<Option<i32>>,
    pub(super) welcome: Arc<AtomicBool>,
}

/// Works until the slot is over.
///
/// # Errors
/// If it cannot work: the message says why.
pub(super) async fn drive(shared: &Shared, seat: Seat) -> Result<(), String> {
    let (to_heard, heard) = mpsc::channel(QUEUE);
    let (to_happened, happened) = mpsc::channel(QUEUE);
    let session = Session::new(seat.identity.clone(), Instant::now());
    let mut driver =
        Driver { shared, session, seat, link: None, closing: None, child: None, numbers: 0, to_heard, to_happened, ended: None };
    let result = driver.run(heard, happened).await;
    driver.seat.welcome.store(false, Ordering::Relaxed);
    result
}

struct Driver<'s> {
    shared: &'s Shared,
    session: Session,
    seat: Seat,
    link: Option<Link>,
    /// The last link that was let go of.
    closing: Option<JoinHandle<()>>,
    child: Option<Child>,
    numbers: u64,
    to_heard: mpsc::Sender<(u64, Heard)>,
    to_happened: mpsc::Sender<(u64, Happening)>,
    ended: Option<Result<(), String>>,
}

impl Driver<'_> {
    async fn run(
        &mut self,
        mut heard: mpsc::Receiver<(u64, Heard)>,
        mut happened: mpsc::Receiver<(u64, Happening)>,
    ) -> Result<(), String> {
        let (mut terms, mut drains) = (self.shared.term.subscribe(), self.shared.drain.subscribe());
        let mut event = Some(Event::Tick);
        drains.mark_changed();
        loop {
            if let Some(event) = event.take() {
                self.handle(event);
            }
            if let Some(ended) = self.ended.take() {
                self.wait_to_be_gone(&mut happened).await;
                if let Some(closing) = self.closing.take() {
                    // Its last words are best effort: the pod's end says the same.
                    let _ = tokio::time::timeout(LAST_WORDS, closing).await;
                }
                return ended;
            }
            let wake_at = self.session.wake_at();
            event = tokio::select! {
                Some((number, heard)) = heard.recv() => self.heard(number, heard),
                Some((number, happening)) = happened.recv() => self.happened(number, happening),
                Some((session, held)) = self.seat.grown.recv() => self.grown(session, held),
                Ok(()) = terms.changed() => Some(Event::TermSeen(*terms.borrow_and_update())),
                Ok(()) = drains.changed() => drains.borrow_and_update().map(|(stop_at, end_at)| Event::Terminate { stop_at, end_at }),
                () = sleep_until(wake_at) => Some(Event::Tick),
            };
        }
    }

    fn heard(&mut self, number: u64, heard: Heard) -> Option<Event> {
        if self.link.as_ref().is_none_or(|link| link.number != number) {
            return None;
        }
        Some(match heard {
            Heard::Said(said) => {
                log_order(&said);
                Event::LinkSaid(said)
            }
            Heard::Down(why) => {
                self.link = None;
                Event::LinkDown(why)
            }
        })
    }

    fn happened(&mut self, number: u64, happening: Happening) -> Option<Event> {
        if self.child.as_ref().is_none_or(|child| child.number != number) {
            return None;
        }
        Some(match happening {
            Happening::Said(said) => Event::ChildSaid(said),
            Happening::Garbage(what) => Event::ChildGarbage(what),
            Happening::Died(death) => {
                self.child = None;
                self.seat.session.send_replace(None);
                Event::ChildDied(death)
            }
        })
    }

    fn grown(&self, session: i32, held: u64) -> Option<Event> {
        self.child.as_ref().filter(|child| child.session == session).map(|_| Event::ChildGrew(held))
    }

    fn handle(&mut self, event: Event) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            let actions = self.session.handle(Instant::now(), event);
            events.extend(actions.into_iter().filter_map(|action| self.act(action)));
        }
        self.seat.welcome.store(self.session.is_welcome(), Ordering::Relaxed);
    }

    /// Carries out an action; what comes of it at once.
    fn act(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Connect { leader, hello } => {
                self.numbers += 1;
                self.link = Some(Link::open(self.numbers, &self.shared.dialer, leader, hello, self.to_heard.clone()));
            }
            Action::Disconnect => self.closing = self.link.take().map(Link::close).or(self.closing.take()),
            Action::Send(message) => {
                if self.link.as_ref().is_some_and(|link| !link.send(message)) {
                    self.link = None;
                    return Some(Event::LinkDown("it does not take messages".to_owned()));
                }
            }
            Action::StartChild => return self.start_child(),
            Action::Tell(order) => self.child.iter().for_each(|child| child.tell(order.clone())),
            Action::KillChild => self.child.iter().for_each(Child::kill),
            Action::Welcomed(term) => {
                self.shared.term.send_if_modified(|known| std::mem::replace(known, term.max(*known)) < term);
            }
            Action::Counted(report) => self.count(&report),
            Action::Log(line) => tracing::info!(slot = self.seat.identity.slot, "{line}"),
            Action::End => self.ended = Some(Ok(())),
            Action::GiveUp(message) => self.ended = Some(Err(message)),
        }
        None
    }

    fn start_child(&mut self) -> Option<Event> {
        self.numbers += 1;
        let mut opening = self.seat.opening.clone();
        opening.scratch.push(format!("slot-{}-{}", opening.slot, self.numbers));
        match Child::start(self.numbers, &self.shared.program, opening, &self.shared.living, &self.to_happened) {
            Ok(child) => {
                self.shared.metrics.started();
                self.seat.session.send_replace(Some(child.session));
                self.child = Some(child);
                None
            }
            Err(error) => {
                let last_words = Some(format!("{}: {error}", self.shared.program.path.display()));
                Some(Event::ChildDied(Death { how: How::Exited(-1), out_of_memory: false, last_words }))
            }
        }
    }

    fn count(&self, report: &FromSlot) {
        let slot = self.seat.identity.slot;
        match report {
            FromSlot::Done { attempt, done, .. } => {
                self.shared.metrics.done(done);
                tracing::info!(slot, task = %attempt.task, attempt = attempt.number, "done");
            }
            FromSlot::Failed { attempt, failed } => {
                self.shared.metrics.failed(&failed.fault);
                let step = failed.step.as_deref().unwrap_or_default();
                tracing::warn!(slot, task = %attempt.task, attempt = attempt.number, step, fault = ?failed.fault, "failed: {}", failed.message);
            }
            FromSlot::Hello { .. } | FromSlot::Progress { .. } | FromSlot::Draining => {}
        }
    }

    /// Until the last child of an ended slot is gone, with its files.
    async fn wait_to_be_gone(&mut self, happened: &mut mpsc::Receiver<(u64, Happening)>) {
        self.child.iter().for_each(Child::kill);
        while let Some(child) = &self.child {
            match happened.recv().await {
                Some((number, Happening::Died(_))) if number == child.number => self.child = None,
                Some(_) => {}
                None => return,
            }
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

fn log_order(said: &ToSlot) {
    match said {
        ToSlot::Run { task, output } => {
            tracing::info!(task = %task.attempt.task, attempt = task.attempt.number, output, "to run");
        }
        ToSlot::Cancel { attempt } => tracing::info!(task = %attempt.task, attempt = attempt.number, "to be cancelled"),
        ToSlot::Welcome { term, .. } => tracing::info!(term = term.0, "welcome"),
        ToSlot::NotLeader { leader } => tracing::info!(leader, "not the leader"),
        ToSlot::Leave { .. } | ToSlot::Plan { .. } => {}
    }
}
