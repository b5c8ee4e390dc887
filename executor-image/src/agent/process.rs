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
