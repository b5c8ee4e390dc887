//! What this machine (or the container around us) offers a run that does not say `--threads` or `--memory`.

use std::fs;
use std::num::NonZero;
use std::path::Path;

/// The default never exceeds this, however large the machine: past it, a run gains little and its neighbours lose much.
const DEFAULT_MEMORY_CAP: u64 = 16 << 30;

/// Where the amount of memory is unknown, what nearly every machine can spare.
const FALLBACK_MEMORY: u64 = 1 << 30;

/// As many as there are cores for us.
pub(crate) fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

/// Half of what the machine or the control group has, at most 16 GiB.
pub(crate) fn default_memory() -> usize {
    let limits = [physical(&read("/proc/meminfo")), control_group(Path::new("/sys/fs/cgroup"))];
    let least = limits.into_iter().flatten().min();
    let bytes = least.map_or(FALLBACK_MEMORY, |bytes| (bytes / 2).min(DEFAULT_MEMORY_CAP));
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// Absent outside Linux; then the fallback holds.
fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// `MemTotal` of `/proc/meminfo`.
fn physical(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The limit of version 2 or version 1 of control groups; `max` is none, and so is version 1's "nearly 2^63".
fn control_group(root: &Path) -> Option<u64> {
    let limits = [read(root.join("memory.max")), read(root.join("memory/memory.limit_in_bytes"))];
    limits.iter().filter_map(|text| text.trim().parse().ok()).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_s_memory_is_read_from_meminfo() {
        assert_eq!(physical("MemTotal:       1000 kB\nMemFree: 10 kB\n"), Some(1_024_000));
        assert_eq!(physical(""), None);
    }

    #[test]
    fn a_control_group_s_limit_counts_unless_it_is_max() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(control_group(root.path()), None);
        fs::write(root.path().join("memory.max"), "max\n").unwrap();
        assert_eq!(control_group(root.path()), None);
        fs::write(root.path().join("memory.max"), "536870912\n").unwrap();
        assert_eq!(control_group(root.path()), Some(512 << 20));
    }

    #[test]
    fn the_default_is_never_more_than_the_cap() {
        assert!((1..=16 << 30).contains(&default_memory()));
        assert!(default_threads() >= 1);
    }
}
