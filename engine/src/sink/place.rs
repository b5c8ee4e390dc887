//! Where a file sink's files become visible: a local directory or a prefix of an object store.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::directory::Directory;
use super::error::on;
use super::objects::Prefix;
use super::part::{Part, Staged};
use super::{SinkError, manifest};
use crate::{RunContext, Stores};

/// The marker of a sink that committed.
pub(super) const SUCCESS: &str = "_SUCCESS";

/// The place of one sink.
#[derive(Debug)]
pub(super) enum Place {
    Directory(Directory),
    Objects(Prefix),
}

impl Place {
    /// Opens the place of a path as the flow has it; `tag` names what is staged.
    pub(super) fn open(path: &str, mode: plan::Mode, run: &RunContext, tag: &str) -> Result<Place, SinkError> {
        if let Some(local) = local_path(path)? {
            return Directory::open(&run.base.join(local), mode, &run.base, tag).map(Place::Directory);
        }
        Prefix::open(run.stores.locate(path)?, mode, &run.scratch).map(Place::Objects)
    }

    /// A file that will be called `name`.
    pub(super) fn create(&self, name: &str) -> Result<Part, SinkError> {
        match self {
            Place::Directory(directory) => Part::create(directory.staging().join(name)),
            Place::Objects(prefix) => prefix.create(name),
        }
    }

    /// A directory for files that will not be visible.
    pub(super) fn scratch(&self) -> &Path {
        match self {
            Place::Directory(directory) => directory.staging(),
            Place::Objects(prefix) => prefix.scratch(),
        }
    }

    /// The name of the file with a number. What is there already comes first, and is never met.
    pub(super) fn name(&self, number: usize, ending: &str) -> String {
        let appended = match self {
            Place::Directory(directory) => directory.appended(),
            Place::Objects(prefix) => prefix.appended(),
        };
        match appended {
            None => format!("part-{number:05}.{ending}"),
            Some(appended) => format!("part-{:05}-{}.{ending}", appended.first + number, appended.id),
        }
    }

    /// Leaves what is staged to whoever commits it by this description.
    pub(super) fn hand_over(&mut self, staged: Vec<Staged>) -> Result<manifest::Place, SinkError> {
        match self {
            Place::Directory(directory) => directory.hand_over(&staged).map(manifest::Place::Directory),
            Place::Objects(prefix) => prefix.hand_over(staged).map(manifest::Place::Objects),
        }
    }

    /// Makes the files visible, then the marker. Once begun it is not to be called again.
    pub(super) fn commit(&self, staged: Vec<Staged>) -> Result<(), SinkError> {
        match self {
            Place::Directory(directory) => directory.commit(&staged),
            Place::Objects(prefix) => prefix.commit(staged),
        }
    }
}

/// How files are named that come beside others.
#[derive(Debug)]
pub(super) struct Appended {
    /// The number of the first one: above all that are there.
    pub(super) first: usize,
    /// Keeps two flows that append at once apart.
    pub(super) id: String,
}

impl Appended {
    /// Behind the names that are there.
    pub(super) fn behind<'a>(names: impl Iterator<Item = &'a str>) -> Appended {
        let number = |name: &str| name.strip_prefix("part-")?.split(['-', '.']).next()?.parse::<usize>().ok();
        Appended { first: names.filter_map(number).max().map_or(0, |last| last.saturating_add(1)), id: unique() }
    }
}

/// A short text that no other sink of this machine has now, and others hardly: time, process and a count, mixed.
pub(super) fn unique() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let mixed = (now ^ u64::from(std::process::id()).rotate_left(32) ^ count.rotate_left(56)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!("{mixed:016x}")
}

/// Whether a file of this name is data: readers skip the others, and sinks leave them alone.
pub(super) fn is_data(name: &str) -> bool {
    !name.starts_with(['.', '_'])
}

/// The path of a local place, `None` for an object store's.
pub(super) fn local_path(path: &str) -> Result<Option<PathBuf>, SinkError> {
    if !Stores::is_url(path) {
        return Ok(Some(PathBuf::from(path)));
    }
    if !path.starts_with("file:") {
        return Ok(None);
    }
    let local = url::Url::parse(path).ok().and_then(|url| url.to_file_path().ok());
    local.map(Some).ok_or_else(|| SinkError::Path { url: path.to_owned() })
}

/// The names in a local directory.
pub(super) fn names_in(directory: &Path) -> Result<Vec<String>, SinkError> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(on("list", directory))? {
        names.push(entry.map_err(on("list", directory))?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}
