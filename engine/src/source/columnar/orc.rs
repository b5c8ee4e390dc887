//! ORC files by stripes.

mod fractions;

use std::sync::Arc;

use orc_rust::ArrowReaderBuilder;
use orc_rust::projection::ProjectionMask;
use orc_rust::schema::DataType;
use orc_rust::stripe::Stripe;

use super::super::SourceError;
use super::super::cut::Piece;
use super::super::file::SourceFile;
use super::super::reading::Reading;
use super::chunks::Chunks;
use super::parquet::in_batch;
use super::{BATCH_ROWS, check_columns, damaged, guard, places, push, range};
use crate::Result;

/// The names of a file's columns.
pub(in super::super) fn columns(file: &Arc<SourceFile>) -> Result<Vec<Vec<u8>>, SourceError> {
    Ok(names(&open(file, usize::MAX)?))
}

fn open(file: &Arc<SourceFile>, limit: usize) -> Result<ArrowReaderBuilder<Chunks>, SourceError> {
    let chunks = Chunks::open(file, limit)?;
    guard(file, || ArrowReaderBuilder::try_new(chunks))?.map_err(|source| damaged(file, source))
}

fn names(reader: &ArrowReaderBuilder<Chunks>) -> Vec<Vec<u8>> {
    let columns = reader.file_metadata().root_data_type().children();
    columns.iter().map(|column| column.name().as_bytes().to_vec()).collect()
}

/// Pushes the rows of the stripes that begin in the piece. `alike`: all files must have the same columns, though not all are read.
pub(in super::super) fn read(
    piece: &Piece,
    (columns, alike): (Option<&[String]>, bool),
    reading: &mut Reading<'_, '_>,
) -> Result<()> {
    let (file, range) = (&piece.file, range(piece));
    reading.ctx.origin.enter(Some(Arc::clone(&file.name)));
    let builder = open(file, reading.limit()).map_err(|error| reading.fail(error))?;
    let names = names(&builder);
    check_columns(file, &names, columns.is_none() || alike, reading).map_err(|error| reading.fail(error))?;
    let places = places(file, &names, columns).map_err(|error| reading.fail(error))?;
    let root = builder.file_metadata().root_data_type();
    check_fractions(file, &builder, (&places, &range), reading.limit()).map_err(|error| reading.fail(error))?;
    let mask = ProjectionMask::roots(root, places.iter().map(|&place| root.children()[place].data_type().column_index()));
    let stripes = builder.file_metadata().stripe_metadatas();
    let rows = |wanted: &dyn Fn(u64) -> bool| {
        stripes.iter().filter(|stripe| wanted(stripe.offset())).map(|stripe| stripe.number_of_rows()).sum::<u64>()
    };
    let mut row = rows(&|offset| offset < range.start);
    let end = row + rows(&|offset| range.contains(&offset));
    let bytes = range.start as usize..usize::try_from(range.end).unwrap_or(usize::MAX);
    let mut batches = builder.with_file_byte_range(bytes).with_projection(mask).with_batch_size(BATCH_ROWS).build();
    let places = in_batch(&places);
    while reading.goes_on()? {
        let next = guard(file, || batches.next()).and_then(|batch| batch.transpose().map_err(|source| damaged(file, source)));
        match next.map_err(|error| reading.fail(error))? {
            Some(batch) => push(&batch, &places, &mut row, file, reading)?,
            None if row == end => return Ok(()),
            None => return Err(reading.fail(damaged(file, format!("its stripes end after row {row}, not {end}")))),
        }
    }
    Ok(())
}

/// Fails where a wanted timestamp is written in a way that the decoder takes for another time.
fn check_fractions(
    file: &Arc<SourceFile>,
    builder: &ArrowReaderBuilder<Chunks>,
    (places, range): (&[usize], &std::ops::Range<u64>),
    limit: usize,
) -> Result<(), SourceError> {
    let metadata = builder.file_metadata();
    let root = metadata.root_data_type();
    let types = places.iter().map(|&place| root.children()[place].data_type());
    let timed: Vec<usize> = types.filter(|kind| has_timestamps(kind)).map(DataType::column_index).collect();
    if timed.is_empty() {
        return Ok(());
    }
    let timed = root.project(&ProjectionMask::roots(root, timed));
    let mut chunks = Chunks::open(file, limit)?;
    for info in metadata.stripe_metadatas().iter().filter(|info| range.contains(&info.offset())) {
        let found = guard(file, || {
            let stripe = Stripe::new(&mut chunks, metadata, &timed, info).map_err(|source| damaged(file, source))?;
            fractions::negative(&stripe).map_err(|source| damaged(file, source))
        });
        if let Some(column) = found?? {
            let problem = format!(
                "column {column:?} has times before 1970 whose fractions of a second are negative, as pyarrow writes them, which \
                 cannot be read from ORC (write them as Parquet)"
            );
            return Err(SourceError::Malformed { place: file.name.to_string(), problem });
        }
    }
    Ok(())
}

fn has_timestamps(kind: &DataType) -> bool {
    match kind {
        DataType::Struct { children, .. } => children.iter().any(|child| has_timestamps(child.data_type())),
        DataType::List { child, .. } => has_timestamps(child),
        DataType::Map { key, value, .. } => has_timestamps(key) || has_timestamps(value),
        DataType::Union { variants, .. } => variants.iter().any(has_timestamps),
        other => is_timestamp(other),
    }
}

fn is_timestamp(kind: &DataType) -> bool {
    matches!(kind, DataType::Timestamp { .. } | DataType::TimestampWithLocalTimezone { .. })
}
