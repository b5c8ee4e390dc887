//! Runs that write to one directory at once change it one after the other.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::SinkError;
use super::on;

/// Waits until this process alone may change the directory, among those that ask; over when it is dropped. `None` where the file
/// system has no locks.
pub(super) fn take(target: &Path) -> Result<Option<File>, SinkError> {
    loop {
        let directory = File::open(target).map_err(on("open", target))?;
        if directory.lock().is_err() {
            return Ok(None);
        }
        // While we waited, another directory may have taken its place.
        let (there, ours) = (std::fs::metadata(target), directory.metadata());
        if there.map_err(on("look at", target))?.ino() == ours.map_err(on("look at", target))?.ino() {
            return Ok(Some(directory));
        }
    }
}
