//! The child's side of a slot: one task at a time, its end whatever it is.

use std::time::{Duration, Instant};

use plan::task::{Attempt, Failed, Fault, Task, TaskId};
use proto::master::FromSlot;

use super::super::death::{self, Cause, Death, Why};
use super::{Action, Child, Drain, Link, PROGRESS_INTERVAL, START_LIMIT, STOP_GRACE, Session, Stop, Work};
use crate::slot::protocol::{FromChild, ToChild};

/// Between the kill of a task that is handed back and the end of the slot, for its report.
const LAST_WORDS: Duration = Duration::from_secs(1);

impl Session {
    pub(super) fn take(&mut self, now: Instant, task: Box<Task>, output: String, out: &mut Vec<Action>) {
        let attempt = task.attempt;
        match &self.work {
            // The same order again, by a leader that did not hear of it.
            Work::Waiting { task, .. } if task.attempt == attempt => return,
            Work::Running { attempt: running, .. } if *running == attempt => return,
            Work::Finished { attempt: finished, report } if *finished == attempt => {
                return out.push(Action::Send(report.clone()));
            }
            Work::Waiting { task, .. } => return refuse_beside(attempt, task.attempt, out),
            Work::Running { attempt: other, .. } => return refuse_beside(attempt, *other, out),
            Work::Idle | Work::Finished { .. } => {}
        }
        // What ends a run is done even now: of a flow that is deleted there may be nobody else.
        let last = matches!(task.attempt.task, TaskId::Commit | TaskId::Discard);
        if self.drain.is_some() && !last {
            // The last result has arrived: this order says so.
            self.work = Work::Idle;
            let stopped = death::stopped(Why::Draining, None);
            return refuse(attempt, stopped.message, stopped.fault, out);
        }
        self.work = Work::Waiting { task, output };
        self.begin(now, out);
    }

    /// Hands the waiting task to the child, if it is ready.
    fn begin(&mut self, now: Instant, out: &mut Vec<Action>) {
        if self.child != Child::Ready || self.cause.is_some() {
            return;
        }
        if let Work::Waiting { task, output } = std::mem::replace(&mut self.work, Work::Idle) {
            let seconds = self.settings.as_ref().and_then(|settings| settings.task_deadline);
            let deadline = seconds.map(|seconds| (now + Duration::from_secs(seconds.into()), seconds));
            self.work = Work::Running { attempt: task.attempt, output: output.clone(), deadline, stop: None };
            self.next_progress = None;
            out.push(Action::Tell(ToChild::Run { task, output }));
        }
    }

    pub(super) fn cancel(&mut self, now: Instant, attempt: Attempt, out: &mut Vec<Action>) {
        match &self.work {
            Work::Running { attempt: running, stop, .. } if *running == attempt => {
                if stop.is_none() {
                    self.stop(now, Why::Cancelled, now + STOP_GRACE, out);
                }
            }
            Work::Waiting { task, .. } if task.attempt == attempt => {
                self.finish_failed(attempt, death::stopped(Why::Cancelled, None), out);
            }
            Work::Finished { attempt: finished, report } if *finished == attempt => out.push(Action::Send(report.clone())),
            Work::Idle | Work::Waiting { .. } | Work::Running { .. } | Work::Finished { .. } => {
                let stopped = death::stopped(Why::Cancelled, None);
                refuse(attempt, stopped.message, stopped.fault, out);
            }
        }
    }

    /// The slot is not needed any more. A task that has staged files removes them first; any other is of no account.
    pub(super) fn leave(&mut self, now: Instant, out: &mut Vec<Action>) {
        match &self.work {
            Work::Running { attempt, stop, .. } if attempt.task == TaskId::Stage => {
                let stops = stop.is_some();
                self.leaving = true;
                if !stops {
                    self.stop(now, Why::Cancelled, now + STOP_GRACE, out);
                }
            }
            Work::Idle | Work::Waiting { .. } | Work::Running { .. } | Work::Finished { .. } => self.end(out),
        }
    }

    fn stop(&mut self, now: Instant, why: Why, kill_at: Instant, out: &mut Vec<Action>) {
        if let Work::Running { attempt, stop, .. } = &mut self.work {
            *stop = Some(Stop { why, kill_at: kill_at.max(now) });
            out.push(Action::Tell(ToChild::Stop { attempt: *attempt }));
        }
    }

    /// Ends what runs in time before the pod's end.
    pub(super) fn hand_back(&mut self, now: Instant, drain: Drain, out: &mut Vec<Action>) {
        match &self.work {
            Work::Running { stop: None, .. } => {
                let kill_at = (now + STOP_GRACE).min(drain.end_at.checked_sub(LAST_WORDS).unwrap_or(now));
                self.stop(now, Why::Draining, kill_at, out);
            }
            Work::Waiting { task, .. } => {
                let attempt = task.attempt;
                self.finish_failed(attempt, death::stopped(Why::Draining, None), out);
            }
            Work::Idle | Work::Running { .. } | Work::Finished { .. } => {}
        }
    }

