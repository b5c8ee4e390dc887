//! Rows at rest: batches of encoded rows, and logs of batches that move to disk when memory is short.

use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::{Budget, Error, MemoryPool, Result, RowScratch, Val, codec};

/// About how many bytes a batch holds before it is passed on: large enough to pay for a hand-over, small enough for a cache.
pub const BATCH_BYTES: usize = 128 << 10;

/// Encoded rows, one behind the other (see `codec`).
#[derive(Debug, Default, Clone)]
pub struct Batch {
    pub rows: usize,
    pub bytes: Vec<u8>,
}

impl Batch {
    /// Appends a row.
    pub fn push(&mut self, row: &[Val<'_>]) {
        codec::write_row(&mut self.bytes, row);
        self.rows += 1;
    }

    /// Whether it is large enough to pass on.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.bytes.len() >= BATCH_BYTES
    }

    /// Calls `f` for each row.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for damaged bytes, and what `f` returns.
    pub fn for_each(&self, scratch: &mut RowScratch, f: impl FnMut(&[Val<'_>]) -> Result<()>) -> Result<()> {
        codec::for_each_row(&self.bytes, scratch, f)
    }
}

/// A sequence of batches, written once by one thread, then read any number of times, by any thread.
///
/// Batches stay in memory while the pool has room; from the first refusal on, all further ones go to one file,
/// LZ4-compressed, in order.
#[derive(Debug)]
pub struct BatchLog {
    memory: Vec<Arc<Batch>>,
    budget: Budget,
    spill: Option<Spill>,
    open: Batch,
    rows: usize,
    bytes: usize,
    dir: PathBuf,
}

/// The part of a log that is on disk; the file is deleted when the log is dropped.
#[derive(Debug)]
struct Spill {
    file: tempfile::NamedTempFile,
    writer: BufWriter<File>,
    batches: Vec<SpilledBatch>,
    bytes: u64,
}

#[derive(Debug, Clone, Copy)]
struct SpilledBatch {
    offset: u64,
    compressed: usize,
    rows: usize,
}

impl BatchLog {
    /// An empty log that draws on `memory` and spills into files in `dir`.
    #[must_use]
    pub fn new(memory: &Arc<MemoryPool>, dir: &Path) -> BatchLog {
        BatchLog {
            memory: Vec::new(),
            budget: memory.budget(),
            spill: None,
            open: Batch::default(),
            rows: 0,
            bytes: 0,
            dir: dir.to_path_buf(),
        }
    }

    /// Appends a row.
    ///
    /// # Errors
    /// [`Error::Spill`] if it had to spill and could not.
    pub fn push(&mut self, row: &[Val<'_>]) -> Result<()> {
        self.open.push(row);
        if self.open.is_full() { self.seal() } else { Ok(()) }
    }

    /// Appends a batch as it is.
    ///
    /// # Errors
    /// As for `push`.
    pub fn append(&mut self, batch: Batch) -> Result<()> {
        self.seal()?;
        self.keep(batch)
    }

    /// Ends the open batch and flushes what is on disk; to be called once after the last `push`, before any `batch`.
    ///
    /// # Errors
    /// As for `push`.
    pub fn seal(&mut self) -> Result<()> {
        let batch = std::mem::take(&mut self.open);
        if batch.rows > 0 {
            self.keep(batch)?;
        }
        match &mut self.spill {
            Some(spill) => spill.writer.flush().map_err(|source| spill_error("write", spill.file.path(), source)),
            None => Ok(()),
        }
    }

    fn keep(&mut self, mut batch: Batch) -> Result<()> {
        self.rows += batch.rows;
        self.bytes += batch.bytes.len();
        batch.bytes.shrink_to_fit();
        if self.spill.is_none() && self.budget.resize(self.budget.held() + batch.bytes.len()) {
            self.memory.push(Arc::new(batch));
            return Ok(());
        }
        if self.spill.is_none() {
            self.spill = Some(Spill::create(&self.dir)?);
        }
        match &mut self.spill {
            Some(spill) => spill.append(&batch),
            None => unreachable!("created just above"),
        }
    }

    /// The number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes of encoded rows, before compression.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes written to disk.
    #[must_use]
    pub fn spilled_bytes(&self) -> u64 {
        self.spill.as_ref().map_or(0, |spill| spill.bytes)
    }

    /// The number of batches.
    #[must_use]
    pub fn len(&self) -> usize {
        self.memory.len() + self.spill.as_ref().map_or(0, |spill| spill.batches.len())
    }

    /// Whether there are no batches.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A reader of the whole log, which must be sealed.
    #[must_use]
    pub fn reader(&self) -> BatchReader<'_> {
        self.reader_from(0)
    }

    /// A reader from batch `first` on.
    #[must_use]
    pub fn reader_from(&self, first: usize) -> BatchReader<'_> {
        BatchReader { log: self, next: first, file: None }
    }
}

/// Reads a log's batches in order.
#[derive(Debug)]
pub struct BatchReader<'l> {
    log: &'l BatchLog,
    next: usize,
    file: Option<File>,
}

