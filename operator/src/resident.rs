//! Keeps an idle operator small: pages of its own code that only its start needed are let go of.
#![allow(unsafe_code, reason = "what the kernel is to do with mapped pages has no safe interface")]

use std::sync::Arc;
use std::time::Duration;

use crate::queue::Queue;

/// By then it has listed what there is.
const FIRST: Duration = Duration::from_secs(4);
const EVERY: Duration = Duration::from_secs(60);

/// Lets go of code now and then, while no flow waits; never ends.
pub(crate) async fn stay_small(queue: Arc<Queue>) -> anyhow::Result<()> {
    let mut wait = FIRST;
    loop {
        tokio::time::sleep(wait).await;
        if queue.len() == 0 {
            drop_code();
        }
        wait = EVERY;
    }
}

/// What is needed comes back from the page cache.
fn drop_code() {
    #[cfg(target_os = "linux")]
    for (start, length) in code() {
        // SAFETY: these are clean pages of a file, which nobody can write; the next use maps them again.
        unsafe {
            libc::madvise(start as *mut libc::c_void, length, libc::MADV_DONTNEED);
        }
    }
}

/// Where the program's executable pages are: mapped from its file, and never written to.
#[cfg(target_os = "linux")]
fn code() -> Vec<(usize, usize)> {
    let Ok(program) = std::env::current_exe() else { return Vec::new() };
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let program = program.to_string_lossy();
    let ours = maps.lines().filter(|line| line.ends_with(&*program) && line.contains(" r-xp "));
    let range = |line: &str| {
        let (start, end) = line.split_whitespace().next()?.split_once('-')?;
        let (start, end) = (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
        Some((start, end.checked_sub(start)?))
    };
    ours.filter_map(range).collect()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn code_that_was_let_go_of_still_runs() {
        assert!(!code().is_empty(), "a program has code");
        drop_code();
        assert_eq!(code(), code());
    }
}
