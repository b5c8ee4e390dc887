//! Parquet files by row groups.

use std::ops::Range;
use std::sync::Arc;

use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::file::metadata::RowGroupMetaData;

use super::super::SourceError;
use super::super::cut::Piece;
use super::super::file::SourceFile;
use super::super::reading::Reading;
use super::chunks::Chunks;
use super::{BATCH_ROWS, check_columns, damaged, guard, places, push, range};
use crate::Result;

/// The names of a file's columns.
pub(in super::super) fn columns(file: &Arc<SourceFile>) -> Result<Vec<Vec<u8>>, SourceError> {
    let (_, metadata) = open(file, usize::MAX)?;
    Ok(names(&metadata))
}

fn open(file: &Arc<SourceFile>, limit: usize) -> Result<(Chunks, ArrowReaderMetadata), SourceError> {
    let chunks = Chunks::open(file, limit)?;
    let metadata = guard(file, || ArrowReaderMetadata::load(&chunks, ArrowReaderOptions::new()))?;
    let metadata = metadata.map_err(|source| damaged(file, source))?;
    Ok((chunks, metadata))
}

fn names(metadata: &ArrowReaderMetadata) -> Vec<Vec<u8>> {
    metadata.schema().fields().iter().map(|field| field.name().clone().into_bytes()).collect()
}

/// Pushes the rows of the row groups that begin in the piece. `alike`: all files must have the same columns, though not all are read.
pub(in super::super) fn read(
    piece: &Piece,
    (columns, alike): (Option<&[String]>, bool),
    reading: &mut Reading<'_, '_>,
) -> Result<()> {
    let (file, range) = (&piece.file, range(piece));
    reading.ctx.origin.enter(Some(Arc::clone(&file.name)));
    let (chunks, metadata) = open(file, reading.limit()).map_err(|error| reading.fail(error))?;
    let names = names(&metadata);
    check_columns(file, &names, columns.is_none() || alike, reading).map_err(|error| reading.fail(error))?;
    let places = places(file, &names, columns).map_err(|error| reading.fail(error))?;
    let mask = ProjectionMask::roots(metadata.parquet_schema(), places.iter().copied());
    let mut group = Group { file, chunks, metadata: &metadata, mask, places: in_batch(&places), before: 0 };
    for (at, described) in metadata.metadata().row_groups().iter().enumerate() {
        let start = guard(file, || start(described)).map_err(|error| reading.fail(error))?;
        if range.contains(&start) {
            group.read(at, described, reading)?;
        }
        group.before += u64::try_from(described.num_rows()).unwrap_or(0);
    }
    Ok(())
}

/// A batch has only the columns of the mask, in the order of the file: their places in it, in the order of the row.
pub(super) fn in_batch(places: &[usize]) -> Vec<usize> {
    let mut present = places.to_vec();
    present.sort_unstable();
    present.dedup();
    places.iter().map(|place| present.partition_point(|other| other < place)).collect()
}

fn start(group: &RowGroupMetaData) -> u64 {
    group.columns().first().map_or(0, |column| column.byte_range().0)
}

/// What is needed to read a row group.
struct Group<'a> {
    file: &'a Arc<SourceFile>,
    chunks: Chunks,
    metadata: &'a ArrowReaderMetadata,
    mask: ProjectionMask,
    places: Vec<usize>,
    /// Rows of the groups before.
    before: u64,
}

impl Group<'_> {
    fn read(&self, at: usize, described: &RowGroupMetaData, reading: &mut Reading<'_, '_>) -> Result<()> {
        let wanted = described.columns().iter().enumerate().filter(|(leaf, _)| self.mask.leaf_included(*leaf));
        let range = |(start, len): (u64, u64)| start..start.saturating_add(len);
        let ranges = guard(self.file, || wanted.map(|(_, column)| range(column.byte_range())).collect::<Vec<Range<u64>>>());
        let ranges = ranges.map_err(|error| reading.fail(error))?;
        self.chunks.fetch(&ranges).map_err(|error| reading.fail(error))?;
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(self.chunks.clone(), self.metadata.clone())
            .with_row_groups(vec![at])
            .with_projection(self.mask.clone())
            .with_batch_size(BATCH_ROWS);
        let batches = guard(self.file, || builder.build()).and_then(|built| built.map_err(|source| damaged(self.file, source)));
        let mut batches = batches.map_err(|error| reading.fail(error))?;
        let mut row = self.before;
        loop {
            let next = guard(self.file, || batches.next());
            let next = next.and_then(|batch| batch.transpose().map_err(|source| damaged(self.file, source)));
            let Some(batch) = next.map_err(|error| reading.fail(error))? else { break };
            if !reading.goes_on()? {
                return Ok(());
            }
            push(&batch, &self.places, &mut row, self.file, reading)?;
        }
        let expected = self.before + u64::try_from(described.num_rows()).unwrap_or(0);
        if row == expected {
            return Ok(());
        }
        Err(reading
            .fail(damaged(self.file, format!("row group {at} has {} rows, not {}", row - self.before, expected - self.before))))
    }
}
