//! A file of a source, wherever it lies: its bytes as a stream or by ranges, decompressed or as stored.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use super::{Located, SourceError};
use crate::store::{Location, Object};

/// A file that a source reads.
#[derive(Clone, Debug)]
pub(super) struct SourceFile {
    /// As it is shown: the path as the flow has it, or the URL.
    pub(super) name: Arc<str>,
    pub(super) place: Place,
    /// Bytes as stored; `None` for a pipe or a device.
    pub(super) size: Option<u64>,
    pub(super) compression: Compression,
}

#[derive(Clone, Debug)]
pub(super) enum Place {
    Local {
        path: PathBuf,
        /// The path as the flow has it.
        written: PathBuf,
    },
    /// `ranges`: whether parts of it can be had.
    Object { object: Object, ranges: bool },
    /// Behind http, as long as it turns out to be.
    Unmeasured(Location),
}

/// How a file is compressed, by its ending in small letters or capitals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    Bzip2,
    Zstd,
}

impl Compression {
    fn of(name: &[u8]) -> Compression {
        let ending = name.rsplit(|byte| *byte == b'.').next().unwrap_or_default().to_ascii_lowercase();
        match ending.as_slice() {
            b"gz" => Compression::Gzip,
            b"bz2" => Compression::Bzip2,
            b"zst" => Compression::Zstd,
            _ => Compression::None,
        }
    }
}

impl SourceFile {
    pub(super) fn local(path: PathBuf, written: PathBuf, size: Option<u64>) -> SourceFile {
        let name: Arc<str> = written.to_string_lossy().into();
        let compression = Compression::of(written.as_os_str().as_bytes());
        SourceFile { name, place: Place::Local { path, written }, size, compression }
    }

    pub(super) fn object(object: Object, ranges: bool) -> SourceFile {
        let name = Arc::clone(object.location.url());
        let compression = Compression::of(ending(&object.location));
        SourceFile { name, size: Some(object.size), compression, place: Place::Object { object, ranges } }
    }

    pub(super) fn unmeasured(location: Location) -> SourceFile {
        let compression = Compression::of(ending(&location));
        SourceFile { name: Arc::clone(location.url()), size: None, compression, place: Place::Unmeasured(location) }
    }

    /// The path or URL as a field of a row.
    pub(super) fn path_bytes(&self) -> &[u8] {
        match &self.place {
            Place::Local { written, .. } => OsStr::as_bytes(written.as_os_str()),
            Place::Object { .. } | Place::Unmeasured(_) => self.name.as_bytes(),
        }
    }

    /// For telling its version.
    pub(super) fn located(&self) -> Located {
        match &self.place {
            Place::Local { path, written } => {
                // A name that is no text is told from others by its escapes.
                let name = written.to_str().map_or_else(|| format!("{written:?}"), str::to_owned);
                Located::Local { name, path: path.clone() }
            }
            Place::Object { object, .. } => {
                Located::Object { name: self.name.to_string(), size: object.size, tag: object.tag.clone() }
            }
            Place::Unmeasured(_) => Located::Object { name: self.name.to_string(), size: 0, tag: None },
        }
    }

    /// Whether parts of the file can be read without what is before them.
    pub(super) fn has_ranges(&self) -> bool {
        self.compression == Compression::None && self.size.is_some() && !matches!(self.place, Place::Object { ranges: false, .. })
    }

    /// Whether it can be opened a second time and give the same bytes.
    pub(super) fn is_repeatable(&self) -> bool {
        self.size.is_some() || matches!(self.place, Place::Unmeasured(_))
    }

    /// The content from its beginning, decompressed.
    pub(super) fn stream(self: &Arc<Self>) -> Result<Stream, SourceError> {
        self.decompressed(self.size.unwrap_or(0))
    }

    /// As `stream`, where only the beginning is wanted.
    pub(super) fn head(self: &Arc<Self>) -> Result<Stream, SourceError> {
        self.decompressed(STEP)
    }

