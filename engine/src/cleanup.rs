//! What a run would leave behind if its process ended now, and the removal of it for when the process has to end without
//! waiting: a compiled Lua loop cannot be stopped from within.
//!
//! Whoever makes something that outlives the process registers it here until it is gone. Normally each owner removes its own;
//! [`Cleanup::sweep`] does it for all of them, after which nothing new can begin.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, mpsc};
use std::time::Duration;

use std::collections::BTreeMap;

use crate::lock::lock;
use crate::pipe;
use crate::store::Location;

/// How often, and how long apart, the removal of a directory is tried into which others may still be writing.
const TRIES: usize = 50;
const PAUSE: Duration = Duration::from_millis(10);

/// How long a sweep waits for object stores to abort uploads.
const UPLOADS: Duration = Duration::from_secs(3);

/// All that a run has to remove.
#[derive(Debug, Default)]
pub struct Cleanup {
    /// Held for reading while something begins or a commit goes on; true once swept.
    swept: RwLock<bool>,
    committed: AtomicBool,
    leftovers: Mutex<Leftovers>,
}

#[derive(Debug, Default)]
struct Leftovers {
    next: u64,
    by_id: BTreeMap<u64, Leftover>,
}

/// Something that would outlive the process.
#[derive(Clone, Debug)]
pub(crate) enum Leftover {
    /// A directory, with all that is in it.
    Directory(PathBuf),
    /// Directories to be removed if they are empty.
    Made(Vec<PathBuf>),
    /// Processes, by their leader, who was not yet waited for.
    Group(u32),
    /// An upload in parts that was not completed.
    Upload(Location, String),
}

/// A leftover that is registered; its owner has removed it when this is dropped.
pub(crate) struct Registered {
    cleanup: Arc<Cleanup>,
    id: u64,
}

impl fmt::Debug for Registered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Registered").field(&self.id).finish()
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.cleanup.lock().by_id.remove(&self.id);
    }
}

/// Keeps a sweep waiting while something begins.
#[derive(Debug)]
pub(crate) struct Beginning<'a> {
    cleanup: &'a Arc<Cleanup>,
    _swept: RwLockReadGuard<'a, bool>,
}

impl Beginning<'_> {
    pub(crate) fn register(&self, what: Leftover) -> Registered {
        let mut leftovers = self.cleanup.lock();
        let id = leftovers.next;
        leftovers.next += 1;
        leftovers.by_id.insert(id, what);
        Registered { cleanup: Arc::clone(self.cleanup), id }
    }
}

impl Cleanup {
    /// To be held while something is made that is then registered. After a sweep it never returns: the process is about to end.
    pub(crate) fn begin(self: &Arc<Self>) -> Beginning<'_> {
        let swept = self.swept.read().unwrap_or_else(PoisonError::into_inner);
        if *swept {
            drop(swept);
            wait_for_the_end();
        }
        Beginning { cleanup: self, _swept: swept }
    }

    /// Registers what took too long to make for a sweep to wait for it; removes it where the sweep has been.
    pub(crate) fn register_late(self: &Arc<Self>, what: Leftover) -> Registered {
        if *self.swept.read().unwrap_or_else(PoisonError::into_inner) {
            remove(&what);
            wait_for_the_end();
        }
        self.begin().register(what)
    }

    /// Makes everything visible: a sweep waits until that is over, since half a commit would be worse.
    pub(crate) fn commit<E>(self: &Arc<Self>, commit: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        let _beginning = self.begin();
        commit()?;
        self.committed.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Removes all that is registered, whatever the tasks do meanwhile, so that the process can end at once. Waits for a commit
    /// that has begun; false, and nothing is done, if one has succeeded.
    pub fn sweep(&self) -> bool {
        let mut swept = self.swept.write().unwrap_or_else(PoisonError::into_inner);
        if self.committed.load(Ordering::Relaxed) {
            return false;
        }
        *swept = true;
        drop(swept);
        let leftovers = self.lock();
        // Under the lock: a leader that is waited for is not registered any more, and its id may be another's.
        leftovers.by_id.values().filter(|leftover| matches!(leftover, Leftover::Group(_))).for_each(remove);
        let mut others: Vec<Leftover> = leftovers.by_id.values().cloned().collect();
        drop(leftovers);
        let aborted = abort_uploads(&others);
        // Directories that were made last, when those in them are gone.
        others.sort_by_key(|leftover| matches!(leftover, Leftover::Made(_)));
        others.iter().filter(|leftover| matches!(leftover, Leftover::Directory(_) | Leftover::Made(_))).for_each(remove);
        aborted.wait();
        true
    }

    fn lock(&self) -> MutexGuard<'_, Leftovers> {
        lock(&self.leftovers)
    }
}

