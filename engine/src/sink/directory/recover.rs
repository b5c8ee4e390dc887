//! What a run in one process left that was killed: taken back and removed by the next run that writes to the same place.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::super::change::change;
use super::super::error::on;
use super::super::place::is_unique;
use super::super::swap::aside;
use super::{SinkError, beside, inside, moves, remove};

/// Finds what was left at a target and sees to it. What a living process has locked stays.
pub(super) fn recover(target: &Path) -> Result<(), SinkError> {
    // A link's target is what counts; one that is gone for the moment of a swap has no links.
    let target = target.canonicalize().unwrap_or_else(|_| target.to_path_buf());
    for staging in left(inside(&target, ""))? {
        if let Some(_lock) = lock(&staging) {
            moves::take_back(&staging, &target)?;
            remove(&staging)?;
        }
    }
    let Some(outer) = beside(&target, "") else { return Ok(()) };
    for staging in left(outer)? {
        // Within a swap the one that goes on has the target.
        let going_on = fs::exists(&target).unwrap_or(true) && lock(&target).is_none();
        if going_on {
            continue;
        }
        if let Some(_lock) = lock(&staging) {
            remove(&staging)?;
        }
    }
    put_back(&target)
}

/// Fails where a run that is still going on writes to the target, file by file: of two that must both find it empty one has to give way.
pub(super) fn refuse_living(target: &Path) -> Result<(), SinkError> {
    let lives = |staging: &PathBuf| {
        File::open(staging).is_ok_and(|staging| matches!(staging.try_lock(), Err(fs::TryLockError::WouldBlock)))
    };
    match left(inside(target, ""))?.iter().any(lives) {
        true => Err(SinkError::Taken { place: target.display().to_string() }),
        false => Ok(()),
    }
}

/// An old directory that was moved aside and not replaced, or replaced and not removed.
fn put_back(target: &Path) -> Result<(), SinkError> {
    let Some(outer) = beside(target, "") else { return Ok(()) };
    let suffix = aside(Path::new("x")).extension().unwrap_or_default().to_os_string();
    for old in found(outer)? {
        let (Some(stem), Some(extension)) = (old.file_stem(), old.extension()) else { continue };
        if extension != suffix || !tag_of(Path::new(stem)).is_some_and(|tag| is_unique(&tag)) {
            continue;
        }
        if fs::exists(target).unwrap_or(true) {
            if lock(target).is_some() {
                remove(&old)?;
            }
        } else if fs::exists(old.with_extension("")).is_ok_and(|there| !there) || lock(&old.with_extension("")).is_some() {
            change(|| fs::rename(&old, target)).map_err(on("move back", target))?;
        }
    }
    Ok(())
}

/// Staging directories of runs in one process.
fn left(pattern: PathBuf) -> Result<Vec<PathBuf>, SinkError> {
    Ok(found(pattern)?.into_iter().filter(|path| tag_of(path).is_some_and(|tag| is_unique(&tag))).collect())
}

/// What has a staging directory's name up to the tag.
fn found(pattern: PathBuf) -> Result<Vec<PathBuf>, SinkError> {
    let (Some(parent), Some(start)) = (pattern.parent(), pattern.file_name()) else { return Ok(Vec::new()) };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let entries = match fs::read_dir(parent) {
        // One that cannot be listed shows no leftovers either; whoever writes there says what is wrong with it.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied | ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        entries => entries.map_err(on("list", parent))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(on("list", parent))?;
        if entry.file_name().to_string_lossy().starts_with(&*start.to_string_lossy()) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

fn tag_of(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_string_lossy();
    Some(name.rsplit_once("staging-")?.1.to_owned())
}

/// The lock of a directory, unless a living process has it or it cannot be told.
fn lock(directory: &Path) -> Option<File> {
    let directory = File::open(directory).ok()?;
    directory.try_lock().ok()?;
    Some(directory)
}
