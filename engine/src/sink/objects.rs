//! A prefix of an object store as a sink's place: uploads in parts that are completed at the commit.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use plan::Mode;

use super::change::{change, change_in_drop};
use super::error::on;
use super::part::{Part, Staged};
use super::place::{Naming, SUCCESS, is_data};
use super::{SinkError, manifest};
use crate::store::{Location, Object};
use crate::{Cleanup, RunContext};

/// A prefix that a sink writes below.
#[derive(Debug)]
pub(super) struct Prefix {
    location: Location,
    mode: Mode,
    /// Names that no other attempt gives: an upload that was begun and not ended can be told by its key, and what replaces is never
    /// in the way of what is replaced.
    naming: Naming,
    /// For pieces that are joined before they are uploaded.
    scratch: tempfile::TempDir,
    /// Gets to know of uploads that have begun.
    cleanup: Arc<Cleanup>,
}

impl Prefix {
    pub(super) fn open(location: Location, mode: Mode, run: &RunContext, tag: &str) -> Result<Prefix, SinkError> {
        let scratch = run.scratch.as_path();
        let scratch = tempfile::Builder::new().prefix("sink-").tempdir_in(scratch).map_err(on("make a directory in", scratch))?;
        let mut prefix = Prefix { location, mode, naming: Naming::of(tag), scratch, cleanup: Arc::clone(&run.cleanup) };
        let old = prefix.data()?;
        match mode {
            Mode::Fail => prefix.refuse(&old)?,
            Mode::Replace => {}
            Mode::Append => {
                let names = old.iter().filter_map(|object| object.location.key().rsplit('/').next());
                prefix.naming = Naming::behind(names, tag);
            }
        }
        Ok(prefix)
    }

    pub(super) fn create(&self, name: &str) -> Result<Part, SinkError> {
        Ok(Part::upload(self.location.child(name)?, &self.cleanup))
    }

    pub(super) fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    pub(super) fn naming(&self) -> &Naming {
        &self.naming
    }

    /// Whether it can still be committed, as far as can be told before.
    pub(super) fn check(&self) -> Result<(), SinkError> {
        if self.mode == Mode::Fail { self.refuse(&self.data()?) } else { Ok(()) }
    }

    /// Completes all uploads, removes what they replace, then puts the marker. A store has no step for all of it at once:
    /// the marker is missing in between.
    pub(super) fn commit(&self, staged: Vec<Staged>) -> Result<(), SinkError> {
        let marker = self.location.child(SUCCESS)?;
        let old = self.data()?;
        if self.mode == Mode::Fail {
            self.refuse(&old)?;
        }
        // It must not stand beside half a commit.
        let unmarked = marker.head()?.map(|_| Unmarked(&marker));
        if unmarked.is_some() {
            change(|| marker.delete())?;
        }
        self.complete(staged)?;
        if let Some(unmarked) = unmarked {
            std::mem::forget(unmarked);
        }
        if self.mode == Mode::Replace {
            for object in old {
                change(|| object.location.delete())?;
            }
        }
        Ok(change(|| marker.put(Bytes::new()))?)
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
            old: old.iter().map(|object| object.location.url().to_string()).collect(),
            uploads: staged.into_iter().map(upload).collect(),
        })
    }

    fn complete(&self, staged: Vec<Staged>) -> Result<(), SinkError> {
        let mut visible = Visible(Vec::new());
        for file in staged {
            complete(file, &mut visible.0)?;
        }
        visible.0.clear();
        Ok(())
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
            change(|| location.put(Bytes::new()))?;
            visible.push(location);
        }
        Staged::File(_) => unreachable!("object stores take uploads"),
    }
    Ok(())
}

/// What became visible of a commit: removed on drop, where another one failed.
struct Visible(Vec<Location>);

impl Drop for Visible {
    fn drop(&mut self) {
        for location in self.0.drain(..) {
            change_in_drop(|| {
                if let Err(error) = location.delete() {
                    tracing::warn!(url = %location.url(), %error, "an object of a failed commit could not be removed");
                }
            });
        }
    }
}

/// The marker of what was there is put back on drop, where nothing was replaced.
struct Unmarked<'a>(&'a Location);

impl Drop for Unmarked<'_> {
    fn drop(&mut self) {
        change_in_drop(|| {
            if let Err(error) = self.0.put(Bytes::new()) {
                tracing::warn!(url = %self.0.url(), %error, "the marker could not be put back");
            }
        });
    }
}
