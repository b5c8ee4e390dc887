//! A file sink of one step: what its tasks staged, and the way from there to the commit.

use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::lines::Lines;
use super::parquet::Tables;
use super::part::Staged;
use super::place::Place;
use super::rows::Encoder;
use super::{SinkError, lines, manifest, parquet};
use crate::lock::lock;
use crate::{Error, Result, RowSink, RunContext, TaskContext};

/// What kind of files a sink makes.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) format: plan::SinkFormat,
    pub(super) fields: Option<Vec<String>>,
    /// One file, in the order of the tasks, instead of a file per task.
    pub(super) ordered: bool,
}

/// A file sink.
#[derive(Debug)]
pub(super) struct Files {
    shared: Shared,
    form: Form,
    prepared: Mutex<Option<Vec<Staged>>>,
}

/// What all formats need.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) step: String,
    pub(super) run: Arc<RunContext>,
    pub(super) place: Place,
    pub(super) ordered: bool,
    pub(super) ending: &'static str,
    bytes: AtomicU64,
}

#[derive(Debug)]
pub(super) enum Form {
    Lines(Lines),
    Tables(Tables),
}

impl Files {
    pub(super) fn open(
        step: &str,
        shape: Shape,
        path: &str,
        mode: plan::Mode,
        run: &Arc<RunContext>,
        tag: &str,
    ) -> Result<Files, SinkError> {
        let form = match Encoder::new(&shape.format, shape.fields.as_ref()) {
            Some(encoder) => Form::Lines(Lines::new(encoder)),
            None => Form::Tables(Tables::new(shape.fields)),
        };
        let shared = Shared {
            step: step.to_owned(),
            run: Arc::clone(run),
            place: Place::open(path, mode, run, tag)?,
            ordered: shape.ordered,
            ending: ending(&shape.format),
            bytes: AtomicU64::new(0),
        };
        Ok(Files { shared, form, prepared: Mutex::default() })
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(super) fn form(&self) -> &Form {
        &self.form
    }

    pub(super) fn bytes(&self) -> u64 {
        self.shared.bytes.load(Ordering::Relaxed)
    }

    /// Joins, encodes and flushes what the tasks left.
    pub(super) fn prepare(&self) -> Result<()> {
        let mut prepared = lock(&self.prepared);
        if prepared.is_none() {
            *prepared = Some(match &self.form {
                Form::Lines(lines) => lines.prepare(&self.shared).map_err(|error| Error::in_step(&self.shared.step, error))?,
                Form::Tables(tables) => tables.prepare(&self.shared)?,
            });
            self.shared.place.check().map_err(|error| Error::in_step(&self.shared.step, error))?;
        }
        Ok(())
    }

    /// Leaves what was prepared to whoever commits it, and says how many files it is.
    pub(super) fn hand_over(mut self) -> Result<(manifest::Place, usize), SinkError> {
        let prepared = lock(&self.prepared).take().unwrap_or_default();
        let files = prepared.len();
        Ok((self.shared.place.hand_over(prepared)?, files))
    }

    /// Makes what was prepared visible.
    pub(super) fn commit(&self) -> Result<(), SinkError> {
        let prepared = lock(&self.prepared).take();
        self.shared.place.commit(prepared.unwrap_or_default())
    }
}

impl Shared {
    /// Counts bytes written.
    pub(super) fn count(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// The name of a task's file; an ordered sink has only that of task 0.
    pub(super) fn name(&self, task: usize) -> String {
        self.place.name(task, self.ending)
    }

    /// An error of the step, without a row.
    pub(super) fn fail(&self, error: impl Into<SinkError>) -> Error {
        Error::in_step(&self.step, error.into())
    }
}

/// The end of a task's chain.
pub(super) fn writer(files: &Arc<Files>, task: usize, ctx: &Rc<TaskContext>) -> Result<Box<dyn RowSink>> {
    Ok(match &files.form {
        Form::Lines(lines) => Box::new(lines::Writer::new(files, lines, task, ctx)),
        Form::Tables(_) => Box::new(parquet::Writer::new(files, task, ctx)),
    })
}

fn ending(format: &plan::SinkFormat) -> &'static str {
    match format {
        plan::SinkFormat::Text => "txt",
        plan::SinkFormat::Csv { .. } => "csv",
        plan::SinkFormat::Tsv { .. } => "tsv",
        plan::SinkFormat::Json => "json",
        plan::SinkFormat::Parquet => "parquet",
    }
}
