//! A local directory as a sink's place: files are staged beside where they go, on the same file system, and renamed.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use plan::Mode;

use super::error::on;
use super::made::Made;
use super::part::Staged;
use super::place::{Appended, SUCCESS, is_data, names_in};
use super::swap::swap;
use super::{SinkError, manifest};

/// A directory that a sink writes into.
#[derive(Debug)]
pub(super) struct Directory {
    target: PathBuf,
    /// Hidden; removed on drop, whatever it holds then.
    staging: PathBuf,
    how: How,
    mode: Mode,
    appended: Option<Appended>,
    /// Dropped last: the staging directory may be in a directory that it made.
    made: Option<Made>,
    /// Whether a manifest has what is staged: nothing is removed then.
    handed_over: bool,
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
    /// Checks the target and makes a staging directory, which `tag` names. `base`: the directory of the flow.
    pub(super) fn open(target: &Path, mode: Mode, base: &Path, tag: &str) -> Result<Directory, SinkError> {
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
                if let Some(staging) = staging_beside(&target, tag)? {
                    let (how, appended) = (How::Swap, None);
                    return Ok(Directory { target, staging, how, mode, appended, made: None, handed_over: false });
                }
            }
        }
        Directory::one_by_one(&target, mode, None, tag)
    }

    fn one_by_one(target: &Path, mode: Mode, made: Option<Made>, tag: &str) -> Result<Directory, SinkError> {
        let staging = inside(target, tag);
        std::fs::create_dir(&staging).map_err(on("make the directory", &staging))?;
        let (target, how, appended) = (target.to_path_buf(), How::OneByOne, None);
        let mut directory = Directory { target, staging, how, mode, appended, made, handed_over: false };
        if mode == Mode::Append {
            directory.appended = Some(Appended::behind(names_in(&directory.target)?.iter().map(String::as_str)));
        }
        Ok(directory)
    }

    /// Where files wait for the commit.
    pub(super) fn staging(&self) -> &Path {
        &self.staging
    }

    pub(super) fn appended(&self) -> Option<&Appended> {
        self.appended.as_ref()
    }

    /// Leaves what is staged to whoever commits it by this description.
    pub(super) fn hand_over(&mut self, staged: &[Staged]) -> Result<manifest::Directory, SinkError> {
        let names = |staged: &Staged| match staged {
            Staged::File(name) => name.clone(),
            Staged::Upload(_) | Staged::EmptyObject(_) => unreachable!("directories take files"),
        };
        let how = match self.how {
            How::Swap => {
                mark(&self.staging)?;
                manifest::How::Swap { inode: std::fs::metadata(&self.staging).map_err(on("look at", &self.staging))?.ino() }
            }
            How::OneByOne => {
                let old = if self.mode == Mode::Replace { data_in(&self.target)? } else { Vec::new() };
                manifest::How::OneByOne { files: staged.iter().map(names).collect(), old }
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
        match self.how {
            How::Swap => self.commit_by_swap(),
            How::OneByOne => self.commit_one_by_one(staged),
        }
    }

    fn commit_by_swap(&self) -> Result<(), SinkError> {
        mark(&self.staging)?;
        swap(&self.staging, &self.target).map_err(on("replace", &self.target))?;
        self.target.parent().map_or(Ok(()), sync)
        // The old directory, now in the staging directory's place, is removed on drop.
    }

    fn commit_one_by_one(&self, staged: &[Staged]) -> Result<(), SinkError> {
        if self.mode == Mode::Fail {
            refuse_data(&self.target)?;
        }
        let mut moves = Moves::default();
        if self.mode == Mode::Replace {
            self.set_old_aside(&mut moves)?;
        }
        for file in staged {
            let Staged::File(name) = file else { unreachable!("directories take files") };
            moves.rename(self.staging.join(name), self.target.join(name))?;
        }
        sync(&self.target)?;
        mark(&self.target)?;
        moves.done();
        Ok(())
    }

    /// Moves the old data into the staging directory, with which it goes.
    fn set_old_aside(&self, moves: &mut Moves) -> Result<(), SinkError> {
        let aside = self.staging.join(".replaced");
        std::fs::create_dir(&aside).map_err(on("make the directory", &aside))?;
        for name in data_in(&self.target)?.into_iter().chain([OsString::from(SUCCESS)]) {
            let old = self.target.join(&name);
            if old.symlink_metadata().is_ok() {
                moves.rename(old, aside.join(name))?;
            }
        }
        Ok(())
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if self.handed_over {
            return;
        }
        match std::fs::remove_dir_all(&self.staging) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                tracing::warn!(path = %self.staging.display(), %error, "a staging directory could not be removed");
            }
            Ok(()) | Err(_) => {}
        }
    }
}

/// Renames that are taken back unless all of them succeed.
#[derive(Default)]
struct Moves(Vec<(PathBuf, PathBuf)>);

impl Moves {
    fn rename(&mut self, from: PathBuf, to: PathBuf) -> Result<(), SinkError> {
        std::fs::rename(&from, &to).map_err(on("move a staged file to", &to))?;
        self.0.push((from, to));
        Ok(())
    }

    fn done(mut self) {
        self.0.clear();
    }
}

impl Drop for Moves {
    fn drop(&mut self) {
        for (from, to) in self.0.drain(..).rev() {
            if let Err(error) = std::fs::rename(&to, &from) {
                tracing::warn!(path = %to.display(), %error, "a file could not be moved back");
            }
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
fn staging_beside(target: &Path, tag: &str) -> Result<Option<PathBuf>, SinkError> {
    let (Some(parent), Some(staging)) = (target.parent(), beside(target, tag)) else { return Ok(None) };
    let old = std::fs::metadata(target).map_err(on("look at", target))?;
    let mounted = std::fs::metadata(parent).map_err(on("look at", parent))?.dev() != old.dev();
    let is_of_sink = |name: &String| is_data(name) || name == SUCCESS;
    if mounted || !names_in(target)?.iter().all(is_of_sink) {
        return Ok(None);
    }
    match std::fs::create_dir(&staging) {
        Err(error) if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem) => return Ok(None),
        result => result.map_err(on("make the directory", &staging))?,
    }
    if let Err(error) = std::fs::set_permissions(&staging, old.permissions()) {
        // Not worth more than the directory itself, which is empty.
        let _ = std::fs::remove_dir(&staging);
        return Err(on("set the permissions of", &staging)(error));
    }
    Ok(Some(staging))
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
    File::create(&path).and_then(|file| file.sync_all()).map_err(on("write", &path))?;
    sync(directory)
}

/// Makes the names in a directory as durable as the files.
pub(super) fn sync(directory: &Path) -> Result<(), SinkError> {
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(on("write", directory))
}