    pub(super) fn watch_work(&mut self, now: Instant, out: &mut Vec<Action>) {
        let Work::Running { deadline, stop, .. } = &self.work else { return };
        match (stop, deadline) {
            (Some(stop), _) if stop.kill_at <= now => self.kill(Cause::Stop(stop.why), out),
            (None, Some((at, seconds))) if *at <= now => self.stop(now, Why::Deadline(*seconds), now + STOP_GRACE, out),
            (Some(_) | None, _) => {}
        }
    }

    pub(super) fn child_said(&mut self, now: Instant, said: FromChild, out: &mut Vec<Action>) {
        match said {
            FromChild::Ready if self.child == Child::Starting => self.child_ready(now, out),
            FromChild::Ready => self.kill(Cause::Garbage("a second Ready".to_owned()), out),
            FromChild::Progress { attempt, rows, bytes } => self.progress(now, FromSlot::Progress { attempt, rows, bytes }, out),
            FromChild::Done { attempt, done } => match &self.work {
                Work::Running { attempt: running, output, .. } if *running == attempt => {
                    let agent = output.clone();
                    self.finish(attempt, FromSlot::Done { attempt, agent, done }, out);
                }
                Work::Idle | Work::Waiting { .. } | Work::Running { .. } | Work::Finished { .. } => self.unexpected(attempt, out),
            },
            FromChild::Failed { attempt, failed } => match &self.work {
                Work::Running { attempt: running, stop, .. } if *running == attempt => {
                    let failed = match stop {
                        Some(stop) => death::stopped(stop.why, failed.step),
                        None => *failed,
                    };
                    self.finish_failed(attempt, failed, out);
                }
                Work::Idle | Work::Waiting { .. } | Work::Running { .. } | Work::Finished { .. } => self.unexpected(attempt, out),
            },
        }
    }

    fn unexpected(&mut self, attempt: Attempt, out: &mut Vec<Action>) {
        self.kill(Cause::Garbage(format!("a result of {attempt}, which it does not run")), out);
    }

    fn child_ready(&mut self, now: Instant, out: &mut Vec<Action>) {
        self.child = Child::Ready;
        self.failed_starts = 0;
        out.extend(self.settings.clone().map(|settings| Action::Tell(ToChild::Settings(settings))));
        out.extend(self.plan.clone().map(|plan| Action::Tell(ToChild::Plan(plan))));
        self.begin(now, out);
    }

    fn progress(&mut self, now: Instant, progress: FromSlot, out: &mut Vec<Action>) {
        if self.link == Link::Up && self.next_progress.is_none_or(|at| at <= now) {
            self.next_progress = Some(now + PROGRESS_INTERVAL);
            out.push(Action::Send(progress));
        }
    }

    pub(super) fn child_died(&mut self, now: Instant, death: &Death, out: &mut Vec<Action>) {
        let cause = self.cause.take();
        let began = self.child == Child::Ready;
        self.failed_starts = if began { 0 } else { self.failed_starts + 1 };
        let pause = if began { Duration::ZERO } else { self.pause(self.failed_starts) };
        self.child = Child::Absent { until: now + pause };
        let failed = match &self.work {
            Work::Running { attempt, stop: Some(stop), .. } if cause.is_none() => {
                Some((*attempt, death::stopped(stop.why, None)))
            }
            Work::Running { attempt, .. } => Some((*attempt, death::failed(death, cause.as_ref()))),
            Work::Idle | Work::Waiting { .. } | Work::Finished { .. } => None,
        };
        match failed {
            Some((attempt, failed)) => self.finish_failed(attempt, failed, out),
            None => out.push(Action::Log(format!("a slot's process is gone: {}", death::failed(death, cause.as_ref()).message))),
        }
        if self.failed_starts >= START_LIMIT {
            let message = death::failed(death, cause.as_ref()).message;
            out.push(Action::GiveUp(format!("a slot's process did not start, {START_LIMIT} times: {message}")));
            self.over = true;
        }
    }

    fn finish_failed(&mut self, attempt: Attempt, failed: Failed, out: &mut Vec<Action>) {
        self.finish(attempt, FromSlot::Failed { attempt, failed: Box::new(failed) }, out);
    }

    fn finish(&mut self, attempt: Attempt, report: FromSlot, out: &mut Vec<Action>) {
        if self.link == Link::Up {
            out.push(Action::Send(report.clone()));
        }
        out.push(Action::Counted(report.clone()));
        self.work = Work::Finished { attempt, report };
    }
}

fn refuse_beside(attempt: Attempt, other: Attempt, out: &mut Vec<Action>) {
    refuse(attempt, format!("the slot works on {other}"), Fault::Infrastructure, out);
}

fn refuse(attempt: Attempt, message: String, fault: Fault, out: &mut Vec<Action>) {
    let failed = Box::new(Failed { step: None, message, fault });
    out.push(Action::Send(FromSlot::Failed { attempt, failed }));
}
