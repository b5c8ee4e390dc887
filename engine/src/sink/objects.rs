//! A prefix of an object store as a sink's place: uploads in parts that are completed at the commit.

use std::path::Path;

use bytes::Bytes;
use plan::Mode;

use super::error::on;
use super::part::{Part, Staged};
use super::place::{Appended, SUCCESS, is_data};
use super::{SinkError, manifest};
use crate::store::{Location, Object};

/// A prefix that a sink writes below.
#[derive(Debug)]
pub(super) struct Prefix {
    location: Location,
    mode: Mode,
    appended: Option<Appended>,
    /// For pieces that are joined before they are uploaded.
    scratch: tempfile::TempDir,
}

impl Prefix {
    pub(super) fn open(location: Location, mode: Mode, scratch: &Path) -> Result<Prefix, SinkError> {
        let scratch = tempfile::Builder::new().prefix("sink-").tempdir_in(scratch).map_err(on("make a directory in", scratch))?;
        let mut prefix = Prefix { location, mode, appended: None, scratch };
        let old = prefix.data()?;
        match mode {
            Mode::Fail => prefix.refuse(&old)?,
            Mode::Replace => {}
            Mode::Append => {
                let names = old.iter().filter_map(|object| object.location.key().rsplit('/').next());
                prefix.appended = Some(Appended::behind(names));
            }
        }
        Ok(prefix)
    }

    pub(super) fn create(&self, name: &str) -> Result<Part, SinkError> {
        Ok(Part::upload(self.location.child(name)?))
    }

    pub(super) fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    pub(super) fn appended(&self) -> Option<&Appended> {
        self.appended.as_ref()
    }

    /// Completes all uploads, removes what they replace, then puts the marker. A store has no step for all of it at once:
    /// the marker is missing in between.
    pub(super) fn commit(&self, staged: Vec<Staged>) -> Result<(), SinkError> {
        let marker = self.location.child(SUCCESS)?;
        let old = self.data()?;
        match self.mode {
            Mode::Fail => self.refuse(&old)?,
            Mode::Replace => marker.delete()?,
            Mode::Append => {}
        }
        let new = self.complete(staged)?;
        if self.mode == Mode::Replace {
            for object in old.iter().filter(|old| new.iter().all(|new| new.key() != old.location.key())) {
                object.location.delete()?;
            }
        }
        Ok(marker.put(Bytes::new())?)
    }

    /// Leaves the uploads to whoever completes them by this description.
    pub(super) fn hand_over(&self, staged: Vec<Staged>) -> Result<manifest::Prefix, SinkError> {
        let upload = |staged| match staged {
            Staged::Upload(upload) => upload.hand_over(),
            Staged::EmptyObject(location) => manifest::Upload { url: location.url().to_string(), id: None, tags: Vec::new() },
            Staged::File(_) => unreachable!("object stores take uploads"),
        };
        let old = if self.mode == Mode::Replace { self.data()? } else { Vec::new() };
        Ok(manifest::Prefix {
            marker: self.location.child(SUCCESS)?.url().to_string(),
            replace: self.mode == Mode::Replace,
            old: old.iter().map(|object| object.location.url().to_string()).collect(),
            uploads: staged.into_iter().map(upload).collect(),
        })
    }

    fn complete(&self, staged: Vec<Staged>) -> Result<Vec<Location>, SinkError> {
        let mut visible = Vec::new();
        for file in staged {
            if let Err(error) = complete(file, &mut visible) {
                self.take_back(&visible);
                return Err(error);
            }
        }
        Ok(visible)
    }

    /// Removes what became visible before another one failed. What replaced an old object cannot be taken back.
    fn take_back(&self, visible: &[Location]) {
        for location in visible.iter().filter(|_| self.mode != Mode::Replace) {
            if let Err(error) = location.delete() {
                tracing::warn!(url = %location.url(), %error, "an object of a failed commit could not be removed");
            }
        }
    }

    /// The data below the prefix, by the rule of sources.
    fn data(&self) -> Result<Vec<Object>, SinkError> {
        let key = self.location.key();
        let is_visible = |object: &Object| {
            let below = object.location.key().strip_prefix(key).unwrap_or_default();
            below.split('/').filter(|component| !component.is_empty()).all(is_data)
        };
        Ok(self.location.list()?.into_iter().filter(is_visible).collect())
    }

    fn refuse(&self, old: &[Object]) -> Result<(), SinkError> {
        match old.first() {
            Some(object) => {
                Err(SinkError::AlreadyThere { place: self.location.url().to_string(), name: object.location.key().to_owned() })
            }
            None => Ok(()),
        }
    }
}

fn complete(file: Staged, visible: &mut Vec<Location>) -> Result<(), SinkError> {
    match file {
        Staged::Upload(upload) => {
            let location = upload.location().clone();
            upload.complete()?;
            visible.push(location);
        }
        Staged::EmptyObject(location) => {
            location.put(Bytes::new())?;
            visible.push(location);
        }
        Staged::File(_) => unreachable!("object stores take uploads"),
    }
    Ok(())
}
