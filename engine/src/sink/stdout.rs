//! `write.stdout`: whole lines, in blocks, under one lock; in the order of the tasks where the rows are a sequence.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use super::SinkError;
use crate::lock::lock;
use crate::printf::{Format, MisfitError};
use crate::{Batch, BatchLog, Error, Result, RowSink, RunContext, TaskContext, Val, text};

/// How many bytes a task collects before it takes the lock.
const BLOCK: usize = 64 << 10;

/// What a block of whole lines is written to.
type Destination = Box<dyn FnMut(&[u8]) -> io::Result<()> + Send>;

/// How a row becomes a line: by C printf verbs, or its fields with tabs between.
#[derive(Debug)]
pub(crate) struct LineFormat(Option<Format>);

impl LineFormat {
    /// Of `write.stdout.format`.
    pub(crate) fn new(format: Option<&str>) -> Result<LineFormat, SinkError> {
        Ok(LineFormat(format.map(Format::parse).transpose()?))
    }

    /// Appends a row's line, with its end.
    pub(crate) fn write(&self, out: &mut Vec<u8>, row: &[Val<'_>]) -> Result<(), MisfitError> {
        match &self.0 {
            Some(format) => format.write(out, row)?,
            None => text::write_row(out, row),
        }
        out.push(b'\n');
        Ok(())
    }
}

/// Standard output as the sink of one step.
pub(super) struct Stdout {
    step: String,
    format: LineFormat,
    ordered: bool,
    run: Arc<RunContext>,
    bytes: AtomicU64,
    output: Mutex<Output>,
}

struct Output {
    destination: Destination,
    /// The task whose lines come next, where they are a sequence.
    turn: usize,
    /// What tasks wrote that finished before their turn.
    waiting: BTreeMap<usize, BatchLog>,
}

impl Stdout {
    pub(super) fn open(step: &str, format: Option<&str>, run: &Arc<RunContext>, ordered: bool) -> Result<Stdout, SinkError> {
        // Its lock is the process's, so blocks of several sinks do not mix; whole lines pass through its buffer at once.
        let write = |block: &[u8]| {
            let mut stdout = io::stdout().lock();
            stdout.write_all(block)?;
            stdout.flush()
        };
        Stdout::with(step, format, run, ordered, Box::new(write))
    }

    pub(super) fn with(
        step: &str,
        format: Option<&str>,
        run: &Arc<RunContext>,
        ordered: bool,
        destination: Destination,
    ) -> Result<Stdout, SinkError> {
        Ok(Stdout {
            step: step.to_owned(),
            format: LineFormat::new(format)?,
            ordered,
            run: Arc::clone(run),
            bytes: AtomicU64::new(0),
            output: Mutex::new(Output { destination, turn: 0, waiting: BTreeMap::new() }),
        })
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Writes what still waits, in order: only where task numbers have gaps.
    pub(super) fn flush(&self) -> Result<()> {
        let mut output = self.lock();
        while let Some((_, log)) = output.waiting.pop_first() {
            output.write_log(&log)?;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Output> {
        lock(&self.output)
    }

    fn new_log(&self) -> BatchLog {
        BatchLog::new(&self.run.memory, &self.run.scratch).of_step(&self.step)
    }
}

impl fmt::Debug for Stdout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stdout").field("step", &self.step).field("ordered", &self.ordered).finish_non_exhaustive()
    }
}

impl Output {
    fn write(&mut self, block: &[u8]) -> Result<()> {
        (self.destination)(block).map_err(Error::Stdout)
    }

    /// Writes a sealed log, each of whose batches is a block of lines.
    fn write_log(&mut self, log: &BatchLog) -> Result<()> {
        let mut reader = log.reader();
        while let Some(block) = reader.next_batch()? {
            self.write(&block.bytes)?;
        }
        Ok(())
    }

    /// The turn passes on to the first task that has not finished.
    fn pass_turn(&mut self) -> Result<()> {
        self.turn += 1;
        while let Some(log) = self.waiting.remove(&self.turn) {
            self.write_log(&log)?;
            self.turn += 1;
        }
        Ok(())
    }
}

/// The end of one task's chain.
pub(super) struct Writer {
    stdout: Arc<Stdout>,
    task: usize,
    ctx: Rc<TaskContext>,
    block: Vec<u8>,
    /// Blocks of lines whose turn has not come.
    early: Option<BatchLog>,
}

impl Writer {
    pub(super) fn new(stdout: Arc<Stdout>, task: usize, ctx: Rc<TaskContext>) -> Writer {
        Writer { stdout, task, ctx, block: Vec::new(), early: None }
    }

    fn flush(&mut self) -> Result<()> {
        self.stdout.bytes.fetch_add(self.block.len() as u64, Ordering::Relaxed);
        let mut output = self.stdout.lock();
        if self.stdout.ordered && output.turn != self.task {
            drop(output);
            return self.keep();
        }
        if let Some(mut log) = self.early.take() {
            log.seal()?;
            output.write_log(&log)?;
        }
        output.write(&self.block)?;
        self.block.clear();
        Ok(())
    }

    fn keep(&mut self) -> Result<()> {
        if !self.block.is_empty() {
            let batch = Batch { rows: 1, bytes: std::mem::take(&mut self.block) };
            self.early.get_or_insert_with(|| self.stdout.new_log()).append(batch)?;
        }
        Ok(())
    }
}

impl RowSink for Writer {
    fn push(&mut self, row: &[Val<'_>]) -> Result<()> {
        self.stdout.format.write(&mut self.block, row).map_err(|error| self.ctx.fail(&self.stdout.step, Some(row), error))?;
        if self.block.len() >= BLOCK { self.flush() } else { Ok(()) }
    }

    fn finish(&mut self) -> Result<()> {
        self.flush()?;
        if !self.stdout.ordered {
            return Ok(());
        }
        let mut output = self.stdout.lock();
        if output.turn == self.task {
            // The turn may have come after `flush` looked.
            if let Some(mut log) = self.early.take() {
                log.seal()?;
                output.write_log(&log)?;
            }
            return output.pass_turn();
        }
        if let Some(mut log) = self.early.take() {
            log.seal()?;
            output.waiting.insert(self.task, log);
        } else {
            output.waiting.insert(self.task, self.stdout.new_log());
        }
        Ok(())
    }
}
