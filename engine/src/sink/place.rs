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
        if let Some(local) = Stores::local_path(path.as_bytes())? {
            let beginning = run.cleanup.begin();
            let directory = Directory::open(&run.base.join(local), mode, &run.base, tag)?;
            return Ok(Place::Directory(directory.registered(&beginning)));
        }
        Prefix::open(run.stores.locate(path)?, mode, run, tag).map(Place::Objects)
    }

    /// Fails where the commit would, as far as can be told before.
    pub(super) fn check(&self) -> Result<(), SinkError> {
        match self {
            Place::Directory(directory) => directory.check(),
            Place::Objects(prefix) => prefix.check(),
        }
    }

    /// The directory, without links; stores have none.
    pub(super) fn directory(&self) -> Option<PathBuf> {
        match self {
            Place::Directory(directory) => Some(directory.target()),
            Place::Objects(_) => None,
        }
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
        let naming = match self {
            Place::Directory(directory) => directory.naming(),
            Place::Objects(prefix) => Some(prefix.naming()),
        };
        match naming {
            None => format!("part-{number:05}.{ending}"),
            Some(naming) => format!("part-{:05}-{}.{ending}", naming.first + number, naming.id),
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

/// How files are named whose names must meet no others: neither those that are there, nor those of another attempt.
#[derive(Debug)]
pub(super) struct Naming {
    /// The number of the first one.
    pub(super) first: usize,
    /// Of the attempt.
    pub(super) id: String,
}

impl Naming {
    pub(super) fn of(tag: &str) -> Naming {
        Naming { first: 0, id: short(tag) }
    }

    /// Behind the names that are there.
    pub(super) fn behind<'a>(names: impl Iterator<Item = &'a str>, tag: &str) -> Naming {
        let number = |name: &str| name.strip_prefix("part-")?.split(['-', '.']).next()?.parse::<usize>().ok();
        Naming { first: names.filter_map(number).max().map_or(0, |last| last.saturating_add(1)), id: short(tag) }
    }
}

/// What a file's name says of who made it, if it does.
pub(super) fn id_in(name: &str) -> Option<&str> {
    let (_, id) = name.strip_prefix("part-")?.split_once('.')?.0.split_once('-')?;
    Some(id)
}

/// A tag as it stands in the names of files: that of an attempt of a run (`RUN-NUMBER`) keeps its number, the run becomes short.
fn short(tag: &str) -> String {
    match tag.rsplit_once('-') {
        Some((run, number)) => format!("{}-{number}", short_run(run)),
        None => tag.to_owned(),
    }
}

/// A run's id in the names of files.
pub(super) fn short_run(run: &str) -> String {
    let mixed = run.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{mixed:016x}")
}

/// A short text that no other sink of this machine has now, and others hardly: time, process and a count, mixed.
pub(super) fn unique() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let mixed = (now ^ u64::from(std::process::id()).rotate_left(32) ^ count.rotate_left(56)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!("{mixed:016x}")
}

/// Whether a tag is one of `unique`: that of a run in one process, which nobody takes up again.
pub(super) fn is_unique(tag: &str) -> bool {
    tag.len() == 16 && tag.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether a file of this name is data: readers skip the others, and sinks leave them alone.
pub(super) fn is_data(name: &str) -> bool {
    !name.starts_with(['.', '_'])
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
