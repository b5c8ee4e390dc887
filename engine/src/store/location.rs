//! One object or prefix of a store, and what can be done with it. Every call blocks.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{GetOptions, ObjectMeta, ObjectStoreExt};

use super::error::{READ, StoreError, classify};
use super::open::{Opened, parse_key};
use super::{Engine, ObjectReader};

/// An object or prefix of an opened store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Location {
    url: Arc<str>,
    pub(super) store: Arc<Opened>,
    pub(super) path: Path,
    pub(super) engine: Arc<Engine>,
}

/// An object that exists.
#[derive(Clone, Debug)]
pub struct Object {
    pub location: Location,
    pub size: u64,
    /// Names this version of the object, where the store does.
    pub tag: Option<String>,
}

impl Location {
    pub(super) fn new(url: &str, store: Arc<Opened>, path: Path, engine: Arc<Engine>) -> Location {
        Location { url: url.into(), store, path, engine }
    }

    /// The URL, for messages and for `Stores::locate`.
    #[must_use]
    pub fn url(&self) -> &Arc<str> {
        &self.url
    }

    /// The key inside the bucket, without slashes at its ends; empty for the bucket itself.
    #[must_use]
    pub fn key(&self) -> &str {
        self.path.as_ref()
    }

    /// The location at a path below this one.
    ///
    /// # Errors
    /// If a component of the path is empty, `.` or `..`.
    pub fn child(&self, relative: &str) -> Result<Location, StoreError> {
        let below = parse_key(&format!("{}/{relative}", self.url.trim_end_matches('/')), relative)?;
        let key = format!("{}/{below}", self.path);
        Ok(self.at(parse_key(&self.url, &key)?))
    }

    /// All objects below this prefix, in key order, however many.
    ///
    /// # Errors
    /// If the store cannot be asked, or is one behind http.
    pub fn list(&self) -> Result<Vec<Object>, StoreError> {
        self.only_in_buckets("list")?;
        let found: Vec<ObjectMeta> = self.run("list", self.store.store.list(Some(&self.path)).try_collect())?;
        Ok(self.objects(found))
    }

    /// The objects directly below this prefix, and the prefixes that are; both in key order.
    ///
    /// # Errors
    /// If the store cannot be asked, or is one behind http.
    pub fn list_level(&self) -> Result<(Vec<Object>, Vec<Location>), StoreError> {
        self.only_in_buckets("list")?;
        let level = self.run("list", self.store.store.list_with_delimiter(Some(&self.path)))?;
        let prefixes: BTreeSet<Path> = level.common_prefixes.into_iter().collect();
        Ok((self.objects(level.objects), prefixes.into_iter().map(|path| self.at(path)).collect()))
    }

    /// Sorted, without the empty objects that consoles make to stand for a folder.
    fn objects(&self, mut found: Vec<ObjectMeta>) -> Vec<Object> {
        found.retain(|meta| meta.location != self.path);
        found.sort_by(|a, b| a.location.cmp(&b.location));
        let folders: BTreeSet<String> =
            found.iter().filter_map(|meta| Some(meta.location.as_ref().rsplit_once('/')?.0.to_owned())).collect();
        let is_folder = |meta: &ObjectMeta| meta.size == 0 && folders.contains(meta.location.as_ref());
        found.into_iter().filter(|meta| !is_folder(meta)).map(|meta| self.object(meta)).collect()
    }

