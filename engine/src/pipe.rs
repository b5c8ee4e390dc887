//! Unix pipes as steps: one shell per partition, or one per row. No child outlives its task, whatever happens.

use std::cell::RefCell;
use std::process::ExitStatus;
use std::rc::Rc;

use thiserror::Error;

use crate::lull::Lull;
use crate::{Result, RowScratch, RowSink, TaskContext, Val, text};

mod arguments;
mod child;
pub mod descendants;
mod siblings;
mod system;

use child::Child;

pub use arguments::pipe_as_args;
pub(crate) use siblings::Siblings;

/// Kills a process group led by a child that was not yet waited for.
pub(crate) fn kill_group(leader: u32) {
    system::signal_group(leader, libc::SIGKILL);
}

/// How many bytes of rows are written to a child at once: what a pipe holds.
const BLOCK: usize = 64 << 10;

/// Why a pipe failed.
#[derive(Debug, Error)]
pub enum PipeError {
    /// Rows are lines there: two would come out of one.
    #[error("field {field} has a line end, which a pipe cannot carry")]
    LineEnd {
        /// 1-based.
        field: usize,
    },
    /// Arguments are C strings.
    #[error("field {field} has a zero byte, which a command's argument cannot carry")]
    ZeroByte {
        /// 1-based.
        field: usize,
    },
    #[error("failed to start a shell for command {command:?}")]
    Start {
        command: String,
        #[source]
        source: std::io::Error,
    },
    #[error("failed to exchange data with command {command:?}")]
    Exchange {
        command: String,
        #[source]
        source: std::io::Error,
    },
    #[error("command {command:?} {}{}{}", described(*.status), nothing_found(*.status, .command), tail_clause(.tail))]
    Status {
        command: String,
        status: ExitStatus,
        /// The last lines that it wrote to standard error.
        tail: String,
    },
}

/// A step that runs `command` in one shell for all rows of the task: fields joined by tabs go in as lines, lines come out as
/// rows of strings. The shell starts here, so that it also runs for a partition without rows.
///
/// # Errors
/// If the shell cannot be started.
pub fn pipe(step: &str, command: &str, ctx: &Rc<TaskContext>, out: Box<dyn RowSink>) -> Result<Box<dyn RowSink>> {
    let shell = Shell { step: step.to_owned(), command: command.to_owned(), ctx: Rc::clone(ctx) };
    let child = shell.start(&[], child::Input::Fed).map_err(|error| shell.fail(None, error))?;
    let running = Running { shell, child, block: Vec::with_capacity(2 * BLOCK), lull: Lull::default(), lines: Lines::new(out) };
    let running = Rc::new(RefCell::new(running));
    ctx.pipes.add(&running);
    Ok(Box::new(Pipe(running)))
}

/// A command of a step, and the task that runs it.
struct Shell {
    step: String,
    command: String,
    ctx: Rc<TaskContext>,
}

impl Shell {
    fn start(&self, arguments: &[&std::ffi::OsStr], input: child::Input) -> Result<Child, PipeError> {
        Child::start(&self.step, &self.command, arguments, &self.ctx.run, input)
            .map_err(|source| PipeError::Start { command: self.command.clone(), source })
    }

    fn fail(&self, row: Option<&[Val<'_>]>, error: PipeError) -> crate::Error {
        self.ctx.fail(&self.step, row, error)
    }

    fn broken(&self, source: std::io::Error) -> crate::Error {
        self.fail(None, PipeError::Exchange { command: self.command.clone(), source })
    }

    /// Waits for data to move, and moves it, once.
    fn turn(&self, child: &mut Child, input: &mut &[u8], lines: &mut Lines) -> Result<()> {
        self.ctx.check_running()?;
        self.ctx.pipes.look()?;
        let output = child.exchange(input).map_err(|source| self.broken(source))?;
        lines.feed(output)
    }

    /// Passes on what the child still writes; false if what comes after wants no more of it.
    fn drain(&self, child: &mut Child, lines: &mut Lines) -> Result<bool> {
        while child.is_writing() {
            if !lines.out.wants_more() {
                return Ok(false);
            }
            self.turn(child, &mut &[][..], lines)?;
        }
        lines.end()?;
        Ok(true)
    }

    /// Waits until a child that closed its output is gone, and judges its status: what was wrong with it, if anything.
    fn end(&self, child: &mut Child) -> Result<Option<PipeError>> {
        loop {
            self.ctx.check_running()?;
            self.ctx.pipes.look()?;
            if let Some(status) = child.wait().map_err(|source| self.broken(source))? {
                let failed = || PipeError::Status { command: self.command.clone(), status, tail: child.tail() };
                return Ok((!status.success()).then(failed));
            }
        }
    }
}

/// Shared with the other pipes of its task.
struct Pipe(Rc<RefCell<Running>>);

struct Running {
    shell: Shell,
    child: Child,
    /// Rows that are not yet written to the child.
    block: Vec<u8>,
    lull: Lull,
    lines: Lines,
}

impl Running {
    /// Writes the block while passing on what comes back, so that neither side waits for the other for ever.
    fn send(&mut self) -> Result<()> {
        let mut input = &self.block[..];
        while !input.is_empty() && self.child.is_reading() && self.lines.out.wants_more() {
            self.shell.turn(&mut self.child, &mut input, &mut self.lines)?;
        }
        self.block.clear();
        self.lull = Lull::default();
        if self.child.is_reading() { Ok(()) } else { self.look() }
    }

