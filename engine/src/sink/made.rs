//! Directories that sinks made: removed again, when the last sink below them is gone, if they are empty.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use super::change::{change, change_in_drop};

use crate::lock::lock;

/// How many open sinks stand in or below each directory that a sink of this process made. Several sinks may share a parent
/// that the first of them made.
static MADE: Mutex<BTreeMap<PathBuf, usize>> = Mutex::new(BTreeMap::new());

/// A sink's claim on the directories above its files.
#[derive(Debug)]
pub(super) struct Made(Vec<PathBuf>);

impl Made {
    /// Makes a directory and its parents where they are missing.
    pub(super) fn directory(path: &Path) -> io::Result<Made> {
        let path = std::path::absolute(path)?;
        let mut claim = Made(Vec::new());
        for directory in path.ancestors().collect::<Vec<_>>().into_iter().rev() {
            if !directory.is_dir() {
                match change(|| std::fs::create_dir(directory)) {
                    Ok(()) => drop(made().insert(directory.to_path_buf(), 0)),
                    // Somebody else made it meanwhile.
                    Err(_) if directory.is_dir() => {}
                    Err(error) => return Err(error),
                }
            }
            if let Some(claims) = made().get_mut(directory) {
                *claims += 1;
                claim.0.push(directory.to_path_buf());
            }
        }
        Ok(claim)
    }

    /// The directories stay, empty or not.
    pub(super) fn keep(mut self) {
        let mut made = made();
        for directory in self.0.drain(..) {
            made.remove(&directory);
        }
    }

    /// What it claims, a parent before those in it.
    pub(super) fn directories(&self) -> &[PathBuf] {
        &self.0
    }

    /// Gives the claims up; the directories that nobody claims any more.
    fn release(&mut self) -> Vec<PathBuf> {
        let (mut made, mut free) = (made(), Vec::new());
        while let Some(directory) = self.0.pop() {
            match made.get_mut(&directory) {
                Some(claims) if *claims > 1 => *claims -= 1,
                Some(_) => {
                    made.remove(&directory);
                    free.push(directory);
                }
                None => {}
            }
        }
        free
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for directory in self.release() {
            // One that holds what a sink committed, or what others put there, is not empty and stays.
            change_in_drop(|| drop(std::fs::remove_dir(&directory)));
        }
    }
}

fn made() -> MutexGuard<'static, BTreeMap<PathBuf, usize>> {
    lock(&MADE)
}
