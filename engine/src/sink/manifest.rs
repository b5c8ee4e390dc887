//! Staged output as a description: whoever has it can make the output visible, as often as it takes, or remove it.
//!
//! A commit by description only rolls forward. Each of its steps is skipped where an earlier, interrupted commit has done it, and
//! none does harm where another commit of the same description goes on, or has ended long ago.

mod directory;
mod objects;

use std::path::Path;

use plan::task::StagedSink;
use serde::{Deserialize, Serialize};

use super::SinkError;
use super::place::{SUCCESS, short_run};
use crate::{Error, Result, RunContext, Stores};

pub(super) use directory::{Directory, How};
pub(super) use objects::{Prefix, Upload};

/// Where staged output is, and where it goes.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Place {
    Directory(Directory),
    Objects(Prefix),
}

impl Place {
    pub(super) fn packed(&self, files: usize, bytes: u64) -> Result<StagedSink> {
        let encoded = serde_json::to_vec(self).map_err(|error| Error::Plan(format!("a manifest cannot be encoded: {error}")))?;
        let location = match self {
            Place::Directory(directory) => directory.target.display().to_string(),
            Place::Objects(prefix) => prefix.marker.trim_end_matches(SUCCESS).to_owned(),
        };
        Ok(StagedSink { encoded, location, files: files as u32, rows: 0, bytes })
    }

    fn unpacked(staged: &StagedSink) -> Result<Place> {
        let place: Place =
            serde_json::from_slice(&staged.encoded).map_err(|_| Error::Corrupt("the manifest of a sink is none"))?;
        if place.is_sound() { Ok(place) } else { Err(Error::Corrupt("the manifest of a sink reaches out of its place")) }
    }

    /// Whether all that it names is the sink's own: it has come a long way, and what it names is moved and removed.
    fn is_sound(&self) -> bool {
        match self {
            Place::Directory(directory) => directory.is_sound(),
            Place::Objects(prefix) => prefix.is_sound(),
        }
    }
}

/// Whether it is the description of a sink that a commit may follow. Looks at nothing.
///
/// # Errors
/// If it is none, or names what is not the sink's.
pub fn check(staged: &StagedSink) -> Result<()> {
    Place::unpacked(staged).map(drop)
}

/// Attempts of a run, as what they staged is named by them: `RUN-NUMBER`.
#[derive(Clone, Copy, Debug)]
pub struct Attempts<'a> {
    pub run: &'a str,
    /// Only those of lower numbers.
    pub below: Option<u32>,
}

impl Attempts<'_> {
    fn has(&self, run: &str, tag: &str) -> bool {
        let number = tag.strip_prefix(run).and_then(|rest| rest.strip_prefix('-'));
        // A commit has directories of its own behind a dot.
        let number = number.and_then(|number| number.split('.').next()?.parse::<u32>().ok());
        number.is_some_and(|number| self.below.is_none_or(|below| number < below))
    }

    /// Whether a directory with this tag is of one of them.
    pub(super) fn have_tag(&self, tag: &str) -> bool {
        self.has(self.run, tag)
    }

    /// Whether a file with this id in its name is of one of them.
    pub(super) fn have_id(&self, id: &str) -> bool {
        self.has(&short_run(self.run), id)
    }
}

/// Makes staged output visible. To be called again after any failure, by any process that reaches the place.
///
/// # Errors
/// If the place cannot be reached, or what was staged is gone.
pub fn commit(step: &str, staged: &StagedSink, stores: &Stores) -> Result<()> {
    let done = match Place::unpacked(staged)? {
        Place::Directory(directory) => directory.commit(),
        Place::Objects(prefix) => prefix.commit(stores),
    };
    done.map_err(|error| Error::in_step(step, error))
}

/// Removes what other attempts staged beside what is committed.
///
/// # Errors
/// If the place cannot be reached.
pub fn sweep_beside(step: &str, staged: &StagedSink, stores: &Stores, attempts: Attempts<'_>) -> Result<()> {
    let swept = match Place::unpacked(staged)? {
        Place::Directory(place) => directory::sweep(&place.target, attempts),
        Place::Objects(prefix) => objects::sweep(prefix.marker.trim_end_matches(SUCCESS), stores, attempts),
    };
    swept.map_err(|error| Error::in_step(step, error))
}

/// Removes staged output that will not be committed.
///
/// # Errors
/// If the place cannot be reached.
pub fn discard(step: &str, staged: &StagedSink, stores: &Stores) -> Result<()> {
    let done = match Place::unpacked(staged)? {
        Place::Directory(directory) => directory.discard(),
        Place::Objects(prefix) => prefix.abort(stores),
    };
    done.map_err(|error| Error::in_step(step, error))
}

/// Removes what a sink staged in these attempts, handed over or not.
///
/// # Errors
/// If the place cannot be reached.
pub fn sweep(step: &str, sink: &plan::Sink, run: &RunContext, attempts: Attempts<'_>) -> Result<()> {
    let plan::Sink::Files { path, .. } = sink else { return Ok(()) };
    let swept = Stores::local_path(path.as_bytes()).map_err(SinkError::from).and_then(|local| match local {
        Some(local) => directory::sweep(&real(&run.base.join(local)), attempts),
        None => objects::sweep(path, &run.stores, attempts),
    });
    swept.map_err(|error| Error::in_step(step, error))
}

/// A sink stages beside the directory itself, not beside a link to it.
fn real(target: &Path) -> std::path::PathBuf {
    target.canonicalize().unwrap_or_else(|_| target.to_path_buf())
}
