//! Parquet and ORC: row groups and stripes as batches of columns, batches as rows. Only the wanted columns are read.

mod chunks;
mod column;
mod iso;
mod nested;
mod orc;
mod parquet;

pub(super) use orc::{columns as orc_columns, read as read_orc};
pub(super) use parquet::{columns as parquet_columns, read as read_parquet};

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use ::arrow::array::RecordBatch;

use super::SourceError;
use super::cut::{Extent, Piece};
use super::file::SourceFile;
use super::reading::Reading;
use crate::{Result, RowScratch};
use column::Column;

/// Rows decoded at a time: enough to spread the cost of a batch, few enough to stay in the cache.
const BATCH_ROWS: usize = 4096;

/// Pushes the rows of a batch; `places` are the batch's columns in the order of the row, `row` the number of rows before.
fn push(
    batch: &RecordBatch,
    places: &[usize],
    row: &mut u64,
    file: &Arc<SourceFile>,
    reading: &mut Reading<'_, '_>,
) -> Result<()> {
    let schema = batch.schema();
    let column =
        |&place: &usize| Column::new(batch.column(place)).map_err(|problem| problem.in_column(file, schema.field(place).name()));
    let columns: Vec<Column> = places.iter().map(column).collect::<Result<_, _>>().map_err(|error| reading.fail(error))?;
    let mut scratch = RowScratch::default();
    let mut values = scratch.take();
    for at in 0..batch.num_rows() {
        *row += 1;
        reading.ctx.origin.set_line(*row);
        values.clear();
        values.extend(columns.iter().map(|column| column.get(at)));
        reading.target.out.push(&values)?;
    }
    scratch.give(values);
    Ok(())
}

/// The places of the wanted columns among those of a file, in the order of the row.
fn places(file: &Arc<SourceFile>, names: &[Vec<u8>], wanted: Option<&[String]>) -> Result<Vec<usize>, SourceError> {
    let Some(wanted) = wanted else { return Ok((0..names.len()).collect()) };
    let place = |column: &String| {
        names.iter().position(|name| name == column.as_bytes()).ok_or_else(|| {
            let found = names.iter().map(|name| String::from_utf8_lossy(name)).collect::<Vec<_>>().join(", ");
            SourceError::NoColumn { file: Arc::clone(&file.name), column: column.clone(), found }
        })
    };
    wanted.iter().map(place).collect()
}

/// Fails if all files must be alike and a file's columns are not those of the source's first file.
fn check_columns(file: &SourceFile, names: &[Vec<u8>], alike: bool, reading: &Reading<'_, '_>) -> Result<(), SourceError> {
    match reading.lead.filter(|_| alike) {
        Some(lead) => lead.check(file, names),
        None => Ok(()),
    }
}

/// Where the row groups or stripes of a piece begin.
fn range(piece: &Piece) -> Range<u64> {
    match &piece.extent {
        Extent::Groups(range) => range.clone(),
        Extent::Whole | Extent::Lines(_) | Extent::Records(_) => 0..u64::MAX,
    }
}

/// The decoders trust some lengths that a damaged file has wrong, and panic.
fn guard<T>(file: &SourceFile, decode: impl FnOnce() -> T) -> std::result::Result<T, SourceError> {
    catch_unwind(AssertUnwindSafe(decode)).map_err(|_| damaged(file, "it has lengths that cannot be right"))
}

fn damaged(file: &SourceFile, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> SourceError {
    SourceError::Damaged { file: Arc::clone(&file.name), source: source.into() }
}

#[cfg(test)]
mod tests;
