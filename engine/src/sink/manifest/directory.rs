//! The commit of a directory by its description.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::super::change::change;
use super::super::directory::{beside, inside, mark, remove, sync};
use super::super::error::on;
use super::super::place::{SUCCESS, names_in, unique};
use super::super::swap::{aside, in_one_step};
use super::{Attempts, SinkError};

/// How often two commits may take a directory from each other.
const TRIES: usize = 100;

/// A directory with staged files.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::sink) struct Directory {
    #[serde(serialize_with = "write_path", deserialize_with = "read_path")]
    pub(in crate::sink) target: PathBuf,
    #[serde(serialize_with = "write_path", deserialize_with = "read_path")]
    pub(in crate::sink) staging: PathBuf,
    pub(in crate::sink) how: How,
}

#[derive(Debug, Serialize, Deserialize)]
pub(in crate::sink) enum How {
    /// The staging directory, known by its inode, takes the target's place.
    Swap { inode: u64 },
    /// Files go one by one, then the `old` ones are removed; there is no marker meanwhile.
    OneByOne {
        files: Vec<String>,
        #[serde(serialize_with = "write_names", deserialize_with = "read_names")]
        old: Vec<OsString>,
    },
}

impl Directory {
    /// Whether all that it names is the sink's own.
    pub(super) fn is_sound(&self) -> bool {
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

    pub(super) fn commit(&self) -> Result<(), SinkError> {
        match &self.how {
            How::Swap { inode } => self.take_place(*inode),
            How::OneByOne { files, old } => self.move_files(files, old),
        }
    }

    pub(super) fn discard(&self) -> Result<(), SinkError> {
        self.places()?.iter().try_for_each(|place| remove(place))
    }

    /// Two commits may be at it at once, and an exchange that is done twice is undone. So each first takes the directory under a
    /// name of its own, which only one can; who has it there, and nobody else, puts it in its place.
    fn take_place(&self, inode: u64) -> Result<(), SinkError> {
        for _ in 0..TRIES {
            if inode_of(&self.target)? == Some(inode) {
                self.target.parent().map_or(Ok(()), sync)?;
                return self.discard();
            }
            let Some(found) = self.find(inode)? else {
                self.look_again(inode)?;
                continue;
            };
            let own = self.staging.with_added_extension(unique());
            if !is_there(change(|| fs::rename(&found, &own)), "take", &found)? || inode_of(&own)? != Some(inode) {
                continue;
            }
            self.put(&own)?;
        }
        Err(SinkError::Contended { path: self.target.clone() })
    }

    /// Puts the directory in its place, unless another commit has it by now: whoever looks again sees how far that came.
    fn put(&self, own: &Path) -> Result<(), SinkError> {
        if inode_of(&self.target)?.is_some() {
            match in_one_step(own, &self.target) {
                Ok(false) => {}
                Ok(true) => return Ok(()),
                Err(error) => return is_there(Err(error), "replace", &self.target).map(drop),
            }
            is_there(change(|| fs::rename(&self.target, aside(own))), "set aside", &self.target)?;
        }
        match change(|| fs::rename(own, &self.target)) {
            Err(error) if matches!(error.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists) => Ok(()),
            put => is_there(put, "replace", &self.target).map(drop),
        }
    }

    /// Nowhere to be found: it is gone, unless another commit had it in its hands.
    fn look_again(&self, inode: u64) -> Result<(), SinkError> {
        if inode_of(&self.target)? == Some(inode) || self.find(inode)?.is_some() {
            return Ok(());
        }
        Err(SinkError::Gone { path: self.staging.clone() })
    }

    /// Where the staged directory is now, if it is not in its place.
    fn find(&self, inode: u64) -> Result<Option<PathBuf>, SinkError> {
        for place in self.places()? {
            if inode_of(&place)? == Some(inode) {
                return Ok(Some(place));
            }
        }
        Ok(None)
    }

    /// The staging directory, and whatever commits made of it.
    fn places(&self) -> Result<Vec<PathBuf>, SinkError> {
        let (Some(parent), Some(name)) = (self.staging.parent(), self.staging.file_name()) else { return Ok(Vec::new()) };
        let name = name.to_string_lossy();
        let is_ours = |other: &String| other.strip_prefix(&*name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        match names_in(parent) {
            Ok(names) => Ok(names.iter().filter(|name| is_ours(name)).map(|name| parent.join(name)).collect()),
            Err(SinkError::File { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    fn move_files(&self, files: &[String], old: &[OsString]) -> Result<(), SinkError> {
        if !self.is_staged()? {
            return self.check_done(files);
        }
        self.set_aside(SUCCESS.as_ref())?;
        for name in files {
            let (from, to) = (self.staging.join(name), self.target.join(name));
            if !is_there(change(|| fs::rename(&from, &to)), "move a staged file to", &to)? && inode_of(&to)?.is_none() {
                return Err(SinkError::Gone { path: from });
            }
        }
        let kept = |name: &OsString| files.iter().any(|file| file.as_bytes() == name.as_bytes());
        old.iter().filter(|name| !kept(name)).try_for_each(|name| self.set_aside(name))?;
        sync(&self.target)?;
        mark(&self.target)?;
        remove(&self.staging)?;
        // Another commit may have taken the marker away while the staging directory was there. From now on none can.
        if inode_of(&self.target.join(SUCCESS))?.is_none() { mark(&self.target) } else { Ok(()) }
    }

    /// Moves what is to go into the staging directory, with which it goes. Once another commit has ended there is no such directory:
    /// what has that name by then is not old, and stays.
    fn set_aside(&self, name: &OsStr) -> Result<(), SinkError> {
        let from = self.target.join(name);
        let mut aside = OsString::from(".old-");
        aside.push(name);
        is_there(change(|| fs::rename(&from, self.staging.join(&aside))), "set aside", &from).map(drop)
    }

    fn is_staged(&self) -> Result<bool, SinkError> {
        Ok(inode_of(&self.staging)?.is_some())
    }

    /// The staging directory goes last: without it all is done.
    fn check_done(&self, files: &[String]) -> Result<(), SinkError> {
        for path in files.iter().map(String::as_str).chain([SUCCESS]).map(|name| self.target.join(name)) {
            if inode_of(&path)?.is_none() {
                return Err(SinkError::Gone { path: self.staging.clone() });
            }
        }
        Ok(())
    }
}

/// Removes what attempts staged inside and beside a directory.
pub(super) fn sweep(target: &Path, attempts: Attempts<'_>) -> Result<(), SinkError> {
    for pattern in [Some(inside(target, "")), beside(target, "")].into_iter().flatten() {
        let (Some(parent), Some(start)) = (pattern.parent(), pattern.file_name()) else { continue };
        let names = match names_in(parent) {
            Err(SinkError::File { source, .. }) if source.kind() == ErrorKind::NotFound => continue,
            names => names?,
        };
        let start = start.to_string_lossy();
        for name in names.iter().filter(|name| name.strip_prefix(&*start).is_some_and(|tag| attempts.have_tag(tag))) {
            remove(&parent.join(name))?;
        }
    }
    Ok(())
}

/// Whether what a change is about was there.
fn is_there(changed: std::io::Result<()>, attempt: &'static str, path: &Path) -> Result<bool, SinkError> {
    match changed {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(on(attempt, path)(error)),
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