    /// The object here, or `None` if there is none.
    ///
    /// # Errors
    /// If the store cannot be asked, refuses, or has no such bucket.
    pub fn head(&self) -> Result<Option<Object>, StoreError> {
        let found = match self.run("look up", self.store.store.head(&self.path)) {
            // Some servers behind http do not answer HEAD, but GET; its body is not read.
            Err(StoreError::NotFound { .. } | StoreError::Request { .. }) if self.store.multipart.is_none() => {
                self.run("look up", async { Ok(self.store.store.get(&self.path).await?.meta) })
            }
            found => found,
        };
        match found {
            Ok(meta) => Ok(Some(self.object(ObjectMeta { location: self.path.clone(), ..meta }))),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether the store gives parts of this object: all do, but for some servers behind http.
    ///
    /// # Errors
    /// If the object cannot be read at all.
    pub fn has_ranges(&self) -> Result<bool, StoreError> {
        if self.store.multipart.is_some() {
            return Ok(true);
        }
        match self.run(READ, self.store.store.get_range(&self.path, 0..1)) {
            Ok(_) => Ok(true),
            Err(StoreError::Request { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The whole object.
    ///
    /// # Errors
    /// If it is not there or cannot be read.
    pub fn get(&self) -> Result<Bytes, StoreError> {
        self.run(READ, async { self.store.store.get(&self.path).await?.bytes().await })
    }

    /// Some bytes of the object.
    ///
    /// # Errors
    /// If it is not there, has not that many bytes, or cannot be read.
    pub fn get_range(&self, range: Range<u64>) -> Result<Bytes, StoreError> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let bytes = self.run(READ, self.store.store.get_range(&self.path, range.clone()))?;
        if bytes.len() as u64 == range.end - range.start {
            return Ok(bytes);
        }
        Err(StoreError::Short { url: self.url.to_string(), got: bytes.len() as u64, expected: range.end - range.start })
    }

    /// Writes the whole object, in one piece.
    ///
    /// # Errors
    /// If the store does not take it.
    pub fn put(&self, bytes: Bytes) -> Result<(), StoreError> {
        self.run("write", self.store.store.put(&self.path, bytes.into())).map(drop)
    }

    /// Deletes the object; one that is not there is no error.
    ///
    /// # Errors
    /// If the store cannot be asked or refuses.
    pub fn delete(&self) -> Result<(), StoreError> {
        match self.run("delete", self.store.store.delete(&self.path)) {
            Ok(()) | Err(StoreError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Copies the object to another key of the same bucket, inside the store.
    ///
    /// # Errors
    /// If it is not there, or the store refuses.
    ///
    /// # Panics
    /// If the target is in another bucket.
    pub fn copy_to(&self, target: &Location) -> Result<(), StoreError> {
        assert_eq!(self.store.root, target.store.root, "copies stay in one bucket");
        self.run("copy", self.store.store.copy(&self.path, &target.path))
    }

    /// Begins an upload in parts and returns its id. Nothing is visible until `complete_upload`.
    ///
    /// # Errors
    /// If the store refuses, or is one behind http.
    pub fn create_upload(&self) -> Result<String, StoreError> {
        self.run("begin an upload to", self.multipart("begin an upload to")?.create_multipart(&self.path))
    }

    /// Uploads part `index` (0-based; every part but the last at least 5 MiB) and returns its tag.
    ///
    /// # Errors
    /// If the store does not take it.
    pub fn put_part(&self, upload: &str, index: usize, bytes: Bytes) -> Result<String, StoreError> {
        let id = upload.to_owned();
        let part = self.multipart("upload to")?.put_part(&self.path, &id, index, bytes.into());
        self.run("upload a part of", part).map(|part| part.content_id)
    }

    /// Makes the object of all its parts, given their tags in order.
    ///
    /// # Errors
    /// If the store refuses; an upload that was completed or aborted before is `NotFound`.
    pub fn complete_upload(&self, upload: &str, parts: &[String]) -> Result<(), StoreError> {
        let id = upload.to_owned();
        let parts = parts.iter().map(|tag| PartId { content_id: tag.clone() }).collect();
        let done = self.multipart("complete the upload of")?.complete_multipart(&self.path, &id, parts);
        self.run("complete the upload of", done).map(drop)
    }

    /// Drops an upload and its parts; one that is not there any more is no error.
    ///
    /// # Errors
    /// If the store cannot be asked or refuses.
    pub fn abort_upload(&self, upload: &str) -> Result<(), StoreError> {
        let id = upload.to_owned();
        match self.run("abort the upload of", self.multipart("abort the upload of")?.abort_multipart(&self.path, &id)) {
            Ok(()) | Err(StoreError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Uploads below this prefix that were begun and neither completed nor aborted, with their ids; none where the store does not
    /// tell.
    ///
    /// # Errors
    /// If the store cannot be asked or refuses.
    pub fn uploads(&self) -> Result<Vec<(Location, String)>, StoreError> {
        let Some(unfinished) = &self.store.unfinished else { return Ok(Vec::new()) };
        let found = self.run("list the unfinished uploads below", unfinished.list(&self.path))?;
        let location = |(key, id): (String, String)| Ok((self.at(parse_key(&self.url, &key)?), id));
        found.into_iter().map(location).collect()
    }

    pub(super) fn run<T>(
        &self,
        attempt: &'static str,
        work: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, StoreError> {
        self.engine.block_on(work)?.map_err(|source| classify(attempt, &self.url, self.store.advice, source))
    }

    fn multipart(&self, attempt: &'static str) -> Result<&dyn MultipartStore, StoreError> {
        self.only_in_buckets(attempt)?;
        Ok(&*self.store.multipart.as_ref().expect("stores that are not behind http take uploads in parts").0)
    }

    fn only_in_buckets(&self, attempt: &'static str) -> Result<(), StoreError> {
        match self.store.multipart {
            Some(_) => Ok(()),
            None => Err(StoreError::NotOverHttp { attempt, url: self.url.to_string() }),
        }
    }

    fn object(&self, meta: ObjectMeta) -> Object {
        Object { location: self.at(meta.location), size: meta.size, tag: meta.e_tag }
    }

    fn at(&self, path: Path) -> Location {
        let url = if path == self.path { Arc::clone(&self.url) } else { format!("{}/{path}", self.store.root).into() };
        Location { url, path, store: Arc::clone(&self.store), engine: Arc::clone(&self.engine) }
    }
}

impl Object {
    /// Streams the bytes of a range, several requests ahead.
    #[must_use]
    pub fn reader(&self, range: Range<u64>) -> ObjectReader {
        ObjectReader::ranged(self, range)
    }

    /// Streams the whole object by one request, for servers that give no ranges.
    #[must_use]
    pub fn reader_of_whole(&self) -> ObjectReader {
        ObjectReader::whole(self)
    }

    pub(super) fn options(&self, range: Option<Range<u64>>) -> GetOptions {
        // Weak tags never match, by definition of the header.
        let if_match = self.tag.clone().filter(|tag| !tag.starts_with("W/"));
        GetOptions { range: range.map(Into::into), if_match, ..GetOptions::default() }
    }
}
