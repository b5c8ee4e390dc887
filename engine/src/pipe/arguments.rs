//! `pipeAsArgs`: one shell per row, the fields as its real arguments; never pasted into the command's text.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

use super::child::Input;
use super::{Lines, PipeError, Shell};
use crate::{Result, RowSink, TaskContext, Val, text};

/// A step that runs `command` in a shell of its own for each row, with the fields as `$1`, `$2`, ...; each line that it writes
/// is a row of strings.
///
/// # Errors
/// None yet; they come with the rows.
pub fn pipe_as_args(step: &str, command: &str, ctx: &Rc<TaskContext>, out: Box<dyn RowSink>) -> Result<Box<dyn RowSink>> {
    let shell = Shell { step: step.to_owned(), command: command.to_owned(), ctx: Rc::clone(ctx) };
    Ok(Box::new(PipeAsArgs { shell, fields: Vec::new(), ends: Vec::new(), lines: Lines::new(out) }))
}

struct PipeAsArgs {
    shell: Shell,
    /// The fields' texts, one behind the other, and where each ends.
    fields: Vec<u8>,
    ends: Vec<usize>,
    lines: Lines,
}

impl PipeAsArgs {
    fn set_fields(&mut self, row: &[Val<'_>]) -> Result<()> {
        self.fields.clear();
        self.ends.clear();
        for (at, value) in row.iter().enumerate() {
            let start = self.fields.len();
            text::write_field(&mut self.fields, *value);
            if memchr::memchr(0, &self.fields[start..]).is_some() {
                return Err(self.shell.fail(Some(row), PipeError::ZeroByte { field: at + 1 }));
            }
            self.ends.push(self.fields.len());
        }
        Ok(())
    }

    fn run(&mut self, row: &[Val<'_>]) -> Result<()> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let arguments: Vec<&OsStr> =
            starts.zip(&self.ends).map(|(start, end)| OsStr::from_bytes(&self.fields[start..*end])).collect();
        let mut child = self.shell.start(&arguments, Input::Empty)?;
        if self.shell.drain(&mut child, &mut self.lines)? {
            self.shell.end(&mut child, Some(row))?;
        }
        Ok(())
    }
}

impl RowSink for PipeAsArgs {
    fn push(&mut self, row: &[Val<'_>]) -> Result<()> {
        if !self.lines.out.wants_more() {
            return Ok(());
        }
        self.shell.ctx.check_running()?;
        self.set_fields(row)?;
        self.run(row)
    }

    fn finish(&mut self) -> Result<()> {
        self.lines.out.finish()
    }

    fn wants_more(&self) -> bool {
        self.lines.out.wants_more()
    }
}
