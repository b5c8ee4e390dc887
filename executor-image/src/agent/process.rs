//! What an agent asks of its operating system: memory given back, many open files.
#![allow(unsafe_code, reason = "the C library's settings have no safe interface")]

use std::io;

/// The heap is cut off when so much is free at its end.
#[cfg(target_env = "gnu")]
const TRIM_BYTES: libc::c_int = 4 << 20;
/// Larger pieces (whole messages are smaller) are mapped by themselves.
#[cfg(target_env = "gnu")]
const MAP_BYTES: libc::c_int = 8 << 20;

/// To be called before there are threads.
///
/// # Errors
/// If the limit of open files cannot be set.
pub fn prepare() -> io::Result<()> {
    lean_heap();
    many_files()
}

/// Few arenas, so that what one thread frees another can use. A hint: whether it is taken does not matter.
#[cfg(target_env = "gnu")]
fn lean_heap() {
    // SAFETY: mallopt only sets numbers of the allocator.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 2);
        libc::mallopt(libc::M_TRIM_THRESHOLD, TRIM_BYTES);
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAP_BYTES);
    }
}

#[cfg(not(target_env = "gnu"))]
fn lean_heap() {}

/// Gives free memory back to the system.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim only returns free pages.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Lets go of the pages of the program's own code: what is needed comes back from the page cache, what only the start needed
/// does not.
pub fn drop_code() {
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

/// Each output on the disk is an open file: as many as the system allows.
fn many_files() -> io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls are given a valid rlimit.
    let failed = unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) != 0 || {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) != 0
        }
    };
    if failed { Err(io::Error::last_os_error()) } else { Ok(()) }
}
