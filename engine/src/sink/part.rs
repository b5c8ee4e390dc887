//! One file of a sink while it is written: a staged local file, or an upload in parts that nobody sees yet.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::change::{change, change_in_drop};
use super::error::on;
use super::{SinkError, manifest};
use crate::Cleanup;
use crate::cleanup::{Leftover, Registered};
use crate::store::Location;

/// How large the parts of an upload are; stores take at most 10,000 of them, so later ones are larger.
const PART: usize = 8 << 20;
const LARGE_PART: usize = 64 << 20;
const SMALL_PARTS: usize = 1000;

/// A file of a sink that takes bytes.
#[derive(Debug)]
pub(super) enum Part {
    File { file: File, path: PathBuf },
    Upload { upload: Upload, block: Vec<u8> },
}

/// A file of a sink that is whole, but not visible.
#[derive(Debug)]
pub(super) enum Staged {
    /// Its name, the same where it is staged and where it goes.
    File(String),
    Upload(Upload),
    /// An object without bytes, which stores do not take in parts.
    EmptyObject(Location),
}

/// An upload that has begun; aborted when dropped before it was completed.
#[derive(Debug)]
pub(super) struct Upload {
    location: Location,
    /// From the first part on.
    id: Option<String>,
    tags: Vec<String>,
    bytes: usize,
    cleanup: Arc<Cleanup>,
    /// As long as the store keeps parts of it.
    registered: Option<Registered>,
}

impl Part {
    pub(super) fn create(path: PathBuf) -> Result<Part, SinkError> {
        let file = change(|| File::create_new(&path)).map_err(on("create", &path))?;
        Ok(Part::File { file, path })
    }

    /// Goes on behind what a file that is already there holds, under a new name.
    pub(super) fn adopt(from: &Path, path: PathBuf) -> Result<Part, SinkError> {
        change(|| std::fs::rename(from, &path)).map_err(on("rename a staged file to", &path))?;
        let file = File::options().append(true).open(&path).map_err(on("open", &path))?;
        Ok(Part::File { file, path })
    }

    pub(super) fn upload(location: Location, cleanup: &Arc<Cleanup>) -> Part {
        let cleanup = Arc::clone(cleanup);
        let upload = Upload { location, id: None, tags: Vec::new(), bytes: 0, cleanup, registered: None };
        Part::Upload { upload, block: Vec::new() }
    }

    /// What the file is called in messages.
    pub(super) fn name(&self) -> String {
        match self {
            Part::File { path, .. } => path.display().to_string(),
            Part::Upload { upload, .. } => upload.location.url().to_string(),
        }
    }

    /// Bytes so far.
    pub(super) fn len(&self) -> Result<usize, SinkError> {
        match self {
            Part::File { file, path } => file.metadata().map(|file| file.len() as usize).map_err(on("look at", path)),
            Part::Upload { upload, block } => Ok(upload.bytes + block.len()),
        }
    }

    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), SinkError> {
        match self {
            Part::File { file, path } => file.write_all(bytes).map_err(on("write", path)),
            Part::Upload { upload, block } => {
                block.extend_from_slice(bytes);
                if block.len() >= upload.part_size() { upload.put(std::mem::take(block)) } else { Ok(()) }
            }
        }
    }

    /// Appends all of a local file.
    pub(super) fn append_file(&mut self, path: &Path) -> Result<(), SinkError> {
        let mut source = File::open(path).map_err(on("open", path))?;
        match self {
            Part::File { file, path } => io::copy(&mut source, file).map(drop).map_err(on("write", path)),
            Part::Upload { .. } => io::copy(&mut source, self).map(drop).map_err(on("upload", path)),
        }
    }

    /// No more bytes: on the disk, or all at the store.
    pub(super) fn finish(self) -> Result<Staged, SinkError> {
        match self {
            Part::File { file, path } => {
                file.sync_all().map_err(on("write", &path))?;
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                Ok(Staged::File(name))
            }
            Part::Upload { upload, block } if upload.id.is_none() && block.is_empty() => {
                Ok(Staged::EmptyObject(upload.location.clone()))
            }
            Part::Upload { mut upload, block } => {
                if !block.is_empty() {
                    upload.put(block)?;
                }
                Ok(Staged::Upload(upload))
            }
        }
    }
}

/// For the Parquet writer and copies.
impl Write for Part {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.append(bytes).map(|()| bytes.len()).map_err(io::Error::other)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Upload {
    fn part_size(&self) -> usize {
        if self.tags.len() < SMALL_PARTS { PART } else { LARGE_PART }
    }

    fn put(&mut self, block: Vec<u8>) -> Result<(), SinkError> {
        let id = match &self.id {
            Some(id) => id,
            None => {
                let id = self.id.insert(change(|| self.location.create_upload())?);
                let left = Leftover::Upload(self.location.clone(), id.clone());
                self.registered = Some(self.cleanup.register_late(left));
                id
            }
        };
        self.bytes += block.len();
        self.tags.push(change(|| self.location.put_part(id, self.tags.len(), Bytes::from(block)))?);
        Ok(())
    }

    /// Makes the object visible.
    pub(super) fn complete(mut self) -> Result<(), SinkError> {
        if let Some(id) = &self.id {
            change(|| self.location.complete_upload(id, &self.tags))?;
        }
        self.id = None;
        self.registered = None;
        Ok(())
    }

    /// Leaves the upload to whoever completes it by this description.
    pub(super) fn hand_over(mut self) -> manifest::Upload {
        let (url, tags) = (self.location.url().to_string(), std::mem::take(&mut self.tags));
        manifest::Upload { url, id: self.id.take(), tags }
    }

    pub(super) fn location(&self) -> &Location {
        &self.location
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let Some(id) = self.id.take() else { return };
        change_in_drop(|| {
            if let Err(error) = self.location.abort_upload(&id) {
                tracing::warn!(url = %self.location.url(), %error, "an unfinished upload could not be removed");
            }
        });
    }
}
