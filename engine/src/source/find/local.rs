//! Files on disk.

use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use super::super::SourceError;
use super::super::file::SourceFile;
use super::tree::{Level, Tree, Walk, is_hidden, is_pattern};

/// The files of one path as the flow has it. A path that exists as it is written is no pattern.
pub(super) fn find(written: &Path, base: &Path) -> Result<Vec<SourceFile>, SourceError> {
    match fs::metadata(base.join(written)) {
        Ok(metadata) if metadata.is_dir() => directory(written, base),
        Ok(metadata) => Ok(vec![file(written.to_owned(), base, &metadata)]),
        Err(error) if !is_absence(&error) => Err(look_error(written, error)),
        Err(_) => match written.to_str().filter(|text| is_pattern(text)) {
            Some(pattern) => matching(pattern, base),
            None => Ok(Vec::new()),
        },
    }
}

fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn directory(written: &Path, base: &Path) -> Result<Vec<SourceFile>, SourceError> {
    let mut files = Vec::new();
    for (name, metadata) in entries(written, base)? {
        if !metadata.is_dir() && !is_hidden(&name.to_string_lossy()) {
            files.push(file(written.join(name), base, &metadata));
        }
    }
    files.sort_by(|a, b| a.path_bytes().cmp(b.path_bytes()));
    Ok(files)
}

fn matching(pattern: &str, base: &Path) -> Result<Vec<SourceFile>, SourceError> {
    let walk = Walk::parse(pattern)?;
    let root = if pattern.starts_with('/') && walk.literal.is_empty() { "/" } else { &walk.literal };
    Ok(walk.files(&Disk { base }, root)?.into_values().collect())
}

struct Disk<'a> {
    base: &'a Path,
}

impl Tree for Disk<'_> {
    type File = SourceFile;

    fn level(&self, place: &str) -> Result<Level<SourceFile>, SourceError> {
        let mut level = Level::default();
        let written = Path::new(place);
        if !self.base.join(written).is_dir() {
            return Ok(level);
        }
        for (name, metadata) in entries(written, self.base)? {
            let Some(text) = name.to_str() else {
                level.nameless.push(name.to_string_lossy().into_owned());
                continue;
            };
            if metadata.is_dir() {
                level.directories.insert(text.to_owned());
                if self.base.join(written).join(&name).is_symlink() {
                    level.links.insert(text.to_owned());
                }
            } else if metadata.is_file() {
                level.files.insert(text.to_owned(), file(written.join(&name), self.base, &metadata));
            }
        }
        Ok(level)
    }

    fn identity(&self, place: &str) -> String {
        let path = self.base.join(place);
        // What cannot be looked up cannot be listed either, which is told there.
        fs::canonicalize(&path).unwrap_or(path).to_string_lossy().into_owned()
    }
}

/// Names and what they lead to, links followed; a link to nothing is passed over only where its name is.
fn entries(written: &Path, base: &Path) -> Result<Vec<(PathBuf, Metadata)>, SourceError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(base.join(written)).map_err(|error| look_error(written, error))? {
        let name = PathBuf::from(entry.map_err(|error| look_error(written, error))?.file_name());
        if is_hidden(&name.to_string_lossy()) && !base.join(written).join(&name).exists() {
            continue;
        }
        let metadata = fs::metadata(base.join(written).join(&name)).map_err(|error| look_error(&written.join(&name), error))?;
        found.push((name, metadata));
    }
    Ok(found)
}

fn file(written: PathBuf, base: &Path, metadata: &Metadata) -> SourceFile {
    let size = metadata.is_file().then_some(metadata.len());
    SourceFile::local(base.join(&written), written, size)
}

fn look_error(path: &Path, source: io::Error) -> SourceError {
    SourceError::Look { path: path.to_string_lossy().into_owned(), source }
}
