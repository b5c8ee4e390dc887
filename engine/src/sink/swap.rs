//! Two directories change places, in one step where the system can.

use std::cell::Cell;
use std::io;
use std::path::{Path, PathBuf};

use super::change::change;

/// Puts `new` in the place of `old`, and `old` where `new` was.
pub(super) fn swap(new: &Path, old: &Path) -> io::Result<()> {
    if in_one_step(new, old)? { Ok(()) } else { in_three_steps(new, old) }
}

/// The same, if it can be done in one step; false: it cannot, and nothing has changed.
pub(super) fn in_one_step(new: &Path, old: &Path) -> io::Result<bool> {
    if WITHOUT_EXCHANGE.get() {
        return Ok(false);
    }
    match change(|| exchange(new, old)) {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOSYS | libc::ENOTSUP)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Where the old directory waits while a swap in several steps goes on.
pub(super) fn aside(new: &Path) -> PathBuf {
    new.with_added_extension("replaced")
}

/// For file systems without an exchange: between the steps there is no directory at all, never half of one.
fn in_three_steps(new: &Path, old: &Path) -> io::Result<()> {
    let aside = aside(new);
    change(|| std::fs::rename(old, &aside))?;
    if let Err(error) = change(|| std::fs::rename(new, old)) {
        change(|| std::fs::rename(&aside, old))?;
        return Err(error);
    }
    change(|| std::fs::rename(&aside, new))
}

thread_local! {
    static WITHOUT_EXCHANGE: Cell<bool> = const { Cell::new(false) };
}

/// For tests: lets `act` run as on a file system that cannot exchange directories.
#[doc(hidden)]
pub fn without_exchange<T>(act: impl FnOnce() -> T) -> T {
    WITHOUT_EXCHANGE.set(true);
    let made = act();
    WITHOUT_EXCHANGE.set(false);
    made
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "renameat2 has no safe form in std")]
fn exchange(a: &Path, b: &Path) -> io::Result<()> {
    use std::ffi::CString;
    use std::os::unix::ffi::OsStrExt;
    let (a, b) = (CString::new(a.as_os_str().as_bytes())?, CString::new(b.as_os_str().as_bytes())?);
    // SAFETY: both are C strings that outlive the call, which only reads them.
    let result = unsafe {
        libc::syscall(libc::SYS_renameat2, libc::AT_FDCWD, a.as_ptr(), libc::AT_FDCWD, b.as_ptr(), libc::RENAME_EXCHANGE)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(not(target_os = "linux"))]
fn exchange(_a: &Path, _b: &Path) -> io::Result<()> {
    Err(io::Error::from_raw_os_error(libc::ENOSYS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_change_places_either_way() {
        for swap in [swap, in_three_steps] {
            let dir = tempfile::tempdir().unwrap();
            let (new, old) = (dir.path().join(".out.staging-1"), dir.path().join("out"));
            for (path, name) in [(&new, "new"), (&old, "old")] {
                std::fs::create_dir(path).unwrap();
                std::fs::write(path.join(name), "").unwrap();
            }
            swap(&new, &old).unwrap();
            assert!(old.join("new").exists() && new.join("old").exists());
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
        }
    }
}
