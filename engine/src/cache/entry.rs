//! One entry of the cache: the rows of a collection, partition by partition.
//!
//! ```text
//! batches of rows, each LZ4-compressed │ index as JSON │ where the index begins (8 bytes) │ digest of all before it (32) │ mark (8)
//! ```

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use plan::{Fingerprint, Recipe};
use serde::{Deserialize, Serialize};

use super::{CacheError, digest};
use crate::Batch;

/// The rows of one partition, batch by batch.
pub type Rows<'r> = Box<dyn Iterator<Item = crate::Result<Arc<Batch>>> + 'r>;

const MARK: &[u8; 8] = b"gleamf1\n";
const TAIL: u64 = 8 + 32 + 8;

/// What an entry holds, and where.
#[derive(Debug, Serialize, Deserialize)]
struct Index {
    recipe: Recipe,
    parts: Vec<Vec<Place>>,
}

/// Where a batch stands.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Place {
    offset: u64,
    compressed: usize,
    bytes: u64,
    rows: usize,
}

/// An entry, open for reading and known to be whole.
#[derive(Debug)]
pub struct Entry {
    file: File,
    index: Index,
}

impl Entry {
    /// Opens an entry; `None` if there is none.
    pub(super) fn open(path: &Path, fingerprint: &Fingerprint, threads: usize) -> Result<Option<Entry>, CacheError> {
        let read = |source| CacheError::System { attempt: "read an entry of", path: path.to_owned(), source };
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(read)?,
        };
        let size = file.metadata().map_err(read)?.len();
        let body = size.checked_sub(TAIL).ok_or(CacheError::Damaged("it is too short"))?;
        let mut tail = [0; TAIL as usize];
        file.read_exact_at(&mut tail, body).map_err(read)?;
        let (start, rest) = tail.split_at(8);
        if &rest[32..] != MARK {
            return Err(CacheError::Damaged("its end is missing"));
        }
        if digest::digest(&file, body + 8, threads).map_err(read)? != rest[..32] {
            return Err(CacheError::Damaged("its checksum is wrong"));
        }
        let start = u64::from_be_bytes(start.try_into().expect("eight bytes"));
        let len = body.checked_sub(start).ok_or(CacheError::Damaged("its index is not inside it"))?;
        let mut text = Vec::new();
        let mut index = &file;
        index.seek(io::SeekFrom::Start(start)).map_err(read)?;
        index.take(len).read_to_end(&mut text).map_err(read)?;
        let index: Index = serde_json::from_slice(&text).map_err(|_| CacheError::Damaged("its index is not readable"))?;
        if index.recipe.fingerprint != *fingerprint {
            return Err(CacheError::Damaged("it is of another result"));
        }
        Ok(Some(Entry { file, index }))
    }

    /// The number of partitions.
    #[must_use]
    pub fn parts(&self) -> usize {
        self.index.parts.len()
    }

    /// The number of rows.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.places().map(|place| place.rows as u64).sum()
    }

    /// Bytes of encoded rows.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.places().map(|place| place.bytes).sum()
    }

    /// Bytes of encoded rows of a partition.
    #[must_use]
    pub fn part_bytes(&self, part: usize) -> u64 {
        self.index.parts.get(part).into_iter().flatten().map(|place| place.bytes).sum()
    }

    /// Notes that it was used now, as far as the file system lets us.
    pub fn touch(&self) {
        if let Err(error) = self.file.set_modified(SystemTime::now()) {
            tracing::debug!("failed to note the use of an entry of the cache: {error}");
        }
    }

    fn places(&self) -> impl Iterator<Item = &Place> {
        self.index.parts.iter().flatten()
    }

    /// Reads a partition.
    #[must_use]
    pub fn reader(self: &Arc<Self>, part: usize) -> PartReader {
        PartReader { entry: Arc::clone(self), part, next: 0 }
    }

    fn batch(&self, place: &Place) -> crate::Result<Batch> {
        let mut compressed = vec![0; place.compressed];
        self.file
            .read_exact_at(&mut compressed, place.offset)
            .map_err(|source| crate::Error::System { attempt: "read an entry of the cache".to_owned(), source })?;
        let bytes = lz4_flex::decompress_size_prepended(&compressed)
            .map_err(|_| crate::Error::Corrupt("a batch of the cache does not decompress"))?;
        Ok(Batch { rows: place.rows, bytes })
    }
}

/// Reads the batches of a partition, in order.
#[derive(Debug)]
pub struct PartReader {
    entry: Arc<Entry>,
    part: usize,
    next: usize,
}

impl PartReader {
    /// The next batch, or `None` at the end.
    ///
    /// # Errors
    /// If the file cannot be read any more, or was damaged since it was opened.
    pub fn next_batch(&mut self) -> crate::Result<Option<Batch>> {
        let Some(place) = self.entry.index.parts.get(self.part).and_then(|part| part.get(self.next)) else { return Ok(None) };
        self.next += 1;
        self.entry.batch(place).map(Some)
    }
}

/// Writes an entry into an empty file.
pub(super) fn write<'r>(
    file: &mut File,
    recipe: &Recipe,
    parts: impl Iterator<Item = crate::Result<Rows<'r>>>,
    threads: usize,
) -> Result<(), CacheError> {
    let failed =
        |source| CacheError::System { attempt: "write an entry of", path: recipe.fingerprint.to_string().into(), source };
    let (mut out, mut offset) = (BufWriter::with_capacity(1 << 20, &mut *file), 0);
    let mut index = Index { recipe: recipe.clone(), parts: Vec::new() };
    for part in parts {
        let mut places = Vec::new();
        for batch in part.map_err(CacheError::Rows)? {
            let batch = batch.map_err(CacheError::Rows)?;
            let compressed = lz4_flex::compress_prepend_size(&batch.bytes);
            out.write_all(&compressed).map_err(failed)?;
            places.push(Place { offset, compressed: compressed.len(), bytes: batch.bytes.len() as u64, rows: batch.rows });
            offset += compressed.len() as u64;
        }
        index.parts.push(places);
    }
    let text = serde_json::to_vec(&index).expect("an index is numbers and strings");
    out.write_all(&text).and_then(|()| out.write_all(&offset.to_be_bytes())).and_then(|()| out.flush()).map_err(failed)?;
    drop(out);
    let digest = digest::digest(file, offset + text.len() as u64 + 8, threads).map_err(failed)?;
    file.write_all(&digest).and_then(|()| file.write_all(MARK)).and_then(|()| file.flush()).map_err(failed)
}
