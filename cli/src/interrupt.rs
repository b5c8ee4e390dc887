//! Signals: SIGINT (Ctrl-C), SIGTERM and SIGHUP (the terminal is gone) ask the run to stop. Tasks that do not within a while (a
//! compiled Lua loop cannot be stopped from within), or a second signal, end the process at once, with nothing left behind.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use engine::Cleanup;
use engine::pipe::descendants;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level::{exit, pipe};

use crate::output;

/// The exit code of an interrupted run.
pub(crate) const INTERRUPTED: u8 = 130;

/// How long tasks may take to stop by themselves.
const GRACE: Duration = Duration::from_secs(2);

/// What a run and the watch over signals share.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watch {
    /// Set by the first signal; tasks look at it. Also set by a failure.
    pub(crate) stop: Arc<AtomicBool>,
    /// What is removed where the process ends at once.
    pub(crate) cleanup: Arc<Cleanup>,
    signalled: Arc<AtomicBool>,
    /// Held by who has the last word.
    end: Arc<Mutex<()>>,
}

impl Watch {
    /// Begins to watch. `last_words`: what is told where the process ends at once.
    pub(crate) fn begin(last_words: impl Fn() -> String + Send + 'static) -> io::Result<Watch> {
        let watch = Watch::default();
        let (told, tell) = UnixStream::pair()?;
        let hang_up = (!outlives_the_terminal()).then_some(SIGHUP);
        for signal in [SIGINT, SIGTERM].into_iter().chain(hang_up) {
            pipe::register(signal, tell.try_clone()?)?;
        }
        let follower = watch.clone();
        std::thread::Builder::new().name("signals".to_owned()).spawn(move || follower.follow(told, &last_words))?;
        Ok(watch)
    }

    /// Whether a signal has come.
    pub(crate) fn is_signalled(&self) -> bool {
        self.signalled.load(Ordering::Relaxed)
    }

    /// To be called before the outcome of the run is told: from here on no signal ends the process with another one.
    pub(crate) fn is_over(&self) {
        std::mem::forget(self.end.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn follow(&self, mut signals: UnixStream, last_words: &dyn Fn() -> String) {
        if !comes(&mut signals) {
            return;
        }
        self.signalled.store(true, Ordering::Relaxed);
        self.stop.store(true, Ordering::Relaxed);
        if signals.set_read_timeout(Some(GRACE)).is_ok() {
            // A second signal, or the end of the time: both mean now.
            comes(&mut signals);
        }
        if self.cleanup.sweep() {
            descendants::end_descendants();
            let _last = self.end.lock().unwrap_or_else(PoisonError::into_inner);
            output::tell(&last_words());
            exit(INTERRUPTED.into());
        }
        // The run has committed and is about to end.
    }
}

/// Whether we were started to ignore SIGHUP, as `nohup` does: then the run goes on without its terminal.
fn outlives_the_terminal() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & (1 << (SIGHUP - 1)) != 0)
}

/// Waits for a signal; false if none comes in time.
fn comes(signals: &mut UnixStream) -> bool {
    signals.read_exact(&mut [0]).is_ok()
}
