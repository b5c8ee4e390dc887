//! Where rows come from: lists the splits of a source, and reads one split as rows. Never gives fewer rows than there are.
//!
//! ```text
//! list:  paths ─► find (patterns, directories, stores) ─► cut (ranges of large files, small ones together) ─► splits
//! read:  split ─► file (stream, range, decompressed) ─► block (whole records) ─► index / json / columnar ─► RowSink
//! ```

mod block;
mod boundary;
mod carried;
mod columnar;
mod cut;
mod delimited;
mod error;
mod file;
mod find;
mod head;
mod index;
mod inline;
mod json;
mod lines;
mod reading;
mod whole;

pub use carried::{decode, encode};
pub use error::SourceError;
pub use reading::Target;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use plan::{Format, Source};

use crate::{Result, RowSink, RunContext, Stores, TaskContext};
use cut::Piece;
use file::SourceFile;
use find::World;
use head::Lead;
use reading::Reading;

/// How a source is to be split.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Exactly so many splits, some of which may be empty; `None`: as many as the data asks for, at least one.
    pub partitions: Option<u32>,
    /// Threads that will read them.
    pub threads: usize,
    /// How many steps every row goes through: what is worth a task of its own.
    pub steps: usize,
}

/// The part of a source that one task reads.
#[derive(Clone, Debug)]
pub struct Split {
    part: Part,
    /// The columns of the source's first file, which all its files must have; `None` where there is nothing to compare.
    lead: Option<Arc<Lead>>,
}

#[derive(Clone, Debug)]
enum Part {
    Files(Vec<Piece>),
    /// Rows of an inline source.
    Rows(std::ops::Range<usize>),
    /// So many numbers of a range source, from one on.
    Numbers {
        first: i64,
        count: u64,
    },
}

/// What is known of a source before it is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// All columns of its files, by a header or schema; a projection is not applied.
    pub fields: Option<Vec<String>>,
    /// Bytes as stored.
    pub bytes: Option<u64>,
}

/// The splits of a source. `paths_from`: the rows that name the files of a [`plan::Paths::Rows`].
///
/// # Errors
/// If files are missing or cannot be looked at, or a pattern is not valid.
pub fn list(
    source: &Source,
    paths_from: Option<&[Vec<u8>]>,
    run: &RunContext,
    wanted: Wanted,
) -> Result<Vec<Split>, SourceError> {
    let world = World { base: &run.base, stores: &run.stores };
    let (parts, lead) = match source {
        Source::Files { format, paths, allow_empty } => {
            let files = find::find(paths, paths_from, *allow_empty, world)?;
            let lead = if files.len() > 1 { head::lead(&files, format)?.map(Arc::new) } else { None };
            (cut::cut(&files, format, wanted)?.into_iter().map(Part::Files).collect(), lead)
        }
        Source::Inline { rows } => (inline::parts(rows.len(), wanted), None),
        Source::Cached { .. } => return Err(SourceError::Cached),
        Source::Range { from, to, step } => (inline::number_parts(*from, *to, *step, wanted), None),
    };
    let mut splits: Vec<Split> = parts.into_iter().map(|part| Split { part, lead: lead.clone() }).collect();
    if splits.is_empty() {
        splits.push(Split { part: Part::Files(Vec::new()), lead: None });
    }
    Ok(splits)
}

/// Pushes the rows of a split into `out` (and does not finish it).
///
/// # Errors
/// If a file cannot be read, is cut off or malformed; and whatever `out` says.
pub fn read(split: &Split, source: &Source, ctx: &TaskContext, step: &str, out: &mut dyn RowSink) -> Result<()> {
    read_into(split, source, ctx, step, Target { out, bad: None, counts: true })
}

/// As `read`; records that cannot be rows go to `target.bad`, as they stand in the file, and are counted for the step.
///
/// # Errors
/// As for `read`; and what `target.bad` says.
pub fn read_into(split: &Split, source: &Source, ctx: &TaskContext, step: &str, target: Target<'_>) -> Result<()> {
    let mut reading = Reading { ctx, step, target, lead: split.lead.as_deref() };
    match (&split.part, source) {
        (Part::Files(pieces), Source::Files { format, .. }) => read_files(pieces, format, &mut reading)?,
        (Part::Files(_), Source::Inline { .. } | Source::Range { .. } | Source::Cached { .. }) => {}
        (Part::Rows(rows), Source::Inline { rows: all }) => inline::read(&all[rows.clone()], &mut reading)?,
        (Part::Numbers { first, count }, Source::Range { step, .. }) => inline::count(*first, *step, *count, &mut reading)?,
        (Part::Rows(_) | Part::Numbers { .. }, _) => {
            return Err(crate::Error::Plan(format!("a split of step {step:?} is of another source")));
        }
    }
    ctx.origin.enter(None);
    Ok(())
}