/// Threads that abort uploads.
struct Aborts {
    count: usize,
    done: mpsc::Receiver<()>,
}

fn abort_uploads(leftovers: &[Leftover]) -> Aborts {
    let (tell, done) = mpsc::channel();
    let uploads = leftovers.iter().filter(|leftover| matches!(leftover, Leftover::Upload(..)));
    let count = uploads.cloned().map(|upload| {
        let tell = tell.clone();
        std::thread::spawn(move || {
            remove(&upload);
            // Nobody listens any more once the time is over.
            let _ = tell.send(());
        })
    });
    Aborts { count: count.count(), done }
}

impl Aborts {
    fn wait(self) {
        let end = std::time::Instant::now() + UPLOADS;
        for _ in 0..self.count {
            if self.done.recv_timeout(end.saturating_duration_since(std::time::Instant::now())).is_err() {
                tracing::warn!("the object store did not abort all uploads in time: its rules for unfinished uploads will");
                return;
            }
        }
    }
}

fn remove(what: &Leftover) {
    match what {
        Leftover::Directory(path) => remove_all(path),
        Leftover::Made(paths) => {
            let mut paths = paths.clone();
            paths.sort_by_key(|path| std::cmp::Reverse(path.components().count()));
            for path in paths {
                // One that holds what others put there stays.
                let _ = std::fs::remove_dir(path);
            }
        }
        Leftover::Group(leader) => pipe::kill_group(*leader),
        Leftover::Upload(location, id) => {
            if let Err(error) = location.abort_upload(id) {
                tracing::warn!(url = %location.url(), %error, "an unfinished upload could not be removed");
            }
        }
    }
}

/// Removes a directory into which tasks may still write; once it is gone they cannot.
fn remove_all(path: &Path) {
    for _ in 0..TRIES {
        match std::fs::remove_dir_all(path) {
            Ok(()) => return,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !path.exists() => return,
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
    tracing::warn!(path = %path.display(), "a directory could not be removed");
}

/// The process is about to be ended by who swept.
fn wait_for_the_end() -> ! {
    loop {
        std::thread::park();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_removes_what_is_registered_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let [staged, kept, made] = ["staged", "kept", "made"].map(|name| dir.path().join(name));
        let inner = made.join("inner");
        for path in [&staged, &kept, &inner] {
            std::fs::create_dir_all(path).unwrap();
        }
        std::fs::write(staged.join("part"), "rows").unwrap();
        let cleanup = Arc::new(Cleanup::default());
        let done = cleanup.begin().register(Leftover::Directory(kept.clone()));
        let _made = cleanup.begin().register(Leftover::Made(vec![made.clone(), inner]));
        let _staged = cleanup.begin().register(Leftover::Directory(staged.clone()));
        drop(done);
        assert!(cleanup.sweep());
        assert_eq!([staged.exists(), kept.exists(), made.exists()], [false, true, false]);
    }

    #[test]
    fn a_directory_is_removed_while_others_write_into_it() {
        let dir = tempfile::tempdir().unwrap();
        let staged = dir.path().join("staged");
        std::fs::create_dir(&staged).unwrap();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let _ = std::fs::write(staged.join(number.to_string()), "x");
                }
            });
            let cleanup = Arc::new(Cleanup::default());
            let _staged = cleanup.begin().register(Leftover::Directory(staged.clone()));
            assert!(cleanup.sweep());
            assert!(!staged.exists());
            stop.store(true, Ordering::Relaxed);
        });
    }

    #[test]
    fn after_a_commit_there_is_nothing_to_sweep() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("old");
        std::fs::create_dir(&path).unwrap();
        let cleanup = Arc::new(Cleanup::default());
        let _old = cleanup.begin().register(Leftover::Directory(path.clone()));
        cleanup.commit(|| Ok::<(), ()>(())).unwrap();
        assert!(!cleanup.sweep());
        assert!(path.exists());
    }

    #[test]
    fn a_sweep_waits_for_a_commit_that_has_begun() {
        let cleanup = Arc::new(Cleanup::default());
        let (begun, begins) = mpsc::channel();
        std::thread::scope(|scope| {
            let (committing, sweeping) = (Arc::clone(&cleanup), Arc::clone(&cleanup));
            scope.spawn(move || {
                committing.commit(|| {
                    begun.send(()).unwrap();
                    std::thread::sleep(Duration::from_millis(50));
                    Ok::<(), ()>(())
                })
            });
            begins.recv().unwrap();
            assert!(!sweeping.sweep());
        });
    }
}
