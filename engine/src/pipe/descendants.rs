//! Processes that functions start behind our back (`io.popen`, `os.execute`): found below this process, and ended with the task.
#![allow(unsafe_code, reason = "prctl, kill and waitpid have no safe form in std")]

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

/// Rounds of looking and killing: one that starts others while it is killed needs more than one.
const ROUNDS: usize = 20;
/// Between them: what was killed takes a moment to end.
const PAUSE: Duration = Duration::from_millis(2);

/// From now on those whose parent ends stay below this process, also in a session of their own.
///
/// # Errors
/// If the system has no such thing.
#[cfg(target_os = "linux")]
pub fn adopt_orphans() -> io::Result<()> {
    // SAFETY: PR_SET_CHILD_SUBREAPER takes a number.
    if unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// As above, where there is no such thing.
///
/// # Errors
/// None.
#[cfg(not(target_os = "linux"))]
pub fn adopt_orphans() -> io::Result<()> {
    Ok(())
}

/// Kills and collects all processes below this one. Nobody else may be waiting for one of them.
pub fn end_descendants() {
    let own = std::process::id();
    for _ in 0..ROUNDS {
        let parents = parents();
        let below: Vec<u32> = parents.keys().copied().filter(|pid| is_below(*pid, own, &parents)).collect();
        if below.is_empty() {
            return;
        }
        for pid in below.iter().filter_map(|pid| libc::pid_t::try_from(*pid).ok()) {
            // SAFETY: both take numbers; a null status pointer is allowed. A pid of /proc is above 0: never a group or everybody.
            unsafe {
                libc::kill(pid, libc::SIGKILL);
                libc::waitpid(pid, std::ptr::null_mut(), libc::WNOHANG);
            }
        }
        std::thread::sleep(PAUSE);
    }
    tracing::warn!("processes that a function has started could not all be ended");
}

/// Whether a process descends from another one.
fn is_below(mut pid: u32, ancestor: u32, parents: &BTreeMap<u32, u32>) -> bool {
    // A chain is never longer than there are processes; what ends meanwhile must not make a ring of it.
    for _ in 0..parents.len() {
        match parents.get(&pid) {
            Some(parent) if *parent == ancestor => return true,
            Some(parent) => pid = *parent,
            None => return false,
        }
    }
    false
}

/// The parent of every process.
fn parents() -> BTreeMap<u32, u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return BTreeMap::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    // A process that ended in between is none any more.
    pids.filter_map(|pid| Some((pid, parent(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?))).collect()
}

/// `pid (name) state parent ...`; the name may hold anything.
fn parent(stat: &str) -> Option<u32> {
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_are_read_whatever_a_process_is_called() {
        assert_eq!(parent("42 (a) b (c) S 7 42 40 0"), Some(7));
        assert_eq!(parent("nothing"), None);
        assert_eq!(parents().get(&std::process::id()).copied(), Some(std::os::unix::process::parent_id()));
    }

    #[test]
    fn descendants_are_those_at_any_depth() {
        let parents = BTreeMap::from([(2, 1), (3, 2), (4, 3), (5, 1), (6, 7), (7, 6)]);
        let below: Vec<u32> = parents.keys().copied().filter(|pid| is_below(*pid, 2, &parents)).collect();
        assert_eq!(below, [3, 4]);
    }
}
