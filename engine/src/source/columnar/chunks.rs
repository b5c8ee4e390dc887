//! Random access to a file for the Parquet and ORC readers: on disk, in memory, or in a store with what is needed fetched before.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};

use super::super::SourceError;
use super::super::file::{Place, SourceFile};
use crate::lock::lock;
use crate::store::Object;

/// A file to read from anywhere. Cheap to clone.
#[derive(Clone)]
pub(super) struct Chunks {
    place: Chunked,
    len: u64,
}

#[derive(Clone)]
enum Chunked {
    Disk(Arc<File>),
    Memory(Bytes),
    Store { object: Object, fetched: Arc<Mutex<Vec<(u64, Bytes)>>> },
}

/// How much of a foot is fetched at once, where fetching costs a request.
const FOOT: u64 = 64 << 10;

impl Chunks {
    /// Opens a file; one without random access is read into memory, where it must fit.
    pub(super) fn open(file: &Arc<SourceFile>, limit: usize) -> Result<Chunks, SourceError> {
        if !file.has_ranges() {
            let content = Bytes::from(file.stream()?.rest(limit)?);
            let len = content.len() as u64;
            return Ok(Chunks { place: Chunked::Memory(content), len });
        }
        let len = file.size.unwrap_or(0);
        let place = match &file.place {
            Place::Local { path, .. } => {
                let opened = File::open(path).map_err(|source| SourceError::Read { file: Arc::clone(&file.name), source })?;
                Chunked::Disk(Arc::new(opened))
            }
            Place::Unmeasured(_) => Chunked::Memory(Bytes::new()),
            Place::Object { object, .. } => Chunked::Store { object: object.clone(), fetched: Arc::default() },
        };
        let chunks = Chunks { place, len };
        chunks.fetch(&[len.saturating_sub(FOOT)..len])?;
        Ok(chunks)
    }

    /// Fetches ranges that will be needed, and forgets what was fetched before, where reading piece by piece would be slow.
    pub(super) fn fetch(&self, ranges: &[Range<u64>]) -> Result<(), SourceError> {
        let Chunked::Store { object, fetched } = &self.place else { return Ok(()) };
        let mut new = Vec::new();
        for range in ranges {
            let mut bytes = Vec::with_capacity((range.end - range.start) as usize);
            let mut reader = object.reader(range.clone());
            while let Some(block) = reader.next_block()? {
                bytes.extend_from_slice(&block);
            }
            new.push((range.start, Bytes::from(bytes)));
        }
        *lock(&fetched) = new;
        Ok(())
    }

    fn bytes(&self, start: u64, len: usize) -> io::Result<Bytes> {
        let end = start.checked_add(len as u64).filter(|end| *end <= self.len).ok_or(io::ErrorKind::UnexpectedEof)?;
        match &self.place {
            Chunked::Memory(content) => Ok(content.slice(start as usize..end as usize)),
            Chunked::Disk(file) => {
                let mut bytes = vec![0; len];
                file.read_exact_at(&mut bytes, start)?;
                Ok(bytes.into())
            }
            Chunked::Store { object, fetched } => {
                let fetched = lock(&fetched);
                let at_hand = fetched.iter().find(|(from, bytes)| *from <= start && end <= *from + bytes.len() as u64);
                match at_hand {
                    Some((from, bytes)) => Ok(bytes.slice((start - from) as usize..(end - from) as usize)),
                    None => object.location.get_range(start..end).map_err(io::Error::other),
                }
            }
        }
    }

    fn reader(&self, start: u64) -> BufReader<ChunkStream> {
        BufReader::with_capacity(8 << 10, ChunkStream { chunks: self.clone(), at: start })
    }
}

/// The bytes from a place on.
pub(super) struct ChunkStream {
    chunks: Chunks,
    at: u64,
}

impl Read for ChunkStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = buffer.len().min(self.chunks.len.saturating_sub(self.at) as usize);
        if let Chunked::Disk(file) = &self.chunks.place {
            file.read_exact_at(&mut buffer[..len], self.at)?;
        } else {
            buffer[..len].copy_from_slice(&self.chunks.bytes(self.at, len)?);
        }
        self.at += len as u64;
        Ok(len)
    }
}

impl Length for Chunks {
    fn len(&self) -> u64 {
        self.len
    }
}

impl ChunkReader for Chunks {
    type T = BufReader<ChunkStream>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        Ok(self.reader(start))
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        self.bytes(start, length).map_err(|error| ParquetError::External(error.into()))
    }
}

impl orc_rust::reader::ChunkReader for Chunks {
    type T = BufReader<ChunkStream>;

    fn len(&self) -> u64 {
        self.len
    }

    fn get_read(&self, start: u64) -> io::Result<Self::T> {
        Ok(self.reader(start))
    }

    fn get_bytes(&self, start: u64, length: u64) -> io::Result<Bytes> {
        let length = usize::try_from(length).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        self.bytes(start, length)
    }
}
