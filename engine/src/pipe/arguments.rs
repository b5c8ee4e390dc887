//! `pipeAsArgs`: one shell per row, the fields as its real arguments; never pasted into the command's text.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

use super::child::Input;
use super::{Lines, PipeError, Shell};
use crate::aside::Aside;
use crate::{BatchLog, Result, RowScratch, RowSink, Val, text};

/// A step that runs `command` in a shell of its own for each row, with the fields as `$1`, `$2`, ...; each line that it writes
/// is a row of strings. Where bad rows are set aside, nothing of a shell that fails comes out.
pub fn pipe_as_args(step: &str, command: &str, aside: Aside, out: Box<dyn RowSink>) -> Box<dyn RowSink> {
    let shell = Shell { step: step.to_owned(), command: command.to_owned(), ctx: Rc::clone(&aside.ctx) };
    let (fields, ends) = (Vec::new(), Vec::new());
    if aside.fails() {
        return Box::new(PipeAsArgs { shell, fields, ends, lines: Lines::new(out), aside, held: None });
    }
    let log: Rc<RefCell<Option<BatchLog>>> = Rc::default();
    let (step, memory, scratch) = (step.to_owned(), aside.ctx.run.memory.clone(), aside.ctx.run.scratch.clone());
    let new_log = Box::new(move || BatchLog::new(&memory, &scratch).of_step(&step));
    let lines = Lines::new(Box::new(Hold { log: Rc::clone(&log), new_log }));
    Box::new(PipeAsArgs { shell, fields, ends, lines, aside, held: Some(Held { log, out }) })
}

struct PipeAsArgs {
    shell: Shell,
    /// The fields' texts, one behind the other, and where each ends.
    fields: Vec<u8>,
    ends: Vec<usize>,
    lines: Lines,
    aside: Aside,
    /// Where the lines of a shell wait for its end; `None`: they are passed on at once.
    held: Option<Held>,
}

/// What a shell wrote, and where that goes if it ends well.
struct Held {
    log: Rc<RefCell<Option<BatchLog>>>,
    out: Box<dyn RowSink>,
}

/// Takes the rows of one shell.
struct Hold {
    log: Rc<RefCell<Option<BatchLog>>>,
    new_log: Box<dyn Fn() -> BatchLog>,
}

impl RowSink for Hold {
    fn push(&mut self, row: &[Val<'_>]) -> Result<()> {
        self.log.borrow_mut().get_or_insert_with(&self.new_log).push(row)
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}

impl Held {
    fn pass_on(&mut self) -> Result<()> {
        let Some(mut log) = self.log.borrow_mut().take() else { return Ok(()) };
        log.seal()?;
        let (mut reader, mut scratch) = (log.reader(), RowScratch::default());
        while let Some(batch) = reader.next_batch()? {
            batch.for_each(&mut scratch, |row| self.out.push(row))?;
        }
        Ok(())
    }
}

impl PipeAsArgs {
    fn set_fields(&mut self, row: &[Val<'_>]) -> Result<(), PipeError> {
        self.fields.clear();
        self.ends.clear();
        for (at, value) in row.iter().enumerate() {
            let start = self.fields.len();
            text::write_field(&mut self.fields, *value);
            if memchr::memchr(0, &self.fields[start..]).is_some() {
                return Err(PipeError::ZeroByte { field: at + 1 });
            }
            self.ends.push(self.fields.len());
        }
        Ok(())
    }

    /// Runs the shell; what was wrong with the row, if anything.
    fn run(&mut self, row: &[Val<'_>]) -> Result<Option<PipeError>> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let arguments: Vec<&OsStr> =
            starts.zip(&self.ends).map(|(start, end)| OsStr::from_bytes(&self.fields[start..*end])).collect();
        let mut child = match self.shell.start(&arguments, Input::Empty) {
            Ok(child) => child,
            // The row is longer than what the system takes as arguments; anything else is not the row's fault.
            Err(PipeError::Start { source, .. }) if source.raw_os_error() == Some(libc::E2BIG) => {
                return Ok(Some(PipeError::Start { command: self.shell.command.clone(), source }));
            }
            Err(error) => return Err(self.shell.fail(Some(row), error)),
        };
        if self.shell.drain(&mut child, &mut self.lines)? { self.shell.end(&mut child) } else { Ok(None) }
    }

    fn out(&self) -> &dyn RowSink {
        self.held.as_ref().map_or(&*self.lines.out, |held| &*held.out)
    }
}

impl RowSink for PipeAsArgs {
    fn push(&mut self, row: &[Val<'_>]) -> Result<()> {
        if !self.wants_more() {
            return Ok(());
        }
        self.shell.ctx.check_running()?;
        let bad = match self.set_fields(row) {
            Ok(()) => self.run(row)?,
            Err(error) => Some(error),
        };
        match (bad, &mut self.held) {
            (None, None) => Ok(()),
            (None, Some(held)) => held.pass_on(),
            (Some(error), held) => {
                if let Some(held) = held {
                    held.log.borrow_mut().take();
                }
                self.aside.row(row, error)
            }
        }
    }

    fn finish(&mut self) -> Result<()> {
        match &mut self.held {
            None => self.lines.out.finish()?,
            Some(held) => held.out.finish()?,
        }
        self.aside.finish()
    }

    fn wants_more(&self) -> bool {
        self.out().wants_more() || self.aside.wants_more()
    }
}
