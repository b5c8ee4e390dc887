//! A local directory as a sink's place: files are staged beside where they go, on the same file system, and renamed.

mod moves;
mod recover;
mod turn;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use plan::Mode;

use super::change::{change, change_in_drop};
use super::error::on;
use super::made::Made;
use super::part::Staged;
use super::place::{Naming, SUCCESS, is_data, is_unique, names_in};
use super::swap::swap;
use super::{SinkError, manifest};
use crate::cleanup::{Beginning, Leftover, Registered};

/// How often a directory is removed into which others put something.
const TRIES: usize = 10;

/// A directory that a sink writes into.
#[derive(Debug)]
pub(super) struct Directory {
    target: PathBuf,
    /// Hidden; removed on drop, whatever it holds then.
    staging: PathBuf,
    how: How,
    mode: Mode,
    naming: Option<Naming>,
    /// Whether a manifest has what is staged: nothing is removed then.
    handed_over: bool,
    /// The staging directory, locked as long as this process lives: others see that it is not left over.
    _alive: File,
    /// Dropped late: the staging directory may be in a directory that it made.
    made: Option<Made>,
    /// Dropped last, when all of it is gone.
    registered: Vec<Registered>,
}

/// How files become visible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// The staging directory takes the target's place.
    Swap,
    /// Files are renamed one by one out of the staging directory, which is in the target.
    OneByOne,
}

impl Directory {
    /// Checks the target and makes a staging directory, which `tag` names. `base`: the directory of the flow. What a run in one
    /// process left there that was killed goes first.
    pub(super) fn open(target: &Path, mode: Mode, base: &Path, tag: &str) -> Result<Directory, SinkError> {
        if is_unique(tag) {
            recover::recover(target)?;
        }
        match std::fs::metadata(target) {
            Ok(found) if found.is_dir() => Directory::open_existing(target, mode, base, tag),
            Ok(_) => Err(SinkError::NotADirectory { path: target.to_path_buf() }),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let made = Made::directory(target).map_err(on("make the directory", target))?;
                Directory::one_by_one(target, mode, Some(made), tag)
            }
            Err(error) => Err(on("look at", target)(error)),
        }
    }

    fn open_existing(target: &Path, mode: Mode, base: &Path, tag: &str) -> Result<Directory, SinkError> {
        let target = target.canonicalize().map_err(on("look at", target))?;
        match mode {
            Mode::Fail => refuse_data(&target)?,
            Mode::Append => {}
            Mode::Replace => {
                if base.canonicalize().is_ok_and(|base| base.starts_with(&target)) {
                    return Err(SinkError::HoldsFlow { path: target });
                }
                if let Some((staging, alive)) = staging_beside(&target, tag)? {
                    return Ok(Directory::new(target, (staging, alive), How::Swap, mode, None));
                }
            }
        }
        Directory::one_by_one(&target, mode, None, tag)
    }

    fn new(target: PathBuf, (staging, alive): (PathBuf, File), how: How, mode: Mode, made: Option<Made>) -> Directory {
        Directory { target, staging, how, mode, naming: None, handed_over: false, _alive: alive, made, registered: Vec::new() }
    }

    fn one_by_one(target: &Path, mode: Mode, made: Option<Made>, tag: &str) -> Result<Directory, SinkError> {
        // Attempts of a cluster's run may be here at the same time, and go on after one another's death: none waits.
        let _turn = if is_unique(tag) { turn::take(target)? } else { None };
        if mode == Mode::Fail && is_unique(tag) {
            recover::refuse_living(target)?;
        }
        let staging = inside(target, tag);
        let alive = make_staging(&staging).map_err(on("make the directory", &staging))?;
        let mut directory = Directory::new(target.to_path_buf(), (staging, alive), How::OneByOne, mode, made);
        directory.naming = match mode {
            Mode::Append => Some(Naming::behind(names_in(&directory.target)?.iter().map(String::as_str), tag)),
            // Old and new are there together for a while: none is in the way of the other.
            Mode::Replace if directory.made.is_none() => Some(Naming::of(tag)),
            Mode::Replace | Mode::Fail => None,
        };
        Ok(directory)
    }

    /// The same, known to those who clean up where the process ends early.
    pub(super) fn registered(mut self, beginning: &Beginning<'_>) -> Directory {
        self.registered.push(beginning.register(Leftover::Directory(self.staging.clone())));
        let made = self.made.as_ref().map(|made| Leftover::Made(made.directories().to_vec()));
        self.registered.extend(made.map(|made| beginning.register(made)));
        self
    }

    /// Whether it can still be committed, as far as can be told before.
    pub(super) fn check(&self) -> Result<(), SinkError> {
        if self.mode == Mode::Fail { refuse_data(&self.target) } else { Ok(()) }
    }

    /// Where files become visible, without links.
    pub(super) fn target(&self) -> PathBuf {
        self.target.canonicalize().unwrap_or_else(|_| self.target.clone())
    }

    /// Where files wait for the commit.
    pub(super) fn staging(&self) -> &Path {
        &self.staging
    }

    pub(super) fn naming(&self) -> Option<&Naming> {
        self.naming.as_ref()
    }

    /// Leaves what is staged to whoever commits it by this description.
    pub(super) fn hand_over(&mut self, staged: &[Staged]) -> Result<manifest::Directory, SinkError> {
        let how = match self.how {
            How::Swap => {
                mark(&self.staging)?;
                manifest::How::Swap { inode: std::fs::metadata(&self.staging).map_err(on("look at", &self.staging))?.ino() }
            }
            How::OneByOne => {
                let old = if self.mode == Mode::Replace { data_in(&self.target)? } else { Vec::new() };
                manifest::How::OneByOne { files: names(staged), old }
            }
        };
        sync(&self.staging)?;
        self.handed_over = true;
        if let Some(made) = self.made.take() {
            made.keep();
        }
        Ok(manifest::Directory { target: self.target.clone(), staging: self.staging.clone(), how })
    }

    /// Makes the staged files visible, then the marker.
    pub(super) fn commit(&self, staged: &[Staged]) -> Result<(), SinkError> {
        let _turn = turn::take(&self.target)?;
        match self.how {
            How::Swap => self.commit_by_swap(),
            How::OneByOne => {
                if self.mode == Mode::Fail {
                    refuse_data(&self.target)?;
                }
                moves::commit(&self.staging, &self.target, &names(staged), self.mode == Mode::Replace)
            }
        }
    }

    fn commit_by_swap(&self) -> Result<(), SinkError> {
        mark(&self.staging)?;
        swap(&self.staging, &self.target).map_err(on("replace", &self.target))?;
        self.target.parent().map_or(Ok(()), sync)
        // The old directory, now in the staging directory's place, is removed on drop.
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if self.handed_over {
            return;
        }
        change_in_drop(|| match std::fs::remove_dir_all(&self.staging) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                tracing::warn!(path = %self.staging.display(), %error, "a staging directory could not be removed");
            }
            Ok(()) | Err(_) => {}
        });
    }
}

