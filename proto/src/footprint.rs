//! A process that waits most of its time holds little: the pages of its own files that it no longer needs go out of its memory.
#![allow(unsafe_code, reason = "dl_iterate_phdr and madvise have no safe form in std")]

use std::ffi::{c_int, c_void};
use std::io;
use std::time::Duration;

/// The first time and the longest between two times; it doubles. The first is soon: most of what is given back was needed to start.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(10);

/// Code and constants of one loaded file: read from it, never written.
#[derive(Clone, Copy, Debug)]
struct Part {
    begin: usize,
    bytes: usize,
}

/// Gives pages back again and again; never ends.
pub async fn keep_small() {
    let mut pause = FIRST;
    loop {
        tokio::time::sleep(pause).await;
        if let Err(error) = give_back() {
            tracing::warn!(%error, "code that is not needed cannot be given back: the process works, and holds more than it must");
            return std::future::pending().await;
        }
        pause = LONGEST.min(pause * 2);
    }
}

/// Gives back what of the program's files is mapped, and what of the heap is free. A page that is needed after all is still in the
/// system's cache, and comes back together with its neighbours; for all that a process does in some seconds this takes a millisecond.
///
/// # Errors
/// If the system refuses it.
pub fn give_back() -> io::Result<()> {
    trim_heap();
    parts().into_iter().try_for_each(|part| {
        // SAFETY: the range is mapped from a file for as long as the process lives (we unload nothing). Nobody has written there:
        // linkers make no code that the loader must change unless they are told to. So reading it again gives the same bytes.
        let failed = unsafe { libc::madvise(part.begin as *mut c_void, part.bytes, libc::MADV_DONTNEED) };
        if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    })
}

#[cfg(target_env = "gnu")]
fn trim_heap() {
    // SAFETY: malloc_trim only returns free pages.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(not(target_env = "gnu"))]
fn trim_heap() {}

/// The whole pages of all segments that are not writable.
fn parts() -> Vec<Part> {
    let mut parts = Vec::<Part>::new();
    // SAFETY: `each` has the type that is called for, and gets back the list that is passed here, which nobody else has.
    unsafe {
        libc::dl_iterate_phdr(Some(each), (&raw mut parts).cast());
    }
    parts
}

/// Adds the segments of one loaded file to the list.
unsafe extern "C" fn each(file: *mut libc::dl_phdr_info, _: usize, parts: *mut c_void) -> c_int {
    // SAFETY: the loader passes a file that it has loaded, whose headers stay where they are, and the list from above.
    let (file, parts) = unsafe { (&*file, &mut *parts.cast::<Vec<Part>>()) };
    if file.dlpi_phdr.is_null() {
        return 0;
    }
    // SAFETY: so says the loader.
    let headers = unsafe { std::slice::from_raw_parts(file.dlpi_phdr, usize::from(file.dlpi_phnum)) };
    for header in headers {
        if header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0 {
            let begin = (file.dlpi_addr as usize).wrapping_add(header.p_vaddr as usize);
            parts.extend(whole_pages(begin, header.p_memsz as usize));
        }
    }
    0
}

/// What of a segment is pages of its own: at its ends may be others'.
fn whole_pages(begin: usize, bytes: usize) -> Option<Part> {
    // SAFETY: sysconf only reads.
    let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).ok().filter(|page| page.is_power_of_two())?;
    let (first, end) = (begin.next_multiple_of(page), (begin + bytes) & !(page - 1));
    (end > first).then(|| Part { begin: first, bytes: end - first })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a byte of each page.
    fn read_all() -> u64 {
        let bytes = parts().into_iter().flat_map(|part| (part.begin..part.begin + part.bytes).step_by(4096));
        // SAFETY: what is listed is mapped and can be read.
        bytes.map(|at| u64::from(unsafe { (at as *const u8).read_volatile() })).sum()
    }

    /// Pages of files that this process holds.
    fn held() -> u64 {
        let text = std::fs::read_to_string("/proc/self/statm").unwrap();
        text.split(' ').nth(2).unwrap().parse().unwrap()
    }

    #[test]
    fn code_goes_and_comes_back_as_it_was() {
        let (sum, all) = (read_all(), held());
        give_back().unwrap();
        let left = held();
        assert!(left < all / 2, "{left} of {all} pages are left");
        assert_eq!(read_all(), sum);
        assert!(held() > left);
    }

    #[test]
    fn only_whole_pages_are_given_back() {
        let at = |begin, bytes| whole_pages(begin, bytes).map(|part| (part.begin, part.bytes));
        assert_eq!(at(0x10_0010, 0x2000), Some((0x10_1000, 0x1000)));
        assert_eq!(at(0x10_0000, 0x2fff), Some((0x10_0000, 0x2000)));
        assert_eq!((at(0x10_0001, 0x1000), at(0x10_0000, 0)), (None, None));
    }
}