impl BatchReader<'_> {
    /// The next batch, or `None` at the end.
    ///
    /// # Errors
    /// [`Error::Spill`] if the file cannot be read, [`Error::Corrupt`] if it was damaged.
    pub fn next_batch(&mut self) -> Result<Option<Arc<Batch>>> {
        let at = self.next;
        self.next += 1;
        if let Some(batch) = self.log.memory.get(at) {
            return Ok(Some(Arc::clone(batch)));
        }
        let Some(spill) = &self.log.spill else { return Ok(None) };
        let Some(spilled) = spill.batches.get(at - self.log.memory.len()) else { return Ok(None) };
        let path = spill.file.path();
        let mut file = match self.file.take() {
            Some(file) => file,
            None => open_at(path, spilled.offset).map_err(|source| spill_error("open", path, source))?,
        };
        let mut compressed = vec![0; spilled.compressed];
        file.read_exact(&mut compressed).map_err(|source| spill_error("read", path, source))?;
        self.file = Some(file);
        let bytes = lz4_flex::decompress_size_prepended(&compressed)
            .map_err(|_| Error::Corrupt("a spilled batch does not decompress"))?;
        Ok(Some(Arc::new(Batch { rows: spilled.rows, bytes })))
    }
}

fn open_at(path: &Path, offset: u64) -> std::io::Result<File> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    Ok(file)
}

impl Spill {
    fn create(dir: &Path) -> Result<Spill> {
        let file =
            tempfile::Builder::new().prefix("spill-").tempfile_in(dir).map_err(|source| spill_error("create", dir, source))?;
        let handle = file.reopen().map_err(|source| spill_error("open", file.path(), source))?;
        Ok(Spill { file, writer: BufWriter::with_capacity(BATCH_BYTES, handle), batches: Vec::new(), bytes: 0 })
    }

    fn append(&mut self, batch: &Batch) -> Result<()> {
        let compressed = lz4_flex::compress_prepend_size(&batch.bytes);
        self.writer.write_all(&compressed).map_err(|source| spill_error("write", self.file.path(), source))?;
        self.batches.push(SpilledBatch { offset: self.bytes, compressed: compressed.len(), rows: batch.rows });
        self.bytes += compressed.len() as u64;
        Ok(())
    }
}

fn spill_error(attempt: &'static str, path: &Path, source: std::io::Error) -> Error {
    Error::Spill { attempt, path: path.to_path_buf(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_gives_back_its_rows_in_order_from_memory_and_from_disk() {
        for limit in [0, 200 << 10, 100 << 20] {
            let dir = tempfile::tempdir().unwrap();
            let mut log = BatchLog::new(&MemoryPool::new(limit), dir.path());
            for i in 0..100_000 {
                log.push(&[Val::Int(i), Val::Str(b"some text")]).unwrap();
            }
            log.seal().unwrap();
            assert_eq!(log.spilled_bytes() == 0, limit > 10 << 20);
            let (mut reader, mut scratch, mut expected) = (log.reader(), RowScratch::default(), 0);
            while let Some(batch) = reader.next_batch().unwrap() {
                batch
                    .for_each(&mut scratch, |row| {
                        assert_eq!(row, [Val::Int(expected), Val::Str(b"some text")]);
                        expected += 1;
                        Ok(())
                    })
                    .unwrap();
            }
            assert_eq!(expected, 100_000);
        }
    }
}
