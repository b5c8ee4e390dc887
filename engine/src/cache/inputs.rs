//! Which versions of its files a source reads: digests of what is on disk, tags of what is in stores.
//!
//! A digest is remembered by what the file system says of the file (device, inode, size, both times to the nanosecond), where
//! that is sound: its status-change time cannot be set by anyone, so it differs whenever the bytes do. It is not sound on file
//! systems that only imitate that time, nor for a file that changed a moment ago, which may change again within one tick.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use plan::{Fingerprint, InputFile, Recipe, Source};

use super::{Cache, digest};
use crate::Stores;
use crate::lock::lock;
use crate::source::{self, Located};

/// A file that changed less than this ago is not remembered: clocks of file systems may be that coarse.
const MOMENT: u64 = 2;
/// More than this many files are not remembered from run to run; then only those of the last one are.
const REMEMBERED: usize = 50_000;
const MEMO: &str = "inputs";

/// The versions of a flow's inputs, as they are found now and found again later.
#[derive(Debug)]
pub struct Inputs {
    base: PathBuf,
    stores: Arc<Stores>,
    threads: usize,
    /// What was told of each step.
    told: Mutex<BTreeMap<String, (Source, Vec<InputFile>)>>,
    /// By device and inode.
    memo: Mutex<BTreeMap<String, Remembered>>,
    used: Mutex<BTreeMap<String, Remembered>>,
}

/// What the file system said of a file, and the digest that it had then.
type Remembered = (String, Fingerprint);

impl Inputs {
    /// Inputs of a flow whose relative paths resolve at `base`, with what a cache remembers of files.
    #[must_use]
    pub fn new(base: &Path, stores: Arc<Stores>, cache: &Cache) -> Inputs {
        let memo = std::fs::read(cache.dir.join(MEMO)).ok();
        // Without it, or where it is damaged, files are read again.
        let memo = memo.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        Inputs {
            base: base.to_owned(),
            stores,
            threads: cache.threads,
            told: Mutex::default(),
            memo: Mutex::new(memo),
            used: Mutex::default(),
        }
    }

    /// The files that a step reads, in order.
    ///
    /// # Errors
    /// Why the version of one cannot be told.
    pub fn versions(&self, step: &str, source: &Source) -> Result<Vec<InputFile>, String> {
        let files = self.look(source)?;
        lock(&self.told).insert(step.to_owned(), (source.clone(), files.clone()));
        Ok(files)
    }

    /// Whether all inputs of a recipe are still what they were when their versions were told.
    ///
    /// # Errors
    /// What is not.
    pub fn unchanged(&self, recipe: &Recipe) -> Result<(), String> {
        let told = lock(&self.told).clone();
        for step in recipe.readers().collect::<std::collections::BTreeSet<_>>() {
            let (source, before) = told.get(step).ok_or_else(|| format!("nobody looked at the files of {step:?}"))?;
            let now = self.look(source)?;
            if let Some(changed) = before.iter().find(|file| !now.contains(file)) {
                return Err(format!("input {} changed while the flow ran", changed.name));
            }
            if now != *before {
                return Err(format!("the files of {step:?} changed while the flow ran"));
            }
        }
        Ok(())
    }

    /// Keeps what is remembered for later runs; if it cannot be written, they read the files again.
    pub fn remember(&self, cache: &Cache) {
        let used = lock(&self.used).clone();
        let mut memo = lock(&self.memo).clone();
        if memo.len() + used.len() > REMEMBERED {
            memo.clear();
        }
        memo.extend(used);
        let text = serde_json::to_vec(&memo).expect("a memo is strings");
        if let Err(error) = cache.replace(&cache.dir.join(MEMO), &text) {
            tracing::debug!("failed to remember digests of inputs: {error}");
        }
    }

    fn look(&self, source: &Source) -> Result<Vec<InputFile>, String> {
        let found = source::locate(source, &self.base, &self.stores).map_err(|error| plan::in_full(&error))?;
        found.into_iter().map(|file| self.version(&file)).collect()
    }

    fn version(&self, file: &Located) -> Result<InputFile, String> {
        let (name, version) = match file {
            Located::Local { name, path } => (name, self.local(name, path)?),
            Located::Object { name, size, tag: Some(tag) } if !tag.starts_with("W/") => {
                (name, format!("{size} bytes, tag {tag}"))
            }
            Located::Object { name, .. } => return Err(format!("the store of {name} does not tell versions of it apart")),
        };
        Ok(InputFile { name: name.clone(), version })
    }

    fn local(&self, name: &str, path: &Path) -> Result<String, String> {
        let failed = |error: std::io::Error| format!("input {name} cannot be read: {error}");
        let mut file = File::open(path).map_err(failed)?;
        let before = file.metadata().map_err(failed)?;
        if !before.is_file() {
            return Err(format!("input {name} is no file that can be read twice"));
        }
        let (place, seen) = (format!("{}:{}", before.dev(), before.ino()), seen(&before));
        if let Some((of, digest)) = lock(&self.memo).get(&place).filter(|(of, _)| *of == seen) {
            lock(&self.used).insert(place.clone(), (of.clone(), digest.clone()));
            return Ok(digest.to_string());
        }
        let began = SystemTime::now();
        let digest = match before.len() {
            0 => digest::stream(&mut file),
            len => digest::digest(&file, len, self.threads),
        };
        let digest = Fingerprint::new(digest.map_err(failed)?);
        if self::seen(&file.metadata().map_err(failed)?) != seen {
            return Err(format!("input {name} changes while it is read"));
        }
        if before.len() > 0 && is_settled(&before, began) && tells_changes(&file) {
            lock(&self.memo).insert(place.clone(), (seen.clone(), digest.clone()));
            lock(&self.used).insert(place, (seen, digest.clone()));
        }
        Ok(digest.to_string())
    }
}

fn seen(metadata: &Metadata) -> String {
    let (modified, changed) = ((metadata.mtime(), metadata.mtime_nsec()), (metadata.ctime(), metadata.ctime_nsec()));
    format!("{} {}.{:09} {}.{:09}", metadata.len(), modified.0, modified.1, changed.0, changed.1)
}

/// Whether the last change is so long ago that another one would get another time.
fn is_settled(metadata: &Metadata, now: SystemTime) -> bool {
    let now = now.duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    u64::try_from(metadata.ctime()).is_ok_and(|changed| changed.saturating_add(MOMENT) < now)
}

/// Whether the file is on a file system that keeps the time of the last status change itself.
#[cfg(target_os = "linux")]
fn tells_changes(file: &File) -> bool {
    const EXT: u32 = 0xef53;
    const XFS: u32 = 0x5846_5342;
    const BTRFS: u32 = 0x9123_683e;
    const TMPFS: u32 = 0x0102_1994;
    const OVERLAY: u32 = 0x794c_7630;
    const F2FS: u32 = 0xf2f5_2010;
    const ZFS: u32 = 0x2fc1_2fc1;
    const BCACHEFS: u32 = 0xca45_1a4e;
    // The magic numbers are 32 bits wide, whatever the type that they are given in.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the low 32 bits are the number")]
    let kind = rustix::fs::fstatfs(file).map(|about| about.f_type as u32);
    kind.is_ok_and(|kind| [EXT, XFS, BTRFS, TMPFS, OVERLAY, F2FS, ZFS, BCACHEFS].contains(&kind))
}

/// Elsewhere nothing is known of that: files are read each time.
#[cfg(not(target_os = "linux"))]
fn tells_changes(_: &File) -> bool {
    false
}
