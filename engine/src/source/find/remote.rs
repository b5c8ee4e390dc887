//! Objects in stores.

use std::collections::{BTreeMap, BTreeSet};

use super::super::SourceError;
use super::super::file::SourceFile;
use super::tree::{Level, Tree, Walk, is_hidden, is_pattern, join};
use crate::Stores;
use crate::store::{Answer, Location, Object, StoreError};

/// The objects of one URL. A URL that is an object's is no pattern.
pub(super) fn find(url: &str, stores: &Stores) -> Result<Vec<SourceFile>, SourceError> {
    if url.starts_with("http://") || url.starts_with("https://") {
        return find_over_http(url, stores);
    }
    let (root, key) = split(url);
    if !url.ends_with('/')
        && !key.is_empty()
        && let Some(object) = stores.locate(url)?.head()?
    {
        return Ok(vec![SourceFile::object(object, true)]);
    }
    if is_pattern(key) { matching(root, key, stores) } else { directory(&stores.locate(url)?) }
}

fn find_over_http(url: &str, stores: &Stores) -> Result<Vec<SourceFile>, SourceError> {
    if url.split('?').next().is_some_and(|path| path.contains(['*', '['])) {
        return Err(SourceError::WildcardOverHttp { url: url.to_owned() });
    }
    let location = stores.locate(url)?;
    let object = match location.head() {
        Ok(Some(object)) if object.size > 0 && location.has_ranges()? => return Ok(vec![SourceFile::object(object, true)]),
        Ok(Some(object)) => Ok(object),
        Ok(None) => return Ok(Vec::new()),
        // It may be that no length is told; the client makes no difference between that and a failure.
        Err(error @ StoreError::Request { .. }) => Err(error),
        Err(error) => return Err(error.into()),
    };
    // What is made on the way has a length of 0 or none before it is asked for as a whole.
    Ok(vec![match location.answer()? {
        Answer::Measured(size) if object.as_ref().is_ok_and(|object| object.size == 0) => {
            SourceFile::object(Object { size, ..object? }, false)
        }
        Answer::Unmeasured => SourceFile::unmeasured(location),
        Answer::Unended => return Err(StoreError::NoEnd { url: url.to_owned() }.into()),
        Answer::Measured(_) | Answer::Other => SourceFile::object(object?, false),
    }])
}

/// `s3://bucket` and the key.
fn split(url: &str) -> (&str, &str) {
    let bucket = url.find("://").map_or(0, |at| at + 3);
    match url[bucket..].find('/') {
        Some(slash) => (&url[..bucket + slash], &url[bucket + slash + 1..]),
        None => (url, ""),
    }
}

fn directory(location: &Location) -> Result<Vec<SourceFile>, SourceError> {
    let visible = |object: &Object| !is_hidden(name(object.location.key()));
    let (objects, _) = location.list_level()?;
    Ok(objects.into_iter().filter(visible).map(|object| SourceFile::object(object, true)).collect())
}

fn matching(root: &str, key: &str, stores: &Stores) -> Result<Vec<SourceFile>, SourceError> {
    let walk = Walk::parse(key)?;
    let place = walk.literal.clone();
    let files = if walk.is_deep() {
        walk.files(&Listed::below(&stores.locate(&join(root, &place))?)?, &place)?
    } else {
        walk.files(&Bucket { root, stores }, &place)?
    };
    Ok(files.into_values().map(|object| SourceFile::object(object, true)).collect())
}

fn name(key: &str) -> &str {
    key.rsplit('/').next().unwrap_or(key)
}

/// Asks the store level by level.
struct Bucket<'a> {
    root: &'a str,
    stores: &'a Stores,
}

impl Tree for Bucket<'_> {
    type File = Object;

    fn level(&self, place: &str) -> Result<Level<Object>, SourceError> {
        let (objects, prefixes) = self.stores.locate(&format!("{}/{place}", self.root))?.list_level()?;
        let files = objects.into_iter().map(|object| (name(object.location.key()).to_owned(), object)).collect();
        let directories = prefixes.into_iter().map(|prefix| name(prefix.key()).to_owned()).collect();
        Ok(Level { files, directories, ..Level::default() })
    }

    fn identity(&self, place: &str) -> String {
        place.to_owned()
    }
}

/// Everything below a prefix, listed once: for patterns that look into any depth.
struct Listed {
    levels: BTreeMap<String, (BTreeMap<String, Object>, BTreeSet<String>)>,
}

impl Listed {
    fn below(location: &Location) -> Result<Listed, SourceError> {
        let mut listed = Listed { levels: BTreeMap::new() };
        for object in location.list()? {
            let key = object.location.key().to_owned();
            let (place, name) = key.rsplit_once('/').unwrap_or(("", &key));
            listed.levels.entry(place.to_owned()).or_default().0.insert(name.to_owned(), object);
            listed.add_directory(place);
        }
        Ok(listed)
    }

    fn add_directory(&mut self, mut place: &str) {
        while !place.is_empty() {
            let (above, name) = place.rsplit_once('/').unwrap_or(("", place));
            if !self.levels.entry(above.to_owned()).or_default().1.insert(name.to_owned()) {
                return;
            }
            place = above;
        }
    }
}

impl Tree for Listed {
    type File = Object;

    fn level(&self, place: &str) -> Result<Level<Object>, SourceError> {
        let (files, directories) = self.levels.get(place).cloned().unwrap_or_default();
        Ok(Level { files, directories, ..Level::default() })
    }

    fn identity(&self, place: &str) -> String {
        place.to_owned()
    }
}
