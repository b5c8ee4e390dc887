//! The cache of persisted results: a directory of entries, each named by the fingerprint of what it is made of.
//!
//! ```text
//! DIR/v1/<fingerprint>     the rows of one collection (see `entry`); appears whole, by renaming, and is never changed
//! DIR/v1/last-<digest>     the recipe last kept for a collection of a flow: says why another one is not there
//! DIR/v1/inputs            digests of input files, by what the file system says of them (see `inputs`)
//! DIR/v1/tmp-*             entries being written, each locked by its writer
//! DIR/ttl                  on a cluster: seconds after which what was not used goes (see `expire`)
//! ```
//!
//! Any number of runs may share a directory, and any file of it may be deleted at any time: an entry is open from the moment
//! it is found. Nothing here is trusted: an entry whose checksum is wrong is as good as none.

mod digest;
mod entry;
mod expire;
mod inputs;

pub use entry::{Entry, PartReader, Rows};
pub use expire::{Flows, expire};
pub use inputs::Inputs;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use plan::{Fingerprint, Recipe};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;
use thiserror::Error;

use crate::BatchLog;
use crate::lock::lock;

/// Why the cache cannot be used.
#[derive(Debug, Error)]
pub enum CacheError {
    #[error("failed to {attempt} the cache at {path:?}")]
    System {
        attempt: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("failed to read back rows for the cache")]
    Rows(#[source] crate::Error),
    #[error("an entry of the cache is damaged: {0}")]
    Damaged(&'static str),
}

/// A temporary file that nobody holds is removed when it is older than this: its writer was killed.
const ABANDONED: Duration = Duration::from_secs(60);

/// A directory of results.
#[derive(Debug)]
pub struct Cache {
    dir: PathBuf,
    /// The flow whose collections are looked up: only for telling why one is missing.
    flow: String,
    threads: usize,
    found: Mutex<BTreeMap<Fingerprint, Arc<Entry>>>,
}

impl Cache {
    /// The cache in a directory, which is made if it is not there.
    ///
    /// # Errors
    /// If it cannot be made, or nothing can be written into it.
    pub fn open(dir: &Path, flow: &str, threads: usize) -> Result<Cache, CacheError> {
        let cache = Cache::look(dir, flow, threads);
        fs::create_dir_all(&cache.dir).map_err(|source| cache.error("make", source))?;
        drop(cache.temporary().map_err(|source| cache.error("write into", source))?);
        cache.sweep();
        Ok(cache)
    }

    /// The cache in a directory, only to be looked at; one that is not there is an empty one.
    #[must_use]
    pub fn look(dir: &Path, flow: &str, threads: usize) -> Cache {
        Cache { dir: dir.join("v1"), flow: flow.to_owned(), threads: threads.max(1), found: Mutex::default() }
    }

    /// The entry of a fingerprint, if it is there and whole. It stays readable, whatever happens to its file.
    pub fn find(&self, fingerprint: &Fingerprint) -> Option<Arc<Entry>> {
        if let Some(entry) = lock(&self.found).get(fingerprint) {
            return Some(Arc::clone(entry));
        }
        let path = self.path(fingerprint);
        let entry = match Entry::open(&path, fingerprint, self.threads) {
            Ok(entry) => Arc::new(entry?),
            Err(error) => {
                tracing::warn!("{path:?} in the cache is not used: {}", plan::in_full(&error));
                return None;
            }
        };
        lock(&self.found).insert(fingerprint.clone(), Arc::clone(&entry));
        Some(entry)
    }

    /// What was last kept for a collection of this flow.
    #[must_use]
    pub fn former(&self, collection: &str) -> Option<Recipe> {
        let text = fs::read(self.last(collection)).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Keeps the rows of a collection: visible to others when it is whole, and not before.
    ///
    /// # Errors
    /// If it cannot be written, a full disk for one; the cache is as before then.
    pub fn store(&self, recipe: &Recipe, parts: &[Arc<BatchLog>]) -> Result<(), CacheError> {
        self.store_rows(recipe, parts.iter().map(|part| Ok(stored(part))))
    }

    /// As `store`, of rows as they come.
    ///
    /// # Errors
    /// As for `store`; [`CacheError::Rows`] where the rows cannot be had.
    pub fn store_rows<'r>(
        &self,
        recipe: &Recipe,
        parts: impl Iterator<Item = crate::Result<Rows<'r>>>,
    ) -> Result<(), CacheError> {
        let mut file = self.temporary().map_err(|source| self.error("write into", source))?;
        entry::write(file.as_file_mut(), recipe, parts, self.threads)?;
        file.persist(self.path(&recipe.fingerprint)).map_err(|failed| self.error("write into", failed.error))?;
        let recipe_text = serde_json::to_vec(recipe).expect("a recipe is strings");
        self.replace(&self.last(&recipe.collection), &recipe_text).map_err(|source| self.error("write into", source))
    }

    fn path(&self, fingerprint: &Fingerprint) -> PathBuf {
        self.dir.join(fingerprint.to_string())
    }

    fn last(&self, collection: &str) -> PathBuf {
        let digest = Sha256::digest(format!("{}\n{collection}", self.flow));
        self.dir.join(format!("last-{}", Fingerprint::new(digest.into())))
    }

    /// A new file, locked: an unlocked one was abandoned.
    fn temporary(&self) -> io::Result<NamedTempFile> {
        let file = tempfile::Builder::new().prefix("tmp-").tempfile_in(&self.dir)?;
        file.as_file().lock()?;
        Ok(file)
    }

    fn replace(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let mut file = self.temporary()?;
        file.write_all(content)?;
        file.persist(path)?;
        Ok(())
    }

    /// Removes what killed runs left. What cannot be looked at or removed is left to the next one.
    fn sweep(&self) {
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let is_temporary = entry.file_name().to_string_lossy().starts_with("tmp-");
            if is_temporary && is_abandoned(&entry.path()).unwrap_or(false) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    fn error(&self, attempt: &'static str, source: io::Error) -> CacheError {
        CacheError::System { attempt, path: self.dir.clone(), source }
    }
}

fn stored(part: &BatchLog) -> Rows<'_> {
    let mut reader = part.reader();
    Box::new(std::iter::from_fn(move || reader.next_batch().transpose()))
}

fn is_abandoned(path: &Path) -> io::Result<bool> {
    let file = File::open(path)?;
    let age = SystemTime::now().duration_since(file.metadata()?.modified()?).unwrap_or_default();
    Ok(age > ABANDONED && file.try_lock().is_ok())
}

#[cfg(test)]
mod tests;
