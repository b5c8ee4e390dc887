//! The commit of a run in one process, file by file. What the staging directory holds says at any moment how far it is:
//!
//! ```text
//! without `.commit`               it has not begun
//! with `.commit` and `_SUCCESS`   it has begun: what was moved is moved back, then it has not
//! with `.commit` alone            it is done: the marker, which was moved last, is in the target
//! ```

use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::super::change::{change, change_in_drop};
use super::super::error::on;
use super::super::place::{SUCCESS, names_in};
use super::{SinkError, data_in, mark, sync};

/// The names of the files that are moved.
const COMMIT: &str = ".commit";
/// Where the old files wait.
const REPLACED: &str = ".replaced";

/// Moves staged files into the target, the old ones out of it, the marker last. On an error all of it is taken back.
pub(super) fn commit(staging: &Path, target: &Path, files: &[String], replace: bool) -> Result<(), SinkError> {
    mark(staging)?;
    begin(staging, files)?;
    let mut moves = Moves::default();
    let old = if replace { data_in(target)? } else { Vec::new() };
    set_aside(staging, target, old, &mut moves)?;
    for name in files.iter().map(String::as_str) {
        moves.rename(staging.join(name), target.join(name))?;
    }
    sync(target)?;
    moves.rename(staging.join(SUCCESS), target.join(SUCCESS))?;
    sync(target)?;
    moves.done();
    Ok(())
}

fn begin(staging: &Path, files: &[String]) -> Result<(), SinkError> {
    let path = staging.join(COMMIT);
    let text: String = files.iter().map(|name| format!("{name}\n")).collect();
    let write = || {
        let mut file = File::create(&path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    change(write).map_err(on("write", &path))?;
    sync(staging)
}

/// Moves the old data into the staging directory, with which it goes, and the marker, which must not stand beside half a commit.
fn set_aside(staging: &Path, target: &Path, old: Vec<OsString>, moves: &mut Moves) -> Result<(), SinkError> {
    let aside = staging.join(REPLACED);
    change(|| std::fs::create_dir(&aside)).map_err(on("make the directory", &aside))?;
    for name in [OsString::from(SUCCESS)].into_iter().chain(old) {
        let old = target.join(&name);
        if old.symlink_metadata().is_ok() {
            moves.rename(old, aside.join(name))?;
        }
    }
    Ok(())
}

/// Takes back what a killed process had moved, unless it had moved everything.
pub(super) fn take_back(staging: &Path, target: &Path) -> Result<(), SinkError> {
    let Ok(files) = std::fs::read_to_string(staging.join(COMMIT)) else { return Ok(()) };
    if !staging.join(SUCCESS).exists() {
        return Ok(());
    }
    for name in files.lines() {
        let (from, to) = (target.join(name), staging.join(name));
        if !to.exists() && from.exists() {
            change(|| std::fs::rename(&from, &to)).map_err(on("move a file back to", &to))?;
        }
    }
    let aside = staging.join(REPLACED);
    let mut old = if aside.exists() { names_in(&aside)? } else { Vec::new() };
    // The marker stands beside what is whole.
    old.sort_by_key(|name| name == SUCCESS);
    for name in old {
        let (from, to) = (aside.join(&name), target.join(&name));
        change(|| std::fs::rename(&from, &to)).map_err(on("move a file back to", &to))?;
    }
    sync(target)
}

/// Renames that are taken back unless all of them succeed.
#[derive(Default)]
struct Moves(Vec<(PathBuf, PathBuf)>);

impl Moves {
    fn rename(&mut self, from: PathBuf, to: PathBuf) -> Result<(), SinkError> {
        change(|| std::fs::rename(&from, &to)).map_err(on("move a staged file to", &to))?;
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
            change_in_drop(|| {
                if let Err(error) = std::fs::rename(&to, &from) {
                    tracing::warn!(path = %to.display(), %error, "a file could not be moved back");
                }
            });
        }
    }
}
