//! The processes below an executor, as `/proc` shows them: which belong to a slot, how much memory they hold, which are
//! left over. A slot's process leads a session, and adopts the orphans below it; whatever it starts is found by that.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::unix;

/// What `/proc/<pid>/stat` says of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Process {
    pid: i32,
    parent: i32,
    session: i32,
    /// Ended, and not yet collected.
    ended: bool,
}

/// Kills all processes of a slot, until none is left that could start another one.
pub(super) fn kill_session(session: i32) {
    let slot = BTreeSet::from([session]);
    for _ in 0..10 {
        let all = processes();
        let left: Vec<i32> = all
            .iter()
            .filter(|process| !process.ended && slot_of(process, &all, &slot).is_some())
            .map(|process| process.pid)
            .collect();
        if left.is_empty() {
            break;
        }
        left.into_iter().for_each(unix::kill);
    }
}

/// The slot that a process belongs to: by its session, or by descent, where it has begun a session of its own.
fn slot_of(process: &Process, all: &[Process], slots: &BTreeSet<i32>) -> Option<i32> {
    let mut at = *process;
    // No chain is longer than there are processes; what ends meanwhile must not make a ring of it.
    for _ in 0..all.len() {
        if slots.contains(&at.session) {
            return Some(at.session);
        }
        at = *all.iter().find(|other| other.pid == at.parent)?;
    }
    None
}

/// Looks at all processes once: bytes held per slot session; ends and collects what slots left behind.
pub(super) fn survey(slots: &BTreeSet<i32>) -> BTreeMap<i32, u64> {
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    let mut held = BTreeMap::new();
    let all = processes();
    for process in all.iter().copied() {
        if let Some(slot) = slot_of(&process, &all, slots) {
            *held.entry(slot).or_default() += resident(process.pid);
        }
        if is_left_over(process, own, slots) {
            unix::kill(process.pid);
        }
        if process.parent == own && !slots.contains(&process.pid) {
            unix::collect(process.pid);
        }
    }
    held
}

/// Whether a process came to us because its parent died, and belongs to no slot that lives: slots are our only children.
fn is_left_over(process: Process, own: i32, slots: &BTreeSet<i32>) -> bool {
    process.parent == own && !slots.contains(&process.session)
}

fn processes() -> Vec<Process> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter(|entry| entry.file_name().as_encoded_bytes()[0].is_ascii_digit());
    // A process that ended in between is none any more.
    pids.filter_map(|entry| parse(&std::fs::read_to_string(entry.path().join("stat")).ok()?)).collect()
}

/// `pid (name) state parent group session ...`; the name may hold anything.
fn parse(stat: &str) -> Option<Process> {
    let (pid, rest) = stat.split_once(" (")?;
    let mut fields = rest.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let session = fields.nth(1)?.parse().ok()?;
    Some(Process { pid: pid.parse().ok()?, parent, session, ended: matches!(state, "Z" | "X") })
}

/// Bytes that are this process's own: what it shares with files can be taken from it at any time.
fn resident(pid: i32) -> u64 {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    let mut fields = statm.split(' ').skip(1).map(|field| field.parse::<u64>().unwrap_or(0));
    let (resident, shared) = (fields.next().unwrap_or(0), fields.next().unwrap_or(0));
    resident.saturating_sub(shared) * unix::page_bytes()
}

/// How many processes the kernel has killed in this container because its memory was short; 0 where it cannot be told.
pub(super) fn memory_kills() -> u64 {
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let path = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or("");
    let places = [
        Path::new("/sys/fs/cgroup").join(path).join("memory.events"),
        Path::new("/sys/fs/cgroup/memory.events").to_path_buf(),
        Path::new("/sys/fs/cgroup/memory/memory.oom_control").to_path_buf(),
    ];
    places.iter().find_map(|place| kills_in(&std::fs::read_to_string(place).ok()?)).unwrap_or(0)
}

fn kills_in(events: &str) -> Option<u64> {
    events.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_whatever_the_process_is_called() {
        let line = "42 (a) b (c) S 7 42 40 0 -1 4194304 1 2";
        assert_eq!(parse(line), Some(Process { pid: 42, parent: 7, session: 40, ended: false }));
        assert_eq!(parse("43 (x) Z 7 43 43 0").map(|process| process.ended), Some(true));
        assert_eq!(parse("nothing"), None);
        assert_eq!(parse("44 (x) S"), None);
    }

    #[test]
    fn this_process_holds_memory() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let before = resident(pid);
        let held = std::hint::black_box(vec![1_u8; 64 << 20]);
        assert!(resident(pid) > before + (32 << 20), "{before} {}", resident(pid));
        drop(held);
        assert!(processes().iter().any(|process| process.pid == pid));
    }

    #[test]
    fn only_orphans_of_no_living_slot_are_left_over() {
        let slots = BTreeSet::from([20]);
        let check = |pid, parent, session, expected| {
            let process = Process { pid, parent, session, ended: false };
            assert_eq!(is_left_over(process, 10, &slots), expected, "{process:?}");
        };
        check(20, 10, 20, false);
        check(21, 20, 20, false);
        check(22, 10, 20, false);
        check(23, 10, 19, true);
        check(24, 10, 24, true);
        check(25, 20, 25, false);
    }

    #[test]
    fn what_a_slot_starts_belongs_to_it_also_in_a_session_of_its_own() {
        let process = |pid, parent, session| Process { pid, parent, session, ended: false };
        let all = [process(20, 10, 20), process(21, 20, 20), process(22, 21, 22), process(23, 22, 23), process(30, 10, 30)];
        let slots = BTreeSet::from([20]);
        let of: Vec<Option<i32>> = all.iter().map(|process| slot_of(process, &all, &slots)).collect();
        assert_eq!(of, [Some(20), Some(20), Some(20), Some(20), None]);
    }

    #[test]
    fn kills_are_counted_in_either_form() {
        assert_eq!(kills_in("low 0\noom 3\noom_kill 2\noom_group_kill 0\n"), Some(2));
        assert_eq!(kills_in("oom_kill_disable 0\nunder_oom 0\noom_kill 5\n"), Some(5));
        assert_eq!(kills_in("low 0\n"), None);
    }
}
