//! Batches on disk: one append-only file of LZ4-compressed batches, deleted when the last holder lets go.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{Batch, Error, Result};

/// A file of batches. Appending and reading go by offset, so any thread may do either through a shared reference.
#[derive(Debug)]
pub struct SpillFile {
    /// Unlinked as soon as it is open: a killed process leaves nothing.
    file: File,
    /// For messages: the directory that it was made in.
    dir: PathBuf,
    /// For messages: the step whose rows it holds.
    step: Option<String>,
    end: AtomicU64,
}

/// Where a batch stands in a file.
#[derive(Clone, Copy, Debug)]
pub struct SpilledBatch {
    offset: u64,
    compressed: usize,
    /// The number of rows.
    pub rows: usize,
}

impl SpillFile {
    /// An empty file in a directory, for rows of a step.
    ///
    /// # Errors
    /// [`Error::Spill`] if the directory takes no file.
    pub fn create(dir: &Path, step: Option<&str>) -> Result<SpillFile> {
        let step = step.map(str::to_owned);
        let file = tempfile::tempfile_in(dir).map_err(|source| Error::Spill {
            step: step.clone(),
            attempt: "make a file for",
            dir: dir.to_path_buf(),
            source,
        })?;
        Ok(SpillFile { file, dir: dir.to_path_buf(), step, end: AtomicU64::new(0) })
    }

    /// Appends a batch.
    ///
    /// # Errors
    /// [`Error::Spill`], for example on a full disk.
    pub fn append(&self, batch: &Batch) -> Result<SpilledBatch> {
        let compressed = compress(&batch.bytes);
        let offset = self.end.fetch_add(compressed.len() as u64, Ordering::Relaxed);
        self.file.write_all_at(&compressed, offset).map_err(|source| self.error("write", source))?;
        Ok(SpilledBatch { offset, compressed: compressed.len(), rows: batch.rows })
    }

    /// Reads a batch back.
    ///
    /// # Errors
    /// [`Error::Spill`] if the file cannot be read, [`Error::Corrupt`] if it was damaged.
    pub fn read(&self, at: SpilledBatch) -> Result<Batch> {
        let mut compressed = vec![0; at.compressed];
        self.file.read_exact_at(&mut compressed, at.offset).map_err(|source| self.error("read", source))?;
        Ok(Batch { rows: at.rows, bytes: decompress(&compressed)? })
    }

    /// Bytes written.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.end.load(Ordering::Relaxed)
    }

    fn error(&self, attempt: &'static str, source: io::Error) -> Error {
        Error::Spill { step: self.step.clone(), attempt, dir: self.dir.clone(), source }
    }
}

/// LZ4 makes at most so many bytes of one.
const LARGEST_RATIO: usize = 255;

/// The bytes of a batch as they stand in a file.
#[must_use]
pub fn compress(bytes: &[u8]) -> Vec<u8> {
    lz4_flex::compress_prepend_size(bytes)
}

/// The bytes of a batch again.
///
/// # Errors
/// [`Error::Corrupt`] if they were damaged; a damaged size takes no memory.
pub fn decompress(compressed: &[u8]) -> Result<Vec<u8>> {
    const DAMAGED: Error = Error::Corrupt("a spilled batch does not decompress");
    let (size, block) = lz4_flex::block::uncompressed_size(compressed).map_err(|_| DAMAGED)?;
    if size / LARGEST_RATIO > block.len() {
        return Err(DAMAGED);
    }
    lz4_flex::decompress(block, size).map_err(|_| DAMAGED)
}
