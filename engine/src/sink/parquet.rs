//! Parquet sinks: rows wait in a log until it is known what each column holds in all tasks, then become files of one schema.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use arrow::datatypes::{Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

use super::error::RowError;
use super::files::{Files, Form, Shared};
use super::part::{Part, Staged};
use super::rows::made_names;
use super::{SinkError, parquet::column::Column, parquet::shape::Shape, parquet::shape::Type};
use crate::lock::lock;
use crate::{BatchLog, Error, Result, RowScratch, RowSink, TaskContext, Val, codec};

mod column;
mod shape;

/// Rows of a chunk that is turned into columns at once, unless its bytes are enough before.
const CHUNK_ROWS: usize = 8192;
const CHUNK_BYTES: usize = 4 << 20;

/// Encoded bytes of a row group: large enough for readers to skip by, small enough to be held by each thread.
const ROW_GROUP_BYTES: usize = 64 << 20;

/// The largest field: Arrow counts the bytes of a chunk's column in 31 bits.
const MAX_FIELD: usize = 1 << 30;

/// What the tasks of a Parquet sink made.
#[derive(Debug)]
pub(super) struct Tables {
    fields: Option<Vec<String>>,
    finished: Mutex<BTreeMap<usize, Table>>,
}

/// The rows of one task and what its columns hold.
#[derive(Debug)]
struct Table {
    log: BatchLog,
    shapes: Vec<Shape>,
}

/// Names and types of all columns.
#[derive(Debug)]
struct Columns {
    schema: Arc<Schema>,
    types: Vec<Type>,
}

impl Tables {
    pub(super) fn new(fields: Option<Vec<String>>) -> Tables {
        Tables { fields, finished: Mutex::default() }
    }

    pub(super) fn prepare(&self, shared: &Shared) -> Result<Vec<Staged>> {
        let finished = std::mem::take(&mut *lock(&self.finished));
        let columns = self.columns(&finished).map_err(|error| shared.fail(error))?;
        if shared.ordered || finished.is_empty() {
            return Ok(vec![write_file(shared, &columns, 0, finished.into_values())?]);
        }
        let work = Mutex::new(finished);
        let next = || lock(&work).pop_first();
        let write_some = || {
            let mut staged = Vec::new();
            while let Some((task, table)) = next() {
                staged.push(write_file(shared, &columns, task, [table])?);
            }
            Ok(staged)
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..shared.run.threads.max(1)).map(|_| scope.spawn(write_some)).collect();
            let mut all = Vec::new();
            for thread in threads {
                all.extend(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
            }
            Ok(all)
        })
    }

    /// One schema for all files.
    fn columns(&self, finished: &BTreeMap<usize, Table>) -> Result<Columns, SinkError> {
        let mut shapes: Vec<Shape> = Vec::new();
        for table in finished.values() {
            shapes.resize(shapes.len().max(table.shapes.len()), Shape::default());
            shapes.iter_mut().zip(&table.shapes).for_each(|(shape, other)| shape.merge(other));
        }
        // A file without columns is none to most readers.
        let names = self.fields.clone().unwrap_or_else(|| made_names(shapes.len().max(1)));
        shapes.resize(names.len(), Shape::default());
        let types = shapes
            .iter()
            .zip(&names)
            .map(|(shape, name)| shape.resolve().map_err(|(a, b)| SinkError::Mixed { column: name.clone(), a, b }));
        let types: Vec<Type> = types.collect::<Result<_, _>>()?;
        let fields: Vec<Field> = types.iter().zip(&names).map(|(kind, name)| Field::new(name, kind.arrow(), true)).collect();
        Ok(Columns { schema: Arc::new(Schema::new(fields)), types })
    }
}

/// Writes the rows of some logs into one file.
fn write_file(shared: &Shared, columns: &Columns, number: usize, tables: impl IntoIterator<Item = Table>) -> Result<Staged> {
    let part = shared.place.create(&shared.name(number)).map_err(|error| shared.fail(error))?;
    let mut file = TableFile::begin(shared, columns, part)?;
    for table in tables {
        let mut reader = table.log.reader();
        while let Some(batch) = reader.next_batch()? {
            if shared.run.stop.load(std::sync::atomic::Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            codec::for_each_row(&batch.bytes, &mut RowScratch::default(), |row| file.push(row))?;
        }
    }
    file.finish()
}

/// A Parquet file while it is written.
struct TableFile<'a> {
    shared: &'a Shared,
    columns: &'a Columns,
    name: String,
    writer: ArrowWriter<Part>,
    chunk: Vec<Column>,
    rows: usize,
    bytes: usize,
}

