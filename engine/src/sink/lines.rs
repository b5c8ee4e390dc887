//! Sinks whose files are lines: text, csv, tsv, json.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use super::SinkError;
use super::error::on;
use super::files::{Files, Form, Shared};
use super::part::{Part, Staged};
use super::place::Place;
use super::rows::Encoder;
use crate::lock::lock;
use crate::{Result, RowSink, TaskContext, Val};

/// How many bytes a task collects before it writes.
const BLOCK: usize = 256 << 10;

/// What the tasks of a sink of lines wrote.
#[derive(Debug)]
pub(super) struct Lines {
    encoder: Encoder,
    finished: Mutex<BTreeMap<usize, Finished>>,
}

/// What one task wrote; tasks without rows leave nothing.
#[derive(Debug)]
struct Finished {
    output: Output,
    /// Of a header made from the first row.
    made_width: Option<usize>,
}

#[derive(Debug)]
enum Output {
    /// A file of its own, with a header.
    Whole(Staged),
    /// A piece of the one file of an ordered sink, with a header only if it is that of task 0.
    Piece(PathBuf),
}

impl Lines {
    pub(super) fn new(encoder: Encoder) -> Lines {
        Lines { encoder, finished: Mutex::default() }
    }

    fn add(&self, task: usize, finished: Finished) {
        lock(&self.finished).insert(task, finished);
    }

    pub(super) fn prepare(&self, shared: &Shared) -> Result<Vec<Staged>, SinkError> {
        let finished = std::mem::take(&mut *lock(&self.finished));
        check_widths(finished.values())?;
        let mut encoder = self.encoder.clone();
        if let Some(width) = finished.values().find_map(|finished| finished.made_width) {
            encoder.begin(width);
        }
        let (mut whole, mut pieces) = (Vec::new(), Vec::new());
        for (task, finished) in finished {
            match finished.output {
                Output::Whole(staged) => whole.push(staged),
                Output::Piece(path) => pieces.push((task, path)),
            }
        }
        if whole.is_empty() {
            whole.push(join(shared, &encoder, pieces)?);
        }
        Ok(whole)
    }
}

fn check_widths<'a>(finished: impl Iterator<Item = &'a Finished>) -> Result<(), SinkError> {
    let mut widths = finished.filter_map(|finished| finished.made_width);
    let Some(a) = widths.next() else { return Ok(()) };
    match widths.find(|b| *b != a) {
        Some(b) => Err(SinkError::Widths { a, b }),
        None => Ok(()),
    }
}

/// Makes one file of pieces, in order; an empty one, but for its header, of none.
fn join(shared: &Shared, encoder: &Encoder, pieces: Vec<(usize, PathBuf)>) -> Result<Staged, SinkError> {
    let mut header = Vec::new();
    encoder.write_header(&mut header)?;
    let mut pieces = pieces.into_iter().peekable();
    let has_header = pieces.peek().is_some_and(|(task, _)| *task == 0) || header.is_empty();
    let name = shared.name(0);
    let mut file = match (&shared.place, pieces.peek()) {
        (Place::Directory(directory), Some((_, first))) if has_header => {
            let file = Part::adopt(first, directory.staging().join(&name))?;
            pieces.next();
            file
        }
        _ => shared.place.create(&name)?,
    };
    if !has_header {
        file.append(&header)?;
    }
    for (_, piece) in pieces {
        file.append_file(&piece)?;
        std::fs::remove_file(&piece).map_err(on("remove", &piece))?;
    }
    file.finish()
}

/// The end of one task's chain.
pub(super) struct Writer {
    files: Arc<Files>,
    task: usize,
    ctx: Rc<TaskContext>,
    encoder: Encoder,
    block: Vec<u8>,
    /// From the first row on.
    part: Option<Part>,
}

impl Writer {
    pub(super) fn new(files: &Arc<Files>, lines: &Lines, task: usize, ctx: &Rc<TaskContext>) -> Writer {
        let (files, ctx, encoder) = (Arc::clone(files), Rc::clone(ctx), lines.encoder.clone());
        Writer { files, task, ctx, encoder, block: Vec::new(), part: None }
    }

    fn begin(&mut self, row: &[Val<'_>]) -> Result<()> {
        self.encoder.begin(row.len());
        let shared = self.files.shared();
        self.part = Some(create(shared, self.task).map_err(|error| shared.fail(error))?);
        if !shared.ordered || self.task == 0 {
            self.encoder.write_header(&mut self.block).map_err(|error| shared.fail(error))?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.ctx.check_running()?;
        let shared = self.files.shared();
        if let Some(part) = &mut self.part {
            part.append(&self.block).map_err(|error| shared.fail(error))?;
        }
        shared.count(self.block.len());
        self.block.clear();
        Ok(())
    }
}

fn create(shared: &Shared, task: usize) -> Result<Part, SinkError> {
    if shared.ordered {
        return Part::create(shared.place.scratch().join(format!(".rows-{task}")));
    }
    shared.place.create(&shared.name(task))
}

impl RowSink for Writer {
    fn push(&mut self, row: &[Val<'_>]) -> Result<()> {
        if self.part.is_none() {
            self.begin(row)?;
        }
        self.encoder.write(&mut self.block, row).map_err(|error| self.ctx.fail(&self.files.shared().step, Some(row), error))?;
        if self.block.len() >= BLOCK { self.flush() } else { Ok(()) }
    }

    fn finish(&mut self) -> Result<()> {
        self.flush()?;
        let Some(part) = self.part.take() else { return Ok(()) };
        let shared = self.files.shared();
        let output = match part {
            Part::File { path, .. } if shared.ordered => Output::Piece(path),
            part => Output::Whole(part.finish().map_err(|error| shared.fail(error))?),
        };
        if let Form::Lines(lines) = self.files.form() {
            lines.add(self.task, Finished { output, made_width: self.encoder.made_width() });
        }
        Ok(())
    }
}
