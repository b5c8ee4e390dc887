//! The system calls behind slots that std does not offer: sessions, orphans, signals, descriptors 0 to 2.
#![allow(unsafe_code, reason = "setsid, prctl, kill, waitpid and dup2 have no safe form in std")]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// Lets a command run in a session of its own, so that all that it starts can be found by its process id.
pub(crate) fn in_own_session(command: &mut tokio::process::Command) {
    // SAFETY: setsid is async-signal-safe and takes nothing.
    unsafe {
        command.pre_exec(|| if libc::setsid() == -1 { Err(io::Error::last_os_error()) } else { Ok(()) });
    }
}

/// From now on orphans below this process become its own children, as they do for process 1 of a container.
pub(crate) fn adopt_orphans() -> io::Result<()> {
    // SAFETY: PR_SET_CHILD_SUBREAPER takes a number.
    check(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) }).map(drop)
}

/// Kills a process; one that is gone already is no error.
pub(crate) fn kill(pid: i32) {
    if pid > 1 {
        // SAFETY: kill takes numbers; those that would mean a group or everybody are excluded.
        unsafe { libc::kill(pid, libc::SIGKILL) };
    }
}

/// Collects an ended child, without waiting for one that has not ended.
pub(crate) fn collect(pid: i32) {
    if pid > 1 {
        // SAFETY: a null status pointer is allowed.
        unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::WNOHANG) };
    }
}

/// Bytes of a page of memory.
pub(crate) fn page_bytes() -> u64 {
    // SAFETY: sysconf takes a number.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(bytes).unwrap_or(4096)
}

/// Takes what standard input is away from it, where user code cannot read it, and lets standard output be standard error:
/// whatever is printed is log.
pub(crate) fn take_standard_input() -> io::Result<OwnedFd> {
    let taken = io::stdin().as_fd().try_clone_to_owned()?;
    let nothing = File::open("/dev/null")?;
    // SAFETY: both descriptors are open; 0 and 1 are replaced at once, before any other thread runs.
    check(unsafe { libc::dup2(nothing.as_raw_fd(), 0) })?;
    // SAFETY: as above.
    check(unsafe { libc::dup2(2, 1) })?;
    Ok(taken)
}

fn check(result: i32) -> io::Result<i32> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
