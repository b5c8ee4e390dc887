//! The commit of a prefix of an object store by its description.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::super::change::change;
use super::super::place::{SUCCESS, id_in};
use super::{Attempts, SinkError};
use crate::Stores;
use crate::store::StoreError;

/// A prefix with uploads.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::sink) struct Prefix {
    pub(in crate::sink) marker: String,
    pub(in crate::sink) old: Vec<String>,
    pub(in crate::sink) uploads: Vec<Upload>,
}

/// An upload whose parts are all at the store; without an id, an object without bytes.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::sink) struct Upload {
    pub(in crate::sink) url: String,
    pub(in crate::sink) id: Option<String>,
    pub(in crate::sink) tags: Vec<String>,
}

impl Prefix {
    /// Whether all that it names is the sink's own.
    pub(super) fn is_sound(&self) -> bool {
        let Some(prefix) = self.marker.strip_suffix(SUCCESS).filter(|prefix| !prefix.is_empty()) else { return false };
        let own = |url: &String| url.strip_prefix(prefix).is_some_and(|name| !name.split('/').any(|part| part == ".."));
        self.old.iter().all(own) && self.uploads.iter().all(|upload| own(&upload.url))
    }

    /// Names of objects have their attempt's id in them: what has such a name is of this very attempt.
    pub(super) fn commit(&self, stores: &Stores) -> Result<(), SinkError> {
        let marker = stores.locate(&self.marker)?;
        // Looked at first: once an object is there, the marker of old is gone, and one that is there is this commit's own.
        let begun = self.has_begun(stores)?;
        if marker.head()?.is_some() {
            if begun || self.uploads.is_empty() && self.is_complete(stores)? {
                // Nobody must be without the marker for a commit that was done already.
                return Ok(());
            }
            change(|| marker.delete())?;
        }
        self.uploads.iter().try_for_each(|upload| upload.complete(stores))?;
        for old in &self.old {
            let old = stores.locate(old)?;
            change(|| old.delete())?;
        }
        Ok(change(|| marker.put(Bytes::new()))?)
    }

    /// Whether some commit of this description has made an object: the first one comes first.
    fn has_begun(&self, stores: &Stores) -> Result<bool, SinkError> {
        let Some(first) = self.uploads.first() else { return Ok(false) };
        Ok(stores.locate(&first.url)?.head()?.is_some())
    }

    /// Whether nothing of old is there. Where there is nothing new, all is as a commit leaves it then.
    fn is_complete(&self, stores: &Stores) -> Result<bool, SinkError> {
        for old in &self.old {
            if stores.locate(old)?.head()?.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub(super) fn abort(&self, stores: &Stores) -> Result<(), SinkError> {
        for upload in &self.uploads {
            if let Some(id) = &upload.id {
                let location = stores.locate(&upload.url)?;
                change(|| location.abort_upload(id))?;
            }
        }
        Ok(())
    }
}

impl Upload {
    fn complete(&self, stores: &Stores) -> Result<(), SinkError> {
        let location = stores.locate(&self.url)?;
        let Some(id) = &self.id else { return Ok(change(|| location.put(Bytes::new()))?) };
        match change(|| location.complete_upload(id, &self.tags)) {
            // An earlier commit completed it, if the object is there.
            Err(StoreError::NotFound { .. }) if location.head()?.is_some() => Ok(()),
            done => Ok(done?),
        }
    }
}

/// Aborts the uploads that attempts began below a prefix, where the store can list them.
pub(super) fn sweep(url: &str, stores: &Stores, attempts: Attempts<'_>) -> Result<(), SinkError> {
    let prefix = stores.locate(url)?;
    for (location, id) in prefix.uploads()? {
        let name = location.key().rsplit('/').next().unwrap_or_default();
        if id_in(name).is_some_and(|id| attempts.have_id(id)) {
            change(|| location.abort_upload(&id))?;
        }
    }
    Ok(())
}
