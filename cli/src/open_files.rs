//! The limit on open files. Each task that spills keeps a file open, and the usual limit is for programs that open a few.
#![allow(unsafe_code, reason = "getrlimit and setrlimit have no safe form in std")]

/// Enough for any number of tasks, and no burden for the commands of pipes, some of which close as many files as they may open.
const MANY: libc::rlim_t = 65_536;

/// Raises the limit as far as the system lets. Where it does not, the limit stays, and is an error where it is met.
pub(crate) fn allow_many() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls get a structure of theirs that outlives them, and keep no pointer to it.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
            limit.rlim_cur = limit.rlim_cur.max(limit.rlim_max.min(MANY));
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
}
