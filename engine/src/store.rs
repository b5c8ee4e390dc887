//! Object stores behind plain blocking calls: `s3://`, `gs://`, `az://` and `http(s)://`. Never asks for credentials itself:
//! they come from the variables that the providers' own tools read, or by prefix from files named as these (see [`Access`]).
//!
//! A [`Location`] is one object or prefix. All calls block the calling thread; the requests run on a small runtime of their
//! own, made at the first use, so that a flow over local files never starts it.

mod access;
mod download;
mod error;
mod location;
mod open;
mod reader;
mod unfinished;
mod unmeasured;

pub use access::Access;
pub use error::{Cause, StoreError};
pub use location::{Location, Object};
pub use reader::ObjectReader;
pub use unmeasured::{Answer, UnmeasuredReader};

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};

use tokio::runtime::Runtime;

use open::Opened;

use crate::lock::lock;

/// The object stores that a run talks to: each bucket is opened once. Cheap to share behind an `Arc`.
pub struct Stores {
    /// Variables as in the environment: `AWS_REGION`, `GOOGLE_APPLICATION_CREDENTIALS`, ...
    settings: Vec<(String, String)>,
    /// What is reached otherwise; the longest prefix first.
    accesses: Vec<Access>,
    engine: Arc<Engine>,
    /// By access (`None`: by the settings) and root.
    opened: Mutex<HashMap<(Option<usize>, String), Arc<Opened>>>,
}

/// The threads that requests run on.
#[derive(Debug, Default)]
struct Engine {
    runtime: OnceLock<Runtime>,
}

impl Stores {
    /// Stores set up by the process's environment.
    #[must_use]
    pub fn from_environment() -> Arc<Stores> {
        Stores::from_environment_and(Vec::new())
    }

    /// Stores set up by the process's environment, but for the prefixes of `accesses`: the longest that fits a URL decides.
    #[must_use]
    pub fn from_environment_and(accesses: Vec<Access>) -> Arc<Stores> {
        let text =
            |(name, value): (std::ffi::OsString, std::ffi::OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
        Stores::make(std::env::vars_os().filter_map(text).collect(), accesses)
    }

    /// Stores set up by the given variables instead of the environment's.
    #[must_use]
    pub fn new(settings: impl IntoIterator<Item = (String, String)>) -> Arc<Stores> {
        Stores::make(settings.into_iter().collect(), Vec::new())
    }

    fn make(settings: Vec<(String, String)>, mut accesses: Vec<Access>) -> Arc<Stores> {
        accesses.sort_by_key(|access| std::cmp::Reverse(access.prefix.len()));
        Arc::new(Stores { settings, accesses, engine: Arc::default(), opened: Mutex::default() })
    }

    /// Whether a path of a flow is the URL of a store rather than a local path.
    #[must_use]
    pub fn is_url(path: &str) -> bool {
        let scheme = path.split_once("://").map_or("", |(scheme, _)| scheme);
        scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
    }

    /// The local path that a path of a flow stands for, as it is written or as `file:///...` (where `%20` is a space); `None`
    /// for a URL of a store.
    ///
    /// # Errors
    /// If it is a `file:` URL of another machine.
    pub fn local_path(path: &[u8]) -> Result<Option<PathBuf>, StoreError> {
        let shown = String::from_utf8_lossy(path);
        if !Stores::is_url(&shown) {
            return Ok(Some(PathBuf::from(OsStr::from_bytes(path))));
        }
        let Some(rest) = path.strip_prefix(b"file://") else { return Ok(None) };
        let local = rest.strip_prefix(b"localhost").unwrap_or(rest);
        if !local.starts_with(b"/") {
            return Err(StoreError::ElsewhereFile { url: shown.into_owned() });
        }
        Ok(Some(PathBuf::from(OsString::from_vec(decoded(local)))))
    }

    /// The object or prefix that a URL names. Makes no request.
    ///
    /// # Errors
    /// If the URL is not one of a known store, or the store's settings are wrong.
    pub fn locate(&self, url: &str) -> Result<Location, StoreError> {
        let address = open::parse(url)?;
        let access = self.accesses.iter().position(|access| access.covers(url));
        let key = (access, address.root.clone());
        let mut opened = lock(&self.opened);
        let store = match opened.get(&key) {
            Some(store) => Arc::clone(store),
            None => {
                let store = Arc::new(match access {
                    Some(access) => open::open(&address, url, &self.accesses[access].settings()?)?,
                    None => open::open(&address, url, &self.settings)?,
                });
                opened.insert(key, Arc::clone(&store));
                store
            }
        };
        Ok(Location::new(url, store, address.path, Arc::clone(&self.engine)))
    }
}

/// The bytes that a URL's path stands for.
fn decoded(path: &[u8]) -> Vec<u8> {
    let digit = |at: usize| path.get(at).and_then(|digit| char::from(*digit).to_digit(16));
    let (mut bytes, mut at) = (Vec::with_capacity(path.len()), 0);
    while let Some(byte) = path.get(at) {
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                at += 3;
            }
            _ => {
                bytes.push(*byte);
                at += 1;
            }
        }
    }
    bytes
}

impl fmt::Debug for Stores {
    /// Leaves the settings out: they hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stores").finish_non_exhaustive()
    }
}

impl Engine {
    fn runtime(&self) -> Result<&Runtime, StoreError> {
        if let Some(runtime) = self.runtime.get() {
            return Ok(runtime);
        }
        let built = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(REQUEST_THREADS)
            .thread_name("gleamflow-store")
            .enable_all()
            .build()
            .map_err(StoreError::Runtime)?;
        Ok(self.runtime.get_or_init(|| built))
    }

    fn block_on<T>(&self, work: impl Future<Output = T>) -> Result<T, StoreError> {
        Ok(self.runtime()?.block_on(work))
    }
}

/// Requests wait, they do not compute: two threads keep TLS and checksums of several downloads going.
const REQUEST_THREADS: usize = 2;

impl Drop for Engine {
    /// Does not wait for requests that nobody waits for.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests;
