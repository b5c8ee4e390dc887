//! Whole files as rows: (path, content), and one such row per member of a zip.

use std::io::{Cursor, Read};
use std::sync::Arc;

use zip::ZipArchive;
use zip::read::ZipFile;

use super::SourceError;
use super::file::SourceFile;
use super::reading::Reading;
use crate::{Result, Val};

pub(super) fn read(file: &Arc<SourceFile>, reading: &mut Reading<'_, '_>) -> Result<()> {
    reading.ctx.origin.enter(Some(Arc::clone(&file.name)));
    fits(file.size.unwrap_or(0), &file.name, reading)?;
    let content = file.stream().and_then(|mut stream| stream.rest(reading.limit())).map_err(|error| reading.fail(error))?;
    if is_zip(file) {
        return read_members(file, &content, reading);
    }
    reading.target.out.push(&[Val::Str(file.path_bytes()), Val::Str(&content)])
}

fn is_zip(file: &SourceFile) -> bool {
    let path = file.path_bytes();
    path.len() >= 4 && path[path.len() - 4..].eq_ignore_ascii_case(b".zip")
}

/// The path of a member is the zip's, a slash, and the member's within it.
fn read_members(file: &Arc<SourceFile>, content: &[u8], reading: &mut Reading<'_, '_>) -> Result<()> {
    let damaged = |source: zip::result::ZipError| SourceError::Damaged { file: Arc::clone(&file.name), source: source.into() };
    let mut archive = ZipArchive::new(Cursor::new(content)).map_err(|source| reading.fail(damaged(source)))?;
    for at in 0..archive.len() {
        if !reading.goes_on()? {
            break;
        }
        let mut member = archive.by_index(at).map_err(|source| reading.fail(damaged(source)))?;
        if member.is_dir() {
            continue;
        }
        let path = [file.path_bytes(), b"/", member.name_raw()].concat();
        let shown: Arc<str> = String::from_utf8_lossy(&path).into();
        reading.ctx.origin.enter(Some(Arc::clone(&shown)));
        fits(member.size(), &shown, reading)?;
        let bytes = content_of(&mut member, reading.limit());
        let bytes = bytes.map_err(|source| reading.fail(SourceError::Decompress { file: Arc::clone(&shown), source }))?;
        // It need not be as large as it says.
        fits(bytes.len() as u64, &shown, reading)?;
        reading.target.out.push(&[Val::Str(&path), Val::Str(&bytes)])?;
    }
    Ok(())
}

fn content_of(member: &mut ZipFile<'_, Cursor<&[u8]>>, limit: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    member.take((limit as u64).saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A whole file is one value, which must fit into memory.
fn fits(bytes: u64, place: &str, reading: &Reading<'_, '_>) -> Result<()> {
    let limit = reading.limit();
    if bytes <= limit as u64 {
        return Ok(());
    }
    Err(reading.fail(SourceError::TooLarge { place: place.to_owned(), bytes, limit }))
}
