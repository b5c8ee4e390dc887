//! How a slot's process ended, and what that makes of the task that it ran. Pure.

use plan::task::{Failed, Fault};

/// The end of a slot's process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Death {
    pub how: How,
    /// Whether the kernel killed a process of this container for memory since the task began.
    pub out_of_memory: bool,
    /// The last line that it wrote, which may say why.
    pub last_words: Option<String>,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    Exited(i32),
    Signal(i32),
}

/// Why the executor killed a slot's process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// It held this many bytes.
    Memory { held: u64, limit: u64 },
    /// It sent this instead of a message.
    Garbage(String),
    /// It did not stop when it was told to.
    Stop(Why),
}

/// Why a task is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    Cancelled,
    /// It ran this many seconds.
    Deadline(u32),
    /// The pod is being taken down.
    Draining,
}

/// What a task has failed of whose process died; `cause`: why it was killed, if we did it.
#[must_use]
pub(crate) fn failed(death: &Death, cause: Option<&Cause>) -> Failed {
    let (message, fault) = match cause {
        Some(Cause::Memory { held, limit }) => (
            format!(
                "the task used more than {} MiB ({} MiB): give executors more memory, or smaller partitions",
                limit >> 20,
                held >> 20
            ),
            Fault::Flow,
        ),
        Some(Cause::Garbage(what)) => (format!("the slot's process sent something that is no message ({what})"), Fault::Flow),
        Some(Cause::Stop(why)) => return stopped(*why, None),
        None => unexpected(death),
    };
    let message = match &death.last_words {
        Some(words) if cause.is_none() => format!("{message}; the last that it wrote: {words}"),
        Some(_) | None => message,
    };
    Failed { step: None, message, fault }
}

/// What a task has failed of that was told to stop; `step`: where it was.
#[must_use]
pub(crate) fn stopped(why: Why, step: Option<String>) -> Failed {
    let (message, fault) = match why {
        Why::Cancelled => ("the task was cancelled".to_owned(), Fault::Stopped),
        Why::Draining => ("the executor was taken down before the task was done".to_owned(), Fault::Stopped),
        Why::Deadline(seconds) => (
            format!(
                "the task ran longer than taskDeadlineSeconds ({seconds} s): raise taskDeadlineSeconds if it may take that long, \
                 or look for a loop without end in its functions"
            ),
            Fault::Flow,
        ),
    };
    Failed { step, message, fault }
}

fn unexpected(death: &Death) -> (String, Fault) {
    match death.how {
        How::Signal(libc::SIGKILL) if death.out_of_memory => (
            "the kernel killed the task because the executor's memory was short: give executors more memory, or fewer slots"
                .to_owned(),
            Fault::Flow,
        ),
        How::Signal(signal @ (libc::SIGKILL | libc::SIGTERM | libc::SIGINT | libc::SIGHUP)) => {
            (format!("the slot's process was killed from outside ({})", name(signal)), Fault::Infrastructure)
        }
        How::Signal(signal) => (format!("the task's process died of {}", name(signal)), Fault::Flow),
        How::Exited(code) => (format!("the task ended its process with exit code {code}"), Fault::Flow),
    }
}

fn name(signal: i32) -> String {
    let name = match signal {
        libc::SIGKILL => "SIGKILL",
        libc::SIGTERM => "SIGTERM",
        libc::SIGINT => "SIGINT",
        libc::SIGHUP => "SIGHUP",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGILL => "SIGILL",
        libc::SIGFPE => "SIGFPE",
        libc::SIGPIPE => "SIGPIPE",
        libc::SIGSYS => "SIGSYS",
        libc::SIGTRAP => "SIGTRAP",
        libc::SIGXFSZ => "SIGXFSZ",
        _ => return format!("signal {signal}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_death_has_words_and_somebody_at_fault() {
        let check = |how, out_of_memory, cause: Option<Cause>, fault: Fault, words: &str| {
            let failed = failed(&Death { how, out_of_memory, last_words: None }, cause.as_ref());
            assert!(failed.message.contains(words) && failed.fault == fault, "{failed:?}");
        };
        let killed = How::Signal(libc::SIGKILL);
        check(killed, false, None, Fault::Infrastructure, "from outside (SIGKILL)");
        check(killed, true, None, Fault::Flow, "memory was short");
        check(How::Signal(libc::SIGSEGV), true, None, Fault::Flow, "died of SIGSEGV");
        check(How::Signal(libc::SIGTERM), false, None, Fault::Infrastructure, "SIGTERM");
        check(How::Signal(35), false, None, Fault::Flow, "signal 35");
        check(How::Exited(3), false, None, Fault::Flow, "exit code 3");
        check(killed, true, Some(Cause::Memory { held: 65 << 20, limit: 64 << 20 }), Fault::Flow, "more than 64 MiB (65 MiB)");
        check(killed, false, Some(Cause::Garbage("x".to_owned())), Fault::Flow, "no message (x)");
        check(killed, false, Some(Cause::Stop(Why::Deadline(7))), Fault::Flow, "taskDeadlineSeconds (7 s)");
        check(killed, false, Some(Cause::Stop(Why::Cancelled)), Fault::Stopped, "cancelled");
        check(killed, false, Some(Cause::Stop(Why::Draining)), Fault::Stopped, "taken down");
    }

    #[test]
    fn the_last_words_of_a_process_are_told() {
        let death = Death { how: How::Signal(libc::SIGABRT), out_of_memory: false, last_words: Some("double free".to_owned()) };
        assert!(failed(&death, None).message.ends_with("the last that it wrote: double free"));
    }
}
