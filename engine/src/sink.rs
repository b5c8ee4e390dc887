//! Where rows go: standard output, or files that appear whole at the end. Nothing of a sink that did not commit stays.
//!
//! ```text
//! Staging::open ─► writer (one per task, any thread) ─► ... ─► prepare (all sinks) ─► commit (all sinks)
//!     checks            stages rows                           the last work that may fail    renames, `_SUCCESS`
//! ```

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use crate::{Error, Result, RowSink, RunContext, TaskContext};

mod change;
mod directory;
mod error;
mod files;
mod lines;
mod made;
pub mod manifest;
mod objects;
mod parquet;
mod part;
mod place;
mod rows;
mod stdout;
mod swap;

#[doc(hidden)]
pub use change::{interrupted_after, killed_after};
pub use error::SinkError;
pub(crate) use rows::RowForm;
pub(crate) use stdout::LineFormat;
#[doc(hidden)]
pub use swap::without_exchange;

use files::Files;
use stdout::Stdout;

/// One write step of a run: what its tasks stage here becomes visible at `commit`; dropped before, all of it is removed.
///
/// A step that stands in several places of a plan (its copies) shares one staging; its tasks need numbers of their own.
#[derive(Debug)]
pub struct Staging {
    step: String,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Stdout(Arc<Stdout>),
    Files(Arc<Files>),
}

impl Staging {
    /// Opens a sink before the first task runs; `ordered`: the tasks' rows are one sequence, in the order of their numbers.
    ///
    /// # Errors
    /// If the sink cannot take rows: something is there already, the place cannot be written, the format is none.
    pub fn open(step: &str, sink: &plan::Sink, run: &Arc<RunContext>, ordered: bool) -> Result<Staging> {
        Staging::open_as(step, sink, run, ordered, &place::unique())
    }

    /// As `open`; `tag` (fit for a file name) names what is staged, so that it can be found after this process died.
    ///
    /// # Errors
    /// As for `open`.
    pub fn open_as(step: &str, sink: &plan::Sink, run: &Arc<RunContext>, ordered: bool, tag: &str) -> Result<Staging> {
        let kind = match sink {
            plan::Sink::Stdout { format } => {
                Stdout::open(step, format.as_deref(), run, ordered).map(|stdout| Kind::Stdout(Arc::new(stdout)))
            }
            plan::Sink::Files { format, path, mode, fields } => {
                let shape = files::Shape { format: format.clone(), fields: fields.clone(), ordered };
                Files::open(step, shape, path, *mode, run, tag).map(|files| Kind::Files(Arc::new(files)))
            }
        };
        Ok(Staging { step: step.to_owned(), kind: kind.map_err(|error| Error::in_step(step, error))? })
    }

    /// The end of a task's chain. Task numbers need not be dense, but the rows of an ordered stdout flow best if they are,
    /// from 0.
    ///
    /// # Errors
    /// If nothing can be staged.
    pub fn writer(&self, task: usize, ctx: &Rc<TaskContext>) -> Result<Box<dyn RowSink>> {
        match &self.kind {
            Kind::Stdout(stdout) => Ok(Box::new(stdout::Writer::new(Arc::clone(stdout), task, Rc::clone(ctx)))),
            Kind::Files(files) => files::writer(files, task, ctx),
        }
    }

    /// Does all the work that is left but for making it visible; all sinks of a run prepare before the first one commits.
    /// All writers must have finished.
    ///
    /// # Errors
    /// Whatever went wrong; nothing is visible then.
    pub fn prepare(&self) -> Result<()> {
        match &self.kind {
            Kind::Stdout(stdout) => stdout.flush(),
            Kind::Files(files) => files.prepare(),
        }
    }

    /// Makes the rows visible; prepares first where that was not done.
    ///
    /// # Errors
    /// If that fails; what was there before is put back where the store can.
    pub fn commit(self) -> Result<()> {
        self.prepare()?;
        match &self.kind {
            Kind::Stdout(_) => Ok(()),
            Kind::Files(files) => files.commit().map_err(|error| Error::in_step(&self.step, error)),
        }
    }

    /// Prepares, and leaves what is staged to a commit by anyone, anywhere, at any later time. For sinks that make files.
    ///
    /// # Errors
    /// As for `prepare`; nothing stays then.
    pub fn hand_over(self) -> Result<plan::task::StagedSink> {
        self.prepare()?;
        let bytes = self.bytes();
        let Kind::Files(files) = self.kind else {
            return Err(Error::Plan(format!("step {:?} makes no files", self.step)));
        };
        let files = Arc::into_inner(files).ok_or_else(|| Error::Plan("a writer of a sink has not finished".to_owned()))?;
        let (place, count) = files.hand_over().map_err(|error| Error::in_step(&self.step, error))?;
        place.packed(count, bytes)
    }

    /// The directory that it writes to, without links, if it writes to one.
    #[must_use]
    pub fn directory(&self) -> Option<PathBuf> {
        match &self.kind {
            Kind::Stdout(_) => None,
            Kind::Files(files) => files.shared().place.directory(),
        }
    }

    /// Bytes of text or files written so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        match &self.kind {
            Kind::Stdout(stdout) => stdout.bytes(),
            Kind::Files(files) => files.bytes(),
        }
    }
}

/// Fails where two sinks of a run write to one directory, or one inside of another's, which links can hide from the flow's check.
pub(crate) fn refuse_shared<'s>(sinks: impl Iterator<Item = (&'s str, PathBuf)>) -> Result<()> {
    let mut taken: Vec<(&str, PathBuf)> = Vec::new();
    for (step, path) in sinks {
        let meets = |(_, other): &&(&str, PathBuf)| path.starts_with(other) || other.starts_with(&path);
        if let Some((other, _)) = taken.iter().find(meets) {
            let error = SinkError::Shared { place: path.display().to_string(), other: (*other).to_owned() };
            return Err(Error::in_step(step, error));
        }
        taken.push((step, path));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
