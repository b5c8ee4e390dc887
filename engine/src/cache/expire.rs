//! Results of many flows on one volume: a folder per flow, and what goes when nobody used it for long.
//!
//! ```text
//! BASE/.gleamflow-results/<namespace>/<flow>/{ttl, v1/...}
//! ```
//!
//! Every run that keeps results looks after all folders: those of flows that are deleted go when their own time is over.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{Cache, CacheError, is_abandoned};

/// Hidden, so that no pattern and no directory that a flow reads has it.
const FOLDER: &str = ".gleamflow-results";
const TTL: &str = "ttl";
/// An empty folder goes when nothing has changed in it for so long: no run is about to put something there.
const EMPTY: Duration = Duration::from_secs(3600);

/// The results of all flows on a volume.
#[derive(Clone, Debug)]
pub struct Flows {
    root: PathBuf,
}

impl Flows {
    /// Those below the folder where relative paths resolve.
    #[must_use]
    pub fn below(base: &Path) -> Flows {
        Flows { root: base.join(FOLDER) }
    }

    /// The folder of one flow.
    #[must_use]
    pub fn folder(&self, namespace: &str, flow: &str) -> PathBuf {
        self.root.join(namespace).join(flow)
    }

    /// The results of one flow, to be looked at.
    #[must_use]
    pub fn look(&self, namespace: &str, flow: &str, threads: usize) -> Cache {
        Cache::look(&self.folder(namespace, flow), flow, threads)
    }

    /// The results of one flow, to be read and written from now on; what is too old goes, of this flow and all others.
    ///
    /// # Errors
    /// If nothing can be written there.
    pub fn open(&self, namespace: &str, flow: &str, ttl: Option<u32>, threads: usize) -> Result<Cache, CacheError> {
        let folder = self.folder(namespace, flow);
        let open = || Cache::open(&folder, flow, threads);
        // Another run may just have removed it, as it was empty.
        let cache = open().or_else(|_| open())?;
        set_ttl(&folder, ttl).map_err(|source| CacheError::System {
            attempt: "note how long to keep what is in",
            path: folder,
            source,
        })?;
        expire(&self.root, SystemTime::now());
        Ok(cache)
    }
}

fn set_ttl(folder: &Path, ttl: Option<u32>) -> io::Result<()> {
    let path = folder.join(TTL);
    match ttl {
        Some(ttl) => fs::write(path, ttl.to_string()),
        None => match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        },
    }
}

/// Removes what was not used for longer than its flow says. What cannot be looked at or removed is left to the next run.
pub fn expire(root: &Path, now: SystemTime) {
    for namespace in children(root) {
        for flow in children(&namespace) {
            expire_flow(&flow, now);
            remove_if_empty(&flow, now);
        }
        remove_if_empty(&namespace, now);
    }
}

fn expire_flow(flow: &Path, now: SystemTime) {
    let results = flow.join("v1");
    let ttl = fs::read_to_string(flow.join(TTL)).ok().and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
    let is_old = |path: &Path| {
        let age = fs::metadata(path).and_then(|about| about.modified()).map(|at| now.duration_since(at).unwrap_or_default());
        age.is_ok_and(|age| ttl.is_some_and(|ttl| age > ttl))
    };
    for file in children(&results) {
        let temporary = file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("tmp-"));
        let goes = if temporary { is_abandoned(&file).unwrap_or(false) } else { is_old(&file) };
        if goes && let Err(error) = fs::remove_file(&file) {
            tracing::debug!("failed to remove {file:?}, which is too old: {error}");
        }
    }
    if remove_if_empty(&results, now) {
        let _ = fs::remove_file(flow.join(TTL));
    }
}

/// Whether it is gone. A folder that is not empty, or was until a moment ago, stays.
fn remove_if_empty(folder: &Path, now: SystemTime) -> bool {
    let changed = fs::metadata(folder).and_then(|about| about.modified());
    let settled = changed.is_ok_and(|at| now.duration_since(at).unwrap_or_default() > EMPTY);
    settled && fs::remove_dir(folder).is_ok()
}

fn children(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use plan::{Fingerprint, Recipe};

    use super::*;

    fn recipe(number: u8) -> Recipe {
        Recipe { collection: format!("c{number}"), fingerprint: Fingerprint::new([number; 32]), ingredients: Vec::new() }
    }

    fn store(cache: &Cache, number: u8) {
        cache.store_rows(&recipe(number), std::iter::empty()).unwrap();
    }

    fn there(flows: &Flows, flow: &str, number: u8) -> bool {
        flows.look("ns", flow, 1).find(&recipe(number).fingerprint).is_some()
    }

    fn later(seconds: u64) -> SystemTime {
        SystemTime::now() + Duration::from_secs(seconds)
    }

    #[test]
    fn what_nobody_used_goes_in_its_flows_own_time_even_if_the_flow_is_gone() {
        let base = tempfile::tempdir().unwrap();
        let flows = Flows::below(base.path());
        for (flow, ttl) in [("short", Some(60)), ("long", Some(6000)), ("ever", None)] {
            store(&flows.open("ns", flow, ttl, 1).unwrap(), 1);
        }
        expire(&flows.root, later(30));
        assert_eq!(["short", "long", "ever"].map(|flow| there(&flows, flow, 1)), [true, true, true]);
        expire(&flows.root, later(100));
        assert_eq!(["short", "long", "ever"].map(|flow| there(&flows, flow, 1)), [false, true, true]);
        expire(&flows.root, later(20_000));
        assert_eq!(["short", "long", "ever"].map(|flow| there(&flows, flow, 1)), [false, false, true]);
        expire(&flows.root, later(40_000));
        assert!(!flows.folder("ns", "short").exists() && flows.folder("ns", "ever").exists());
    }

    #[test]
    fn a_result_that_is_used_lives_on() {
        let base = tempfile::tempdir().unwrap();
        let flows = Flows::below(base.path());
        let cache = flows.open("ns", "flow", Some(60), 1).unwrap();
        (1..=2).for_each(|number| store(&cache, number));
        let long_ago = SystemTime::now() - Duration::from_secs(100);
        for number in 1..=2 {
            let path = flows.folder("ns", "flow").join("v1").join(recipe(number).fingerprint.to_string());
            fs::File::options().append(true).open(path).unwrap().set_modified(long_ago).unwrap();
        }
        flows.look("ns", "flow", 1).find(&recipe(2).fingerprint).unwrap().touch();
        drop(flows.open("ns", "other", None, 1).unwrap());
        assert_eq!([1, 2].map(|number| there(&flows, "flow", number)), [false, true]);
    }

    #[test]
    fn a_volume_that_cannot_be_written_is_an_error() {
        let base = tempfile::tempdir().unwrap();
        fs::write(base.path().join(FOLDER), "").unwrap();
        assert!(Flows::below(base.path()).open("ns", "flow", None, 1).is_err());
    }
}
