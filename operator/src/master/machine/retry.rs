//! Whether a failed task is tried again, and when. Pure.

use std::time::Duration;

use crds::cluster::Retry;
use plan::task::Fault;

use super::planted::{self, Bug};

/// So often in a row, without any progress elsewhere, may a task be lost to infrastructure.
pub(super) const LOSSES: u32 = 20;
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// How often a task failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// By the fault of the flow, or of what it reads and writes.
    pub(super) flow: u32,
    /// By loss of slots, agents and outputs, since the run last made progress.
    pub(super) lost: u32,
    /// The run's progress when it was last lost.
    pub(super) progress: u64,
}

/// What follows from a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// After this wait.
    Retry(Duration),
    /// The run fails, for this reason.
    Fail(&'static str),
}

impl Tally {
    /// Counts a failure. `progress`: how many tasks of the run were ever done.
    pub(super) fn count(&mut self, fault: &Fault, retry: &Retry, progress: u64) -> Verdict {
        let infrastructure = matches!(fault, Fault::Infrastructure | Fault::Stopped);
        let fault = if planted::has(Bug::BlamesFlow) && infrastructure { &Fault::Flow } else { fault };
        match fault {
            Fault::Hopeless => Verdict::Fail("Invalid"),
            Fault::Flow | Fault::Storage => {
                self.flow += 1;
                if self.flow > retry.limit && !planted::has(Bug::ForgivesFlow) {
                    Verdict::Fail(if matches!(fault, Fault::Flow) { "UdfError" } else { "BackoffLimitExceeded" })
                } else {
                    Verdict::Retry(backoff(retry, self.flow))
                }
            }
            Fault::Infrastructure | Fault::Stopped => self.lose(progress, "BackoffLimitExceeded"),
            Fault::Lost(_) => self.lose(progress, "DataLost"),
        }
    }

    /// Counts the loss of an attempt or of its output.
    pub(super) fn lose(&mut self, progress: u64, reason: &'static str) -> Verdict {
        if self.progress != progress {
            (self.progress, self.lost) = (progress, 0);
        }
        self.lost += 1;
        if self.lost > LOSSES {
            return Verdict::Fail(reason);
        }
        // The first one costs nothing: a pod died, another takes over.
        Verdict::Retry(Duration::from_millis(500).saturating_mul(self.lost - 1).min(LONGEST_WAIT))
    }
}

/// The wait before retry number `retries`, from 1 on.
pub(super) fn backoff(retry: &Retry, retries: u32) -> Duration {
    let backoff = &retry.backoff;
    let factor = u64::from(backoff.factor).saturating_pow(retries.saturating_sub(1));
    let seconds = u64::from(backoff.initial_seconds).saturating_mul(factor);
    Duration::from_secs(seconds.min(u64::from(backoff.max_seconds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_by_the_factor_up_to_the_longest() {
        let retry = Retry::default();
        let waits: Vec<u64> = (1..=8).map(|retries| backoff(&retry, retries).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(backoff(&retry, u32::MAX).as_secs(), 60);
    }

    #[test]
    fn faults_are_counted_as_the_contract_says() {
        fn check(faults: &[Fault], limit: u32, expected: &[Option<&str>]) {
            let (mut tally, retry) = (Tally::default(), Retry { limit, ..Retry::default() });
            let verdict = |fault| match tally.count(fault, &retry, 0) {
                Verdict::Retry(_) => None,
                Verdict::Fail(reason) => Some(reason),
            };
            assert_eq!(faults.iter().map(verdict).collect::<Vec<_>>(), expected, "{faults:?}, limit {limit}");
        }
        use Fault::{Flow, Hopeless, Infrastructure, Stopped, Storage};
        check(&[Flow], 0, &[Some("UdfError")]);
        check(&[Flow, Flow, Flow, Flow], 3, &[None, None, None, Some("UdfError")]);
        check(&[Hopeless], 3, &[Some("Invalid")]);
        check(&[Flow, Storage, Flow, Storage], 3, &[None, None, None, Some("BackoffLimitExceeded")]);
        check(&[Infrastructure, Flow, Stopped, Infrastructure], 1, &[None; 4]);
        check(&[Infrastructure, Flow, Stopped, Flow], 1, &[None, None, None, Some("UdfError")]);
    }

    #[test]
    fn losses_are_free_while_the_run_makes_progress_and_bounded_where_it_does_not() {
        let (mut tally, retry) = (Tally::default(), Retry::default());
        for progress in 0..100 {
            assert!(matches!(tally.count(&Fault::Infrastructure, &retry, progress), Verdict::Retry(_)));
        }
        for _ in 1..LOSSES {
            assert!(matches!(tally.count(&Fault::Infrastructure, &retry, 99), Verdict::Retry(_)));
        }
        assert_eq!(tally.count(&Fault::Infrastructure, &retry, 99), Verdict::Fail("BackoffLimitExceeded"));
    }
}
