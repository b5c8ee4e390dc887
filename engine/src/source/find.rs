//! Finds the files that paths, patterns and directories name, on disk and in object stores, in a fixed order.

mod local;
mod remote;
mod tree;

use std::path::Path;
use std::sync::Arc;

use plan::Paths;

use super::SourceError;
use super::file::SourceFile;
use crate::Stores;

/// Where paths are looked up.
#[derive(Clone, Copy)]
pub(super) struct World<'a> {
    pub(super) base: &'a Path,
    pub(super) stores: &'a Stores,
}

/// The files of a source: path by path, those of one path sorted by name. Only `allow_empty` lets a path name none.
pub(super) fn find(
    paths: &Paths,
    from_rows: Option<&[Vec<u8>]>,
    allow_empty: bool,
    world: World<'_>,
) -> Result<Vec<Arc<SourceFile>>, SourceError> {
    let listed: Vec<&[u8]> = match (paths, from_rows) {
        (Paths::Listed(paths), _) => paths.iter().map(String::as_bytes).collect(),
        (Paths::Rows, rows) => rows.unwrap_or_default().iter().map(Vec::as_slice).collect(),
    };
    if listed.is_empty() && !allow_empty {
        return Err(SourceError::NoPaths);
    }
    let mut files = Vec::new();
    for path in listed {
        let found = find_one(path, world)?;
        if found.is_empty() && !allow_empty {
            return Err(SourceError::NothingFound { path: String::from_utf8_lossy(path).into_owned() });
        }
        files.extend(found.into_iter().map(Arc::new));
    }
    Ok(files)
}

fn find_one(path: &[u8], world: World<'_>) -> Result<Vec<SourceFile>, SourceError> {
    if let Some(path) = crate::Stores::local_path(path)? {
        return local::find(&path, world.base);
    }
    let shown = String::from_utf8_lossy(path);
    let url = std::str::from_utf8(path).map_err(|_| SourceError::NotText { path: shown.clone().into_owned() })?;
    remote::find(url, world.stores)
}

#[cfg(test)]
mod tests;
