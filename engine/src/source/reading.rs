//! What reading a split has at hand: the task, where rows go, and how to fail.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::SourceError;
use super::cut::{Extent, Piece};
use super::file::SourceFile;
use super::head::Lead;
use crate::{Error, Result, RowSink, TaskContext};

/// Where the rows of a split go.
#[expect(missing_debug_implementations, reason = "it holds a sink and a closure")]
pub struct Target<'a> {
    pub out: &'a mut dyn RowSink,
    /// Takes records that cannot be rows, as they stand in the file; `None`: such a record fails the flow.
    pub bad: Option<&'a mut dyn FnMut(&[u8]) -> Result<()>>,
    /// Whether these count: a source is read once for its rows and once for its dead letters.
    pub counts: bool,
}

/// A split being read.
pub(super) struct Reading<'a, 't> {
    pub(super) ctx: &'a TaskContext,
    pub(super) step: &'a str,
    pub(super) target: Target<'t>,
    pub(super) lead: Option<&'a Lead>,
}

impl Reading<'_, '_> {
    /// Whether rows are still wanted; to be asked per block.
    pub(super) fn goes_on(&self) -> Result<bool> {
        self.ctx.check_running()?;
        Ok(self.target.out.wants_more())
    }

    /// The longest record that can be taken.
    pub(super) fn limit(&self) -> usize {
        self.ctx.run.memory.limit()
    }

    /// Rows now come from this file; errors tell the line, counted when it is needed.
    pub(super) fn enter(&self, file: &Arc<SourceFile>) {
        let again = Arc::clone(file);
        self.ctx.origin.enter_by_offset(Arc::clone(&file.name), Box::new(move |offset| lines_before(&again, offset)));
    }

    pub(super) fn fail(&self, error: SourceError) -> Error {
        Error::in_step(self.step, error)
    }

    /// The record now read is malformed.
    pub(super) fn malformed(&self, problem: String) -> Error {
        let place = self.ctx.origin.describe().unwrap_or_default();
        self.fail(SourceError::Malformed { place, problem })
    }

    /// Sets a record aside, or fails if that is not asked for.
    pub(super) fn set_aside(&mut self, record: &[u8], problem: impl FnOnce() -> String) -> Result<()> {
        let Some(bad) = &mut self.target.bad else { return Err(self.malformed(problem())) };
        if self.target.counts
            && let Some(count) = self.ctx.run.set_aside.get(self.step)
        {
            count.fetch_add(1, Ordering::Relaxed);
        }
        bad(record)
    }
}

/// Reads the file again up to an offset.
fn lines_before(file: &Arc<SourceFile>, offset: u64) -> Option<u64> {
    if !file.is_repeatable() {
        return None;
    }
    let mut stream = file.stream().ok()?;
    let (mut buffer, mut left, mut lines) = (vec![0; 256 << 10], offset, 0);
    while left > 0 {
        let wanted = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let len = stream.fill(&mut buffer[..wanted]).ok()?;
        if len == 0 {
            return None;
        }
        lines += memchr::memchr_iter(b'\n', &buffer[..len]).count() as u64;
        left -= len as u64;
    }
    Some(lines)
}

impl Piece {
    /// Whether it begins where its file begins.
    pub(super) fn is_first(&self) -> bool {
        match &self.extent {
            Extent::Whole => true,
            Extent::Lines(range) | Extent::Records(range) | Extent::Groups(range) => range.start == 0,
        }
    }
}
