//! The directory of a run's spill files. It is locked as long as the run lives; what runs left there that were killed is removed by the
//! next one.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;

use tempfile::TempDir;

/// Only directories with such a name are looked at.
const PREFIX: &str = "gleamflow-spill-";

/// The directory; it goes when this is dropped.
#[derive(Debug)]
pub(crate) struct Scratch {
    directory: TempDir,
    /// The lock.
    _alive: File,
}

impl Scratch {
    /// A new directory in another, from which what is left over goes.
    ///
    /// # Errors
    /// Where none can be made there. That something left over cannot be removed is no error.
    pub(crate) fn below(parent: &Path) -> io::Result<Scratch> {
        let scratch = Scratch::locked(parent)?;
        sweep(parent, scratch.path());
        Ok(scratch)
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Another run may take a directory for left over before it is locked; then it is made again.
    fn locked(parent: &Path) -> io::Result<Scratch> {
        loop {
            let directory = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent)?;
            let Ok(alive) = File::open(directory.path()) else { continue };
            match alive.try_lock() {
                // Where there are no locks nobody takes anything for left over.
                Ok(()) | Err(TryLockError::Error(_)) => {}
                Err(TryLockError::WouldBlock) => continue,
            }
            if directory.path().exists() {
                return Ok(Scratch { directory, _alive: alive });
            }
        }
    }
}

fn sweep(parent: &Path, own: &Path) {
    let Ok(entries) = std::fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let (name, path) = (entry.file_name(), entry.path());
        let is_ours = name.as_encoded_bytes().starts_with(PREFIX.as_bytes()) && entry.file_type().is_ok_and(|kind| kind.is_dir());
        if !is_ours || path == own {
            continue;
        }
        let Ok(directory) = File::open(&path) else { continue };
        if directory.try_lock().is_ok()
            && let Err(error) = std::fs::remove_dir_all(&path)
        {
            tracing::debug!(path = %path.display(), %error, "what a killed run left cannot be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_killed_runs_left_goes_and_nothing_else() {
        let parent = tempfile::tempdir().unwrap();
        let at = |name: &str| parent.path().join(name);
        for name in ["gleamflow-spill-dead", "gleamflow-mine", "spill"] {
            std::fs::create_dir(at(name)).unwrap();
            std::fs::write(at(name).join("file"), "rows").unwrap();
        }
        std::fs::write(at("gleamflow-spill-file"), "mine").unwrap();
        let first = Scratch::below(parent.path()).unwrap();
        let second = Scratch::below(parent.path()).unwrap();
        assert!(!at("gleamflow-spill-dead").exists());
        assert!(first.path().exists() && second.path().exists(), "both live");
        for name in ["gleamflow-mine/file", "spill/file", "gleamflow-spill-file"] {
            assert!(at(name).exists(), "{name}");
        }
        let gone = first.path().to_owned();
        drop(first);
        assert!(!gone.exists());
    }

    #[test]
    fn runs_that_begin_at_once_keep_their_directories() {
        let parent = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let scratch = Scratch::below(parent.path()).unwrap();
                        std::fs::write(scratch.path().join("file"), "rows").unwrap();
                        assert!(scratch.path().join("file").exists());
                    }
                });
            }
        });
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
    }
}
