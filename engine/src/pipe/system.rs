//! The system calls behind pipes that std does not offer: waiting for several pipes at once, looking at a child without
//! collecting it, signals to a process group.
#![allow(unsafe_code, reason = "poll, fcntl, waitid and kill have no safe form in std")]

use std::io::{self, ErrorKind};
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

/// Makes reads and writes of a pipe return instead of wait.
pub(super) fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: `fd` is open as long as it is borrowed, and F_GETFL takes no pointer.
    let flags = check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) })?;
    // SAFETY: as above; F_SETFL takes an int.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK) }).map(drop)
}

/// One pipe (or none) to wait for. Same layout as what `poll` takes.
#[repr(transparent)]
pub(super) struct Wait<'a>(libc::pollfd, PhantomData<BorrowedFd<'a>>);

impl<'a> Wait<'a> {
    pub(super) fn to_read(fd: Option<BorrowedFd<'a>>) -> Wait<'a> {
        Wait::new(fd, libc::POLLIN)
    }

    pub(super) fn to_write(fd: Option<BorrowedFd<'a>>) -> Wait<'a> {
        Wait::new(fd, libc::POLLOUT)
    }

    fn new(fd: Option<BorrowedFd<'a>>, events: i16) -> Wait<'a> {
        // A negative descriptor is one that `poll` skips.
        Wait(libc::pollfd { fd: fd.map_or(-1, |fd| fd.as_raw_fd()), events, revents: 0 }, PhantomData)
    }

    /// Whether it can be read or written, be it to find that the other end is closed.
    pub(super) fn is_ready(&self) -> bool {
        self.0.revents != 0
    }
}

/// Waits until at least one is ready or the time is over.
pub(super) fn wait_for_any(waits: &mut [Wait<'_>], time: Duration) -> io::Result<()> {
    // Rounded up: a wait shorter than a millisecond must not become a spin.
    let milliseconds = time.as_micros().div_ceil(1000).try_into().unwrap_or(i32::MAX);
    // SAFETY: `Wait` is a transparent `pollfd`, the slice is exclusively ours, and its descriptors are borrowed for its life.
    let result = check(unsafe { libc::poll(waits.as_mut_ptr().cast(), waits.len() as libc::nfds_t, milliseconds) });
    match result {
        Err(error) if error.kind() != ErrorKind::Interrupted => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Whether a child that was not yet waited for has ended; leaves its status, and so its id, in place.
pub(super) fn has_ended(child: u32) -> io::Result<bool> {
    // SAFETY: waitid fills in the field, or leaves it zero where no child has ended.
    peek(child).map(|info| unsafe { info.si_pid() } != 0)
}

/// Whether a child that was not yet waited for has ended, and not with status 0; leaves its status in place.
pub(super) fn has_failed(child: u32) -> io::Result<bool> {
    let info = peek(child)?;
    // SAFETY: waitid fills in both fields, or leaves them zero where no child has ended.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    Ok(pid != 0 && (info.si_code != libc::CLD_EXITED || status != 0))
}

fn peek(child: u32) -> io::Result<libc::siginfo_t> {
    // SAFETY: all zeros is a valid `siginfo_t`, a C struct of integers.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: `info` outlives the call, which writes only to it.
    check(unsafe { libc::waitid(libc::P_PID, child, &mut info, libc::WEXITED | libc::WNOHANG | libc::WNOWAIT) })?;
    Ok(info)
}

/// Signals a process group led by a child that was not yet waited for.
pub(super) fn signal_group(leader: u32, signal: i32) {
    if let Ok(leader) = libc::pid_t::try_from(leader) {
        // SAFETY: takes no pointer. The group still exists: its leader was not collected.
        // A failure means that all members have ended, which is what is wanted.
        unsafe { libc::killpg(leader, signal) };
    }
}

fn check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