impl<'a> TableFile<'a> {
    fn begin(shared: &'a Shared, columns: &'a Columns, part: Part) -> Result<TableFile<'a>> {
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_max_row_group_bytes(Some(ROW_GROUP_BYTES.min(shared.run.task_budget())))
            .build();
        let name = part.name();
        let writer = ArrowWriter::try_new(part, Arc::clone(&columns.schema), Some(properties))
            .map_err(|source| shared.fail(SinkError::Parquet { name: name.clone(), source }))?;
        let chunk = columns.types.iter().map(Column::new).collect();
        Ok(TableFile { shared, columns, name, writer, chunk, rows: 0, bytes: 0 })
    }

    fn push(&mut self, row: &[Val<'_>]) -> Result<()> {
        for (at, column) in self.chunk.iter_mut().enumerate() {
            let value = row.get(at).copied().unwrap_or(Val::Nil);
            let pushed = size(value).map_or(Err(RowError::TooLarge { field: at + 1 }), |bytes| {
                self.bytes += bytes;
                column.push(value).map_err(|source| RowError::Json { field: at + 1, source })
            });
            pushed.map_err(|error| Error::Step {
                step: self.shared.step.clone(),
                origin: None,
                row: Some(codec::preview(row)),
                source: Box::new(error),
            })?;
        }
        self.rows += 1;
        if self.rows >= CHUNK_ROWS || self.bytes >= CHUNK_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        let arrays = self.chunk.iter_mut().map(Column::take).collect();
        let options = arrow::record_batch::RecordBatchOptions::new().with_row_count(Some(self.rows));
        let batch = arrow::record_batch::RecordBatch::try_new_with_options(Arc::clone(&self.columns.schema), arrays, &options);
        (self.rows, self.bytes) = (0, 0);
        batch.map_err(ParquetError::from).and_then(|batch| self.writer.write(&batch)).map_err(|source| self.broken(source))
    }

    fn finish(mut self) -> Result<Staged> {
        if self.rows > 0 {
            self.flush()?;
        }
        let (shared, name) = (self.shared, self.name);
        let part = self.writer.into_inner().map_err(|source| shared.fail(SinkError::Parquet { name, source }))?;
        shared.count(part.len().map_err(|error| shared.fail(error))?);
        part.finish().map_err(|error| shared.fail(error))
    }

    fn broken(&self, source: ParquetError) -> Error {
        self.shared.fail(SinkError::Parquet { name: self.name.clone(), source })
    }
}

/// The bytes of a value, if a column can hold them.
fn size(value: Val<'_>) -> Option<usize> {
    let bytes = match value {
        Val::Nil | Val::Bool(_) | Val::Int(_) | Val::Float(_) => 8,
        Val::Str(s) | Val::List(s) | Val::Map(s) => s.len(),
    };
    (bytes <= MAX_FIELD).then_some(bytes)
}

/// The end of one task's chain.
pub(super) struct Writer {
    files: Arc<Files>,
    task: usize,
    ctx: Rc<TaskContext>,
    table: Table,
    limit: usize,
}

impl Writer {
    pub(super) fn new(files: &Arc<Files>, task: usize, ctx: &Rc<TaskContext>) -> Writer {
        let log = BatchLog::new(&ctx.run.memory, &ctx.run.scratch).of_step(&files.shared().step);
        let table = Table { log, shapes: Vec::new() };
        let limit = match files.form() {
            Form::Tables(Tables { fields: Some(fields), .. }) => fields.len(),
            Form::Tables(_) | Form::Lines(_) => usize::MAX,
        };
        Writer { files: Arc::clone(files), task, ctx: Rc::clone(ctx), table, limit }
    }
}

impl RowSink for Writer {
    fn push(&mut self, row: &[Val<'_>]) -> Result<()> {
        if row.len() > self.limit {
            let error = RowError::Unnamed { fields: row.len(), names: self.limit };
            return Err(self.ctx.fail(&self.files.shared().step, Some(row), error));
        }
        if row.len() > self.table.shapes.len() {
            self.table.shapes.resize(row.len(), Shape::default());
        }
        for (shape, value) in self.table.shapes.iter_mut().zip(row) {
            shape.see(*value)?;
        }
        self.table.log.push(row)
    }

    fn finish(&mut self) -> Result<()> {
        let empty = BatchLog::new(&self.ctx.run.memory, &self.ctx.run.scratch);
        let mut table =
            Table { log: std::mem::replace(&mut self.table.log, empty), shapes: std::mem::take(&mut self.table.shapes) };
        table.log.seal()?;
        if let (Form::Tables(tables), true) = (self.files.form(), table.log.rows() > 0) {
            lock(&tables.finished).insert(self.task, table);
        }
        Ok(())
    }
}