    /// Fails if the command has, as it would in the end.
    fn look(&mut self) -> Result<()> {
        let has_failed = self.child.has_failed().map_err(|source| self.shell.broken(source))?;
        if !has_failed || !self.lines.out.wants_more() {
            return Ok(());
        }
        self.conclude().map(drop)
    }

    /// Passes on the rest, and judges how the command ended; false if what comes after wants no more of it.
    fn conclude(&mut self) -> Result<bool> {
        if !self.shell.drain(&mut self.child, &mut self.lines)? {
            return Ok(false);
        }
        match self.shell.end(&mut self.child)? {
            Some(error) => Err(self.shell.fail(None, error)),
            None => Ok(true),
        }
    }

    fn push(&mut self, row: &[Val<'_>]) -> Result<()> {
        let start = self.block.len();
        text::write_row(&mut self.block, row);
        if memchr::memchr(b'\n', &self.block[start..]).is_some() {
            return Err(self.shell.fail(Some(row), line_end(row)));
        }
        self.block.push(b'\n');
        if self.block.len() >= BLOCK || self.lull.is_over() { self.send() } else { Ok(()) }
    }

    fn close(&mut self) -> Result<()> {
        self.send()?;
        self.child.close_input();
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        self.close()?;
        if !self.conclude()? {
            // As in `command | head`: who wants no more does not ask how it would have ended.
            self.child.terminate();
        }
        self.lines.out.finish()
    }

    fn wants_more(&self) -> bool {
        self.child.is_reading() && self.lines.out.wants_more()
    }
}

impl RowSink for Pipe {
    fn push(&mut self, row: &[Val<'_>]) -> Result<()> {
        self.0.borrow_mut().push(row)
    }

    fn finish(&mut self) -> Result<()> {
        self.0.borrow_mut().finish()
    }

    fn close(&mut self) -> Result<()> {
        self.0.borrow_mut().close()
    }

    fn wants_more(&self) -> bool {
        self.0.borrow().wants_more()
    }
}

fn line_end(row: &[Val<'_>]) -> PipeError {
    let has_line_end = |value: &Val<'_>| matches!(value, Val::Str(s) if s.contains(&b'\n'));
    PipeError::LineEnd { field: row.iter().position(has_line_end).map_or(0, |at| at + 1) }
}

/// Cuts a child's output into lines, and lines into rows.
struct Lines {
    /// The beginning of a line whose end has not come yet.
    begun: Vec<u8>,
    scratch: RowScratch,
    out: Box<dyn RowSink>,
}

impl Lines {
    fn new(out: Box<dyn RowSink>) -> Lines {
        Lines { begun: Vec::new(), scratch: RowScratch::default(), out }
    }

    fn feed(&mut self, mut output: &[u8]) -> Result<()> {
        if !self.begun.is_empty() {
            let Some(end) = memchr::memchr(b'\n', output) else {
                self.begun.extend_from_slice(output);
                return Ok(());
            };
            self.begun.extend_from_slice(&output[..end]);
            self.push_begun()?;
            output = &output[end + 1..];
        }
        let rest = text::split_lines(output, &mut self.scratch, |row| self.out.push(row))?;
        self.begun.extend_from_slice(rest);
        Ok(())
    }

    /// The output is over: a last line without a line end counts.
    fn end(&mut self) -> Result<()> {
        if self.begun.is_empty() { Ok(()) } else { self.push_begun() }
    }

    fn push_begun(&mut self) -> Result<()> {
        let mut row = self.scratch.take();
        text::split_fields(&self.begun, &mut row);
        self.out.push(&row)?;
        self.scratch.give(row);
        self.begun.clear();
        Ok(())
    }
}

fn described(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(127), _) => "exited with status 127 (a command was not found)".to_owned(),
        (Some(code), _) => format!("exited with status {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => format!("ended with {status}"),
    }
}

/// The one command that calls it an error to have nothing to say.
fn nothing_found(status: ExitStatus, command: &str) -> &'static str {
    let is_word = |word: &str| matches!(word, "grep" | "egrep" | "fgrep" | "rg");
    let searches = command.split(|c: char| !c.is_ascii_alphanumeric()).any(is_word);
    if status.code() == Some(1) && searches {
        " (as grep does where it finds nothing: `|| true` behind it allows that)"
    } else {
        ""
    }
}

fn tail_clause(tail: &str) -> String {
    if tail.is_empty() { String::new() } else { format!("; the end of its standard error:\n{tail}") }
}

#[cfg(test)]
mod tests;
