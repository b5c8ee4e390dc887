//! Staged output as a description: whoever has it can make the output visible, as often as it takes, or remove it.
//!
//! A commit by description only rolls forward. Each of its steps is skipped where an earlier, interrupted commit has done it.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use plan::task::StagedSink;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::SinkError;
use super::directory::{beside, inside, mark, sync};
use super::error::on;
use super::place::{SUCCESS, local_path};
use super::swap::swap;
use crate::store::StoreError;
use crate::{Error, Result, RunContext, Stores};

/// Where staged output is, and where it goes.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Place {
    Directory(Directory),
    Objects(Prefix),
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Directory {
    #[serde(serialize_with = "write_path", deserialize_with = "read_path")]
    pub(super) target: PathBuf,
    #[serde(serialize_with = "write_path", deserialize_with = "read_path")]
    pub(super) staging: PathBuf,
    pub(super) how: How,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum How {
    /// The staging directory, known by its inode, takes the target's place.
    Swap { inode: u64 },
    /// Files go one by one; `old` ones that none of them replaces are removed then.
    OneByOne {
        files: Vec<String>,
        #[serde(serialize_with = "write_names", deserialize_with = "read_names")]
        old: Vec<OsString>,
    },
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Prefix {
    pub(super) marker: String,
    pub(super) replace: bool,
    pub(super) old: Vec<String>,
    pub(super) uploads: Vec<Upload>,
}

/// An upload whose parts are all at the store; without an id, an object without bytes.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Upload {
    pub(super) url: String,
    pub(super) id: Option<String>,
    pub(super) tags: Vec<String>,
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

/// Removes staged output that will not be committed.
///
/// # Errors
/// If the place cannot be reached.
pub fn discard(step: &str, staged: &StagedSink, stores: &Stores) -> Result<()> {
    let done = match Place::unpacked(staged)? {
        Place::Directory(directory) => remove(&directory.staging),
        Place::Objects(prefix) => prefix.abort(stores),
    };
    done.map_err(|error| Error::in_step(step, error))
}

/// Removes what a sink staged under one of these tags and did not hand over, because its process died.
///
/// # Errors
/// If the place cannot be reached.
pub fn sweep(step: &str, sink: &plan::Sink, run: &RunContext, is_tag: impl Fn(&str) -> bool) -> Result<()> {
    let plan::Sink::Files { path, .. } = sink else { return Ok(()) };
    let swept = local_path(path).and_then(|local| match local {
        Some(local) => sweep_directory(&run.base.join(local), &is_tag),
        None => Ok(()),
    });
    swept.map_err(|error| Error::in_step(step, error))
}

fn sweep_directory(target: &Path, is_tag: &impl Fn(&str) -> bool) -> Result<(), SinkError> {
    let inner = inside(target, "");
    let outer = beside(target, "");
    for pattern in [Some(inner), outer].into_iter().flatten() {
        let (Some(parent), Some(start)) = (pattern.parent(), pattern.file_name()) else { continue };
        let entries = match fs::read_dir(parent) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            entries => entries.map_err(on("list", parent))?,
        };
        for entry in entries {
            let entry = entry.map_err(on("list", parent))?;
            let (name, start) = (entry.file_name(), start.to_string_lossy());
            if name.to_string_lossy().strip_prefix(&*start).is_some_and(is_tag) {
                remove(&entry.path())?;
            }
        }
    }
    Ok(())
}

impl Directory {
    fn is_sound(&self) -> bool {
        let name = self.staging.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        let stages = |pattern: Option<PathBuf>| {
            let start = pattern.as_deref().and_then(Path::file_name).map(|start| start.to_string_lossy().into_owned());
            let parent = pattern.as_deref().and_then(Path::parent);
            parent == self.staging.parent()
                && start.is_some_and(|start| name.strip_prefix(&start).is_some_and(|tag| !tag.is_empty()))
        };
        let names = match &self.how {
            How::Swap { .. } => true,
            How::OneByOne { files, old } => {
                files.iter().all(|name| is_name(OsStr::new(name))) && old.iter().all(|name| is_name(name))
            }
        };
        names && (stages(Some(inside(&self.target, ""))) || stages(beside(&self.target, "")))
    }

    fn commit(&self) -> Result<(), SinkError> {
        match &self.how {
            How::Swap { inode } => self.take_place(*inode)?,
            How::OneByOne { files, old } => self.move_files(files, old)?,
        }
        remove(&self.staging)
    }

    fn take_place(&self, inode: u64) -> Result<(), SinkError> {
        if inode_of(&self.target)? == Some(inode) {
            return Ok(());
        }
        if inode_of(&self.staging)? != Some(inode) {
            return Err(SinkError::Gone { path: self.staging.clone() });
        }
        if inode_of(&self.target)?.is_some() {
            swap(&self.staging, &self.target).map_err(on("replace", &self.target))?;
        } else {
            // A swap in three steps was interrupted between them.
            fs::rename(&self.staging, &self.target).map_err(on("replace", &self.target))?;
            remove(&self.staging.with_extension("replaced"))?;
        }
        self.target.parent().map_or(Ok(()), sync)
    }

    fn move_files(&self, files: &[String], old: &[OsString]) -> Result<(), SinkError> {
        if !old.is_empty() {
            remove_file(&self.target.join(SUCCESS))?;
        }
        for name in files {
            let (from, to) = (self.staging.join(name), self.target.join(name));
            match fs::rename(&from, &to) {
                Err(error) if error.kind() == ErrorKind::NotFound && to.exists() => {}
                Err(error) if error.kind() == ErrorKind::NotFound => return Err(SinkError::Gone { path: from }),
                moved => moved.map_err(on("move a staged file to", &to))?,
            }
        }
        let kept = |name: &OsString| files.iter().any(|file| file.as_bytes() == name.as_bytes());
        old.iter().filter(|name| !kept(name)).try_for_each(|name| remove_file(&self.target.join(name)))?;
        sync(&self.target)?;
        mark(&self.target)
    }
}

impl Prefix {
    fn is_sound(&self) -> bool {
        let Some(prefix) = self.marker.strip_suffix(SUCCESS).filter(|prefix| !prefix.is_empty()) else { return false };
        let own = |url: &String| url.strip_prefix(prefix).is_some_and(|name| !name.split('/').any(|part| part == ".."));
        self.old.iter().all(own) && self.uploads.iter().all(|upload| own(&upload.url))
    }

    fn commit(&self, stores: &Stores) -> Result<(), SinkError> {
        let marker = stores.locate(&self.marker)?;
        if self.replace {
            marker.delete()?;
        }
        self.uploads.iter().try_for_each(|upload| upload.complete(stores))?;
        let kept = |old: &String| self.uploads.iter().any(|upload| upload.url == *old);
        for old in self.old.iter().filter(|old| !kept(old)) {
            stores.locate(old)?.delete()?;
        }
        Ok(marker.put(Bytes::new())?)
    }

    fn abort(&self, stores: &Stores) -> Result<(), SinkError> {
        for upload in &self.uploads {
            if let Some(id) = &upload.id {
                stores.locate(&upload.url)?.abort_upload(id)?;
            }
        }
        Ok(())
    }
}

impl Upload {
    fn complete(&self, stores: &Stores) -> Result<(), SinkError> {
        let location = stores.locate(&self.url)?;
        let Some(id) = &self.id else { return Ok(location.put(Bytes::new())?) };
        match location.complete_upload(id, &self.tags) {
            // An earlier commit completed it, if the object is there.
            Err(StoreError::NotFound { .. }) if location.head()?.is_some() => Ok(()),
            done => Ok(done?),
        }
    }
}

/// Whether it is the name of something in a directory, and nothing else.
fn is_name(name: &OsStr) -> bool {
    let bytes = name.as_bytes();
    !matches!(bytes, b"" | b"." | b"..") && !bytes.contains(&b'/') && !bytes.contains(&0)
}

fn inode_of(path: &Path) -> Result<Option<u64>, SinkError> {
    match fs::symlink_metadata(path) {
        Ok(found) => Ok(Some(found.ino())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(on("look at", path)(error)),
    }
}

fn remove(directory: &Path) -> Result<(), SinkError> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(on("remove", directory)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn remove_file(file: &Path) -> Result<(), SinkError> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(on("remove", file)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn write_path<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
    path.as_os_str().as_bytes().serialize(to)
}

fn read_path<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
    Ok(OsString::from_vec(Vec::deserialize(from)?).into())
}

fn write_names<S: Serializer>(names: &[OsString], to: S) -> Result<S::Ok, S::Error> {
    names.iter().map(|name| name.as_bytes()).collect::<Vec<_>>().serialize(to)
}

fn read_names<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<OsString>, D::Error> {
    Ok(Vec::<Vec<u8>>::deserialize(from)?.into_iter().map(OsString::from_vec).collect())
}
