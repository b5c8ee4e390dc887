//! Rows at rest: batches of encoded rows, and logs of batches that move to disk when memory is short.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::spill::{SpillFile, SpilledBatch};
use crate::{Budget, MemoryPool, Result, RowScratch, Val, codec};

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

    /// Calls `f` with the first row, if there is one.
    ///
    /// # Errors
    /// As for `for_each`.
    pub(crate) fn first(&self, scratch: &mut RowScratch, f: impl FnOnce(&[Val<'_>])) -> Result<()> {
        if self.rows > 0 {
            let mut row = scratch.take();
            codec::read_row(&mut &self.bytes[..], &mut row)?;
            f(&row);
            scratch.give(row);
        }
        Ok(())
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
    /// From the pool's first refusal on; the file is gone with the log.
    spill: Option<SpillFile>,
    spilled: Vec<SpilledBatch>,
    open: Batch,
    rows: usize,
    bytes: usize,
    dir: PathBuf,
    /// For messages: the step that makes the rows.
    step: Option<String>,
}

impl BatchLog {
    /// An empty log that draws on `memory` and spills into files in `dir`.
    #[must_use]
    pub fn new(memory: &Arc<MemoryPool>, dir: &Path) -> BatchLog {
        BatchLog {
            memory: Vec::new(),
            budget: memory.budget(),
            spill: None,
            spilled: Vec::new(),
            open: Batch::default(),
            rows: 0,
            bytes: 0,
            dir: dir.to_path_buf(),
            step: None,
        }
    }

    /// The same, whose errors name a step.
    #[must_use]
    pub fn of_step(self, step: &str) -> BatchLog {
        BatchLog { step: Some(step.to_owned()), ..self }
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

    /// Ends the open batch; to be called once after the last `push`, before any reader.
    ///
    /// # Errors
    /// As for `push`.
    pub fn seal(&mut self) -> Result<()> {
        let batch = std::mem::take(&mut self.open);
        if batch.rows == 0 { Ok(()) } else { self.keep(batch) }
    }

    fn keep(&mut self, mut batch: Batch) -> Result<()> {
        self.rows += batch.rows;
        self.bytes += batch.bytes.len();
        if let Some(file) = &self.spill {
            self.spilled.push(file.append(&batch)?);
            return Ok(());
        }
        batch.bytes.shrink_to_fit();
        if self.budget.resize(self.budget.held() + batch.bytes.len()) {
            self.memory.push(Arc::new(batch));
            return Ok(());
        }
        let file = self.spill.insert(SpillFile::create(&self.dir, self.step.as_deref())?);
        self.spilled.push(file.append(&batch)?);
        Ok(())
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
        self.spill.as_ref().map_or(0, SpillFile::bytes)
    }

    /// The number of batches.
    #[must_use]
    pub fn len(&self) -> usize {
        self.memory.len() + self.spilled.len()
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
        BatchReader { log: self, next: first }
    }
}

/// Reads a log's batches in order.
#[derive(Debug)]
pub struct BatchReader<'l> {
    log: &'l BatchLog,
    next: usize,
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
        match (&self.log.spill, self.log.spilled.get(at - self.log.memory.len())) {
            (Some(file), Some(spilled)) => Ok(Some(Arc::new(file.read(*spilled)?))),
            _ => Ok(None),
        }
    }
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