fn names(staged: &[Staged]) -> Vec<String> {
    let name = |staged: &Staged| match staged {
        Staged::File(name) => name.clone(),
        Staged::Upload(_) | Staged::EmptyObject(_) => unreachable!("directories take files"),
    };
    staged.iter().map(name).collect()
}

/// Makes a staging directory and locks it. One who cleans up may take it for left over before it is locked; then it is made again.
fn make_staging(path: &Path) -> io::Result<File> {
    loop {
        change(|| std::fs::create_dir(path))?;
        let Ok(directory) = File::open(path) else { continue };
        match directory.try_lock() {
            // Where there are no locks nobody takes anything for left over.
            Ok(()) | Err(std::fs::TryLockError::Error(_)) => {}
            Err(std::fs::TryLockError::WouldBlock) => directory.lock()?,
        }
        match std::fs::metadata(path) {
            Ok(found) if found.ino() == directory.metadata()?.ino() => return Ok(directory),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
}

/// The staging directory inside a target.
pub(super) fn inside(target: &Path, tag: &str) -> PathBuf {
    target.join(format!("_staging-{tag}"))
}

/// The staging directory beside a target; `None` for one without a name.
pub(super) fn beside(target: &Path, tag: &str) -> Option<PathBuf> {
    let name = target.file_name()?.to_string_lossy();
    Some(target.parent()?.join(format!(".{name}.staging-{tag}")))
}

/// A staging directory beside one that is to be replaced as a whole; `None` where it cannot be: it holds more than a sink's
/// files, is a mount point, or its parent cannot be written.
fn staging_beside(target: &Path, tag: &str) -> Result<Option<(PathBuf, File)>, SinkError> {
    let (Some(parent), Some(staging)) = (target.parent(), beside(target, tag)) else { return Ok(None) };
    let old = std::fs::metadata(target).map_err(on("look at", target))?;
    let mounted = std::fs::metadata(parent).map_err(on("look at", parent))?.dev() != old.dev();
    let is_of_sink = |name: &String| is_data(name) || name == SUCCESS;
    if mounted || !names_in(target)?.iter().all(is_of_sink) {
        return Ok(None);
    }
    let alive = match make_staging(&staging) {
        Err(error) if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem) => return Ok(None),
        result => result.map_err(on("make the directory", &staging))?,
    };
    if let Err(error) = change(|| std::fs::set_permissions(&staging, old.permissions())) {
        // Not worth more than the directory itself, which is empty.
        let _ = std::fs::remove_dir(&staging);
        return Err(on("set the permissions of", &staging)(error));
    }
    Ok(Some((staging, alive)))
}

fn refuse_data(target: &Path) -> Result<(), SinkError> {
    match names_in(target)?.into_iter().find(|name| is_data(name)) {
        Some(name) => Err(SinkError::AlreadyThere { place: target.display().to_string(), name }),
        None => Ok(()),
    }
}

fn data_in(target: &Path) -> Result<Vec<OsString>, SinkError> {
    let entries = std::fs::read_dir(target).map_err(on("list", target))?;
    let names: io::Result<Vec<OsString>> = entries.map(|entry| Ok(entry?.file_name())).collect();
    Ok(names.map_err(on("list", target))?.into_iter().filter(|name| is_data(&name.to_string_lossy())).collect())
}

/// Writes the marker.
pub(super) fn mark(directory: &Path) -> Result<(), SinkError> {
    let path = directory.join(SUCCESS);
    change(|| File::create(&path).and_then(|file| file.sync_all())).map_err(on("write", &path))?;
    sync(directory)
}

/// Makes the names in a directory as durable as the files.
pub(super) fn sync(directory: &Path) -> Result<(), SinkError> {
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(on("write", directory))
}

/// Removes a directory with what is in it, one entry after the other; one that is not there is no error.
pub(super) fn remove(directory: &Path) -> Result<(), SinkError> {
    for _ in 0..TRIES {
        match remove_once(directory) {
            // Another process has put something there meanwhile.
            Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => {}
            removed => return removed.map_err(on("remove", directory)),
        }
    }
    remove_once(directory).map_err(on("remove", directory))
}

fn remove_once(directory: &Path) -> io::Result<()> {
    let gone = |result: io::Result<()>| match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result,
    };
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let is_dir = entry.file_type()?.is_dir();
        let path = entry.path();
        gone(change(|| if is_dir { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) }))?;
    }
    gone(change(|| std::fs::remove_dir(directory)))
}