    fn decompressed(self: &Arc<Self>, soft_end: u64) -> Result<Stream, SourceError> {
        let stored = self.stored(0, soft_end)?;
        let read: Box<dyn Read> = match self.compression {
            Compression::None => stored,
            _ if self.size == Some(0) => return Err(self.decompress_error(io::ErrorKind::UnexpectedEof.into())),
            Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(io::BufReader::with_capacity(DECODE, stored))),
            Compression::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(io::BufReader::with_capacity(DECODE, stored))),
            Compression::Zstd => Box::new(self.zstd(stored)?),
        };
        Ok(Stream { file: Arc::clone(self), read })
    }

    /// The bytes of an uncompressed file from `start` on; what is behind `soft_end` is fetched in small steps only.
    pub(super) fn stream_from(self: &Arc<Self>, start: u64, soft_end: u64) -> Result<Stream, SourceError> {
        Ok(Stream { file: Arc::clone(self), read: self.stored(start, soft_end)? })
    }

    /// Some bytes of an uncompressed file; fewer only at its end.
    pub(super) fn window(&self, start: u64, len: u64) -> Result<Bytes, SourceError> {
        let size = self.size.unwrap_or(0);
        let end = size.min(start + len);
        match &self.place {
            Place::Object { object, .. } => Ok(object.location.get_range(start.min(end)..end)?),
            // It has no ranges, so nobody asks.
            Place::Unmeasured(_) => Ok(Bytes::new()),
            Place::Local { path, .. } => {
                let mut bytes = vec![0; end.saturating_sub(start) as usize];
                let mut read = || File::open(path)?.read_exact_at(&mut bytes, start);
                read().map_err(|source| self.read_error(source))?;
                Ok(bytes.into())
            }
        }
    }

    fn stored(&self, start: u64, soft_end: u64) -> Result<Box<dyn Read>, SourceError> {
        match &self.place {
            Place::Local { path, .. } => {
                let file = File::open(path).map_err(|source| self.read_error(source))?;
                Ok(match self.size {
                    Some(size) if size > 0 => Box::new(LocalRange { file, at: start, size }),
                    // A pipe; or a file of /proc, which has bytes but no size.
                    _ => Box::new(file),
                })
            }
            Place::Unmeasured(location) => Ok(Box::new(location.unmeasured())),
            Place::Object { object, ranges: false } => Ok(Box::new(object.reader_of_whole())),
            Place::Object { object, ranges: true } => Ok(Box::new(ObjectRange::new(object.clone(), start, soft_end))),
        }
    }

    fn zstd(&self, stored: Box<dyn Read>) -> Result<impl Read + use<>, SourceError> {
        let mut decoder = zstd::Decoder::new(stored).map_err(|source| self.decompress_error(source))?;
        // Any window that the format allows; the default refuses files made with --long.
        decoder.window_log_max(31).map_err(|source| self.decompress_error(source))?;
        Ok(decoder)
    }

    fn read_error(&self, source: io::Error) -> SourceError {
        SourceError::Read { file: Arc::clone(&self.name), source }
    }

    fn decompress_error(&self, source: io::Error) -> SourceError {
        SourceError::Decompress { file: Arc::clone(&self.name), source }
    }
}

/// The end of its name: of the path, where a URL goes on behind it.
fn ending(location: &Location) -> &[u8] {
    let url = location.url();
    if url.starts_with("http://") || url.starts_with("https://") {
        return url.split(['?', '#']).next().unwrap_or_default().as_bytes();
    }
    location.key().as_bytes()
}

/// What a decoder takes at a time.
const DECODE: usize = 128 << 10;
/// What is requested at a time behind the end of a range.
const STEP: u64 = 64 << 10;

/// The bytes of a file, one after the other.
pub(super) struct Stream {
    pub(super) file: Arc<SourceFile>,
    read: Box<dyn Read>,
}

impl Stream {
    /// Fills the buffer as far as there are bytes; fewer only at the end.
    pub(super) fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, SourceError> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(len) => filled += len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failure(error)),
            }
        }
        Ok(filled)
    }

    /// Everything that is left: what decompresses to more than the limit is not held first.
    pub(super) fn rest(&mut self, limit: usize) -> Result<Vec<u8>, SourceError> {
        let mut bytes = Vec::new();
        (&mut self.read).take((limit as u64).saturating_add(1)).read_to_end(&mut bytes).map_err(|error| self.failure(error))?;
        if bytes.len() > limit {
            return Err(SourceError::TooLarge { place: self.file.name.to_string(), bytes: bytes.len() as u64, limit });
        }
        Ok(bytes)
    }

    fn failure(&self, error: io::Error) -> SourceError {
        let file = Arc::clone(&self.file.name);
        match self.file.compression {
            Compression::None if error.kind() == io::ErrorKind::UnexpectedEof => SourceError::Shrunk { file },
            Compression::None => SourceError::Read { file, source: error },
            _ if error.get_ref().is_some_and(|inner| inner.is::<crate::store::StoreError>()) => {
                SourceError::Read { file, source: error }
            }
            _ => SourceError::Decompress { file, source: error },
        }
    }
}

/// A regular file from an offset on, as long as it was when it was listed.
struct LocalRange {
    file: File,
    at: u64,
    size: u64,
}

impl Read for LocalRange {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = (buffer.len() as u64).min(self.size.saturating_sub(self.at)) as usize;
        if wanted == 0 {
            return Ok(0);
        }
        let len = self.file.read_at(&mut buffer[..wanted], self.at)?;
        if len == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.at += len as u64;
        Ok(len)
    }
}

/// An object from an offset on: read ahead up to the soft end, by small requests behind it.
struct ObjectRange {
    object: Object,
    reader: crate::store::ObjectReader,
    at: u64,
}

impl ObjectRange {
    fn new(object: Object, start: u64, soft_end: u64) -> ObjectRange {
        let reader = object.reader(start..soft_end.min(object.size));
        ObjectRange { object, reader, at: start }
    }
}

impl Read for ObjectRange {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut len = self.reader.read(buffer)?;
        if len == 0 && !buffer.is_empty() && self.at < self.object.size {
            self.reader = self.object.reader(self.at..self.object.size.min(self.at + STEP));
            len = self.reader.read(buffer)?;
        }
        self.at += len as u64;
        Ok(len)
    }
}