fn read_files(pieces: &[Piece], format: &Format, reading: &mut Reading<'_, '_>) -> Result<()> {
    for piece in pieces {
        if !reading.goes_on()? {
            break;
        }
        match format {
            Format::Text => lines::read(piece, reading)?,
            Format::Csv(options) | Format::Tsv(options) => delimited::read(piece, options, reading)?,
            Format::Json { columns } => json::read(piece, columns.as_deref(), reading)?,
            Format::Parquet { columns, known } => {
                columnar::read_parquet(piece, (columns.as_deref(), known.is_some()), reading)?;
            }
            Format::Orc { columns, known } => columnar::read_orc(piece, (columns.as_deref(), known.is_some()), reading)?,
            Format::Whole => whole::read(&piece.file, reading)?,
        }
        reading.ctx.run.count_bytes(reading.step, piece.bytes());
    }
    Ok(())
}

/// What can be known of a source without reading it: at most the head (or foot) of its first file.
///
/// # Errors
/// As for `list`; and if that file is malformed.
pub fn inspect(source: &Source, base: &Path, stores: &Stores) -> Result<Facts, SourceError> {
    match source {
        Source::Files { paths: plan::Paths::Rows, format: Format::Json { columns }, .. } => {
            Ok(Facts { fields: columns.clone(), bytes: None })
        }
        Source::Files { paths: plan::Paths::Rows, .. } => Ok(Facts::default()),
        Source::Files { format, paths, allow_empty } => {
            let files = find::find(paths, None, *allow_empty, World { base, stores })?;
            let bytes = files.iter().map(|file| file.size).sum();
            Ok(Facts { fields: fields(&files, format)?, bytes })
        }
        Source::Inline { rows } => Ok(Facts { fields: None, bytes: Some(inline::size(rows)) }),
        Source::Cached { bytes, .. } => Ok(Facts { fields: None, bytes: Some(*bytes) }),
        Source::Range { from, to, step } => {
            Ok(Facts { fields: None, bytes: Some(inline::numbers(*from, *to, *step).saturating_mul(8)) })
        }
    }
}

/// A file of a source, for telling which version of it is there.
#[derive(Clone, Debug)]
pub enum Located {
    Local {
        /// As the flow has it.
        name: String,
        path: PathBuf,
    },
    /// `tag` names this version, where the store does.
    Object { name: String, size: u64, tag: Option<String> },
}

/// The files that a source lists, in the order in which they are read; none for what is not in files.
///
/// # Errors
/// As for `list`.
pub fn locate(source: &Source, base: &Path, stores: &Stores) -> Result<Vec<Located>, SourceError> {
    let Source::Files { paths, allow_empty, .. } = source else { return Ok(Vec::new()) };
    let files = find::find(paths, None, *allow_empty, World { base, stores })?;
    Ok(files.iter().map(|file| file.located()).collect())
}

fn fields(files: &[Arc<SourceFile>], format: &Format) -> Result<Option<Vec<String>>, SourceError> {
    match format {
        Format::Json { columns } => Ok(columns.clone()),
        Format::Text | Format::Whole | Format::Csv(_) | Format::Tsv(_) | Format::Parquet { .. } | Format::Orc { .. } => {
            Ok(head::lead(files, format)?.map(|lead| lead.names()))
        }
    }
}

impl Split {
    /// Bytes of its files as stored; 0 for rows that are not in files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        match &self.part {
            Part::Files(pieces) => pieces.iter().map(Piece::bytes).sum(),
            Part::Rows(_) | Part::Numbers { .. } => 0,
        }
    }

    /// Whether it surely has no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match &self.part {
            Part::Files(pieces) => pieces.is_empty(),
            Part::Rows(rows) => rows.is_empty(),
            Part::Numbers { count, .. } => *count == 0,
        }
    }
}

#[cfg(test)]
mod tests;
