//! Splits as bytes, for tasks that run in another process than the one that listed them.

use std::ffi::OsString;
use std::ops::Range;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::cut::{Extent, Piece};
use super::file::{Place, SourceFile};
use super::head::Lead;
use super::{Part, SourceError, Split};
use crate::store::Object;
use crate::{Error, Result, Stores};

#[derive(Serialize, Deserialize)]
struct CarriedSplit {
    part: CarriedPart,
    lead: Option<(String, Vec<Vec<u8>>)>,
}

#[derive(Serialize, Deserialize)]
enum CarriedPart {
    /// Pieces count in the files.
    Files {
        files: Vec<CarriedFile>,
        pieces: Vec<(u32, Extent)>,
    },
    Rows(Range<usize>),
    Numbers {
        first: i64,
        count: u64,
    },
}

#[derive(Serialize, Deserialize)]
enum CarriedFile {
    Local { path: Vec<u8>, written: Vec<u8>, size: Option<u64> },
    Object { url: String, size: u64, tag: Option<String>, ranges: bool },
    Unmeasured { url: String },
}

/// A split as bytes.
///
/// # Errors
/// Never for a split that was listed.
pub fn encode(split: &Split) -> Result<plan::task::Split> {
    let part = match &split.part {
        Part::Files(pieces) => carry(pieces),
        Part::Rows(rows) => CarriedPart::Rows(rows.clone()),
        Part::Numbers { first, count } => CarriedPart::Numbers { first: *first, count: *count },
    };
    let lead = split.lead.as_ref().map(|lead| (lead.file.to_string(), lead.columns.clone()));
    let encoded = serde_json::to_vec(&CarriedSplit { part, lead });
    let encoded = encoded.map_err(|error| Error::Plan(format!("a split cannot be encoded: {error}")))?;
    Ok(plan::task::Split { encoded, bytes: split.bytes() })
}

/// The split of `encode`.
///
/// # Errors
/// [`Error::Corrupt`] for other bytes; if its store is not known here.
pub fn decode(split: &plan::task::Split, stores: &Stores) -> Result<Split> {
    let carried: CarriedSplit =
        serde_json::from_slice(&split.encoded).map_err(|_| Error::Corrupt("the split of a task is none"))?;
    let part = match carried.part {
        CarriedPart::Files { files, pieces } => Part::Files(unpack(files, pieces, stores)?),
        CarriedPart::Rows(rows) => Part::Rows(rows),
        CarriedPart::Numbers { first, count } => Part::Numbers { first, count },
    };
    let lead = carried.lead.map(|(file, columns)| Arc::new(Lead { file: file.into(), columns }));
    Ok(Split { part, lead })
}

fn carry(pieces: &[Piece]) -> CarriedPart {
    let (mut files, mut last, mut carried) = (Vec::new(), None, Vec::new());
    for piece in pieces {
        if !last.is_some_and(|last| Arc::ptr_eq(last, &piece.file)) {
            files.push(carry_file(&piece.file));
            last = Some(&piece.file);
        }
        carried.push((files.len() as u32 - 1, piece.extent.clone()));
    }
    CarriedPart::Files { files, pieces: carried }
}

fn carry_file(file: &SourceFile) -> CarriedFile {
    let bytes = |path: &Path| path.as_os_str().as_bytes().to_vec();
    match &file.place {
        Place::Local { path, written } => CarriedFile::Local { path: bytes(path), written: bytes(written), size: file.size },
        Place::Object { object, ranges } => CarriedFile::Object {
            url: object.location.url().to_string(),
            size: object.size,
            tag: object.tag.clone(),
            ranges: *ranges,
        },
        Place::Unmeasured(location) => CarriedFile::Unmeasured { url: location.url().to_string() },
    }
}

fn unpack(files: Vec<CarriedFile>, pieces: Vec<(u32, Extent)>, stores: &Stores) -> Result<Vec<Piece>> {
    let files = files.into_iter().map(|file| unpack_file(file, stores).map(Arc::new)).collect::<Result<Vec<_>>>()?;
    let piece = |(file, extent): (u32, Extent)| {
        let file = files.get(file as usize).ok_or(Error::Corrupt("a split names a file that it does not have"))?;
        Ok(Piece { file: Arc::clone(file), extent })
    };
    pieces.into_iter().map(piece).collect()
}

fn unpack_file(file: CarriedFile, stores: &Stores) -> Result<SourceFile> {
    let path = |bytes: Vec<u8>| PathBuf::from(OsString::from_vec(bytes));
    let locate = |url: &str| stores.locate(url).map_err(|error| Error::in_step("read", SourceError::from(error)));
    Ok(match file {
        CarriedFile::Local { path: at, written, size } => SourceFile::local(path(at), path(written), size),
        CarriedFile::Object { url, size, tag, ranges } => {
            SourceFile::object(Object { location: locate(&url)?, size, tag }, ranges)
        }
        CarriedFile::Unmeasured { url } => SourceFile::unmeasured(locate(&url)?),
    })
}
