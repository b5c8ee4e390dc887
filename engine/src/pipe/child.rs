//! A shell with pipes to all its ends, fed and drained by one thread without ever blocking on one end alone.

use std::ffi::OsStr;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::system::{self, Wait};
use crate::RunContext;
use crate::cleanup::{Leftover, Registered};

/// How many bytes are read from a child at once: what a pipe holds.
const CHUNK: usize = 64 << 10;

/// How many bytes of a child's standard error an error message shows.
const TAIL: usize = 2 << 10;

/// How long a call waits for a child before it gives its caller the chance to stop.
pub(super) const PATIENCE: Duration = Duration::from_millis(50);

/// How long a child may take to end after SIGTERM.
const GRACE: Duration = Duration::from_millis(500);

/// Where a child's standard input comes from.
pub(super) enum Input {
    Fed,
    Empty,
}

/// A running shell, leader of its own process group, all of which is gone when this is dropped.
pub(super) struct Child {
    process: std::process::Child,
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    buffer: Box<[u8]>,
    tail: Vec<u8>,
    /// The step that it works for, which its errors are shown with.
    step: String,
    /// Whether the process has been waited for; its id may belong to another one then.
    reaped: bool,
    /// How long to sleep before looking again for the end of a child that holds no pipe any more.
    pause: Duration,
    /// When it was last seen whether the process has ended.
    looked: Instant,
    registered: Option<Registered>,
}

impl Child {
    /// Starts `sh -c command sh arguments...` of a step in the run's directory.
    pub(super) fn start(step: &str, command: &str, arguments: &[&OsStr], run: &RunContext, input: Input) -> io::Result<Child> {
        let mut shell = Command::new("/bin/sh");
        shell.arg("-c").arg(command).arg("sh").args(arguments).process_group(0);
        shell.stdout(Stdio::piped()).stderr(Stdio::piped());
        shell.stdin(match input {
            Input::Fed => Stdio::piped(),
            Input::Empty => Stdio::null(),
        });
        if !run.base.as_os_str().is_empty() {
            shell.current_dir(&run.base);
        }
        let (mut process, registered) = {
            let beginning = run.cleanup.begin();
            let process = shell.spawn()?;
            let registered = beginning.register(Leftover::Group(process.id()));
            (process, registered)
        };
        let child = Child {
            stdin: process.stdin.take(),
            stdout: process.stdout.take(),
            stderr: process.stderr.take(),
            process,
            buffer: vec![0; CHUNK].into_boxed_slice(),
            tail: Vec::new(),
            step: step.to_owned(),
            reaped: false,
            pause: Duration::from_micros(20),
            looked: Instant::now(),
            registered: Some(registered),
        };
        child.unblock()?;
        Ok(child)
    }

    fn unblock(&self) -> io::Result<()> {
        let ends =
            [self.stdin.as_ref().map(AsFd::as_fd), self.stdout.as_ref().map(AsFd::as_fd), self.stderr.as_ref().map(AsFd::as_fd)];
        ends.into_iter().flatten().try_for_each(system::set_nonblocking)
    }

    /// Whether it may still take input.
    pub(super) fn is_reading(&self) -> bool {
        self.stdin.is_some()
    }

    /// Whether it may still write output.
    pub(super) fn is_writing(&self) -> bool {
        self.stdout.is_some()
    }

    /// Tells it that there is no more input.
    pub(super) fn close_input(&mut self) {
        self.stdin = None;
    }

    /// Waits a while until one of its pipes is ready; writes some of `input`, moving it on, and gives back what it wrote.
    /// A child that stopped reading is not an error.
    pub(super) fn exchange(&mut self, input: &mut &[u8]) -> io::Result<&[u8]> {
        let feeding = !input.is_empty();
        let mut waits = [
            Wait::to_write(self.stdin.as_ref().filter(|_| feeding).map(AsFd::as_fd)),
            Wait::to_read(self.stdout.as_ref().map(AsFd::as_fd)),
            Wait::to_read(self.stderr.as_ref().map(AsFd::as_fd)),
        ];
        system::wait_for_any(&mut waits, PATIENCE)?;
        let [stdin, stdout, stderr] = waits.map(|wait| wait.is_ready());
        if self.looked.elapsed() >= PATIENCE {
            self.look()?;
        }
        if stderr {
            self.relay()?;
        }
        if stdin {
            self.feed(input)?;
        }
        let read = if stdout { read_some(&mut self.stdout, &mut self.buffer)? } else { 0 };
        Ok(&self.buffer[..read])
    }

    /// Where the shell came to a bad end, what it started is ended too, and its output is over: others may hold the pipe open
    /// for ever, and the step fails anyway. Behind a shell that ended well its children may write on, as long as they like.
    fn look(&mut self) -> io::Result<()> {
        self.looked = Instant::now();
        if system::has_failed(self.id())? {
            system::signal_group(self.id(), libc::SIGKILL);
            (self.stdin, self.stdout) = (None, None);
        }
        Ok(())
    }

    fn feed(&mut self, input: &mut &[u8]) -> io::Result<()> {
        let Some(stdin) = &mut self.stdin else { return Ok(()) };
        match stdin.write(input) {
            Ok(written) => *input = &input[written..],
            Err(error) if error.kind() == ErrorKind::BrokenPipe => self.stdin = None,
            Err(error) if is_transient(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Passes on what it wrote to standard error, and remembers the end of it.
    fn relay(&mut self) -> io::Result<()> {
        let read = read_some(&mut self.stderr, &mut self.buffer)?;
        let text = &self.buffer[..read];
        self.tail.extend_from_slice(text);
        let surplus = self.tail.len().saturating_sub(TAIL);
        self.tail.drain(..surplus);
        crate::print::write(&self.step, text);
        Ok(())
    }

    /// The last that it wrote to standard error.
    pub(super) fn tail(&self) -> String {
        String::from_utf8_lossy(&self.tail).trim_end().to_owned()
    }

    /// Whether it came to a bad end that was not yet noticed.
    pub(super) fn has_failed(&self) -> io::Result<bool> {
        if self.reaped { Ok(false) } else { system::has_failed(self.id()) }
    }

    /// Waits a while for its end. What it left running in its process group is ended with it.
    pub(super) fn wait(&mut self) -> io::Result<Option<ExitStatus>> {
        if !system::has_ended(self.id())? {
            self.rest()?;
            return Ok(None);
        }
        self.drain_errors()?;
        self.reap().map(Some)
    }

    /// Sleeps until something may have changed.
    fn rest(&mut self) -> io::Result<()> {
        if let Some(stderr) = &self.stderr {
            let mut waits = [Wait::to_read(Some(stderr.as_fd()))];
            system::wait_for_any(&mut waits, self.pause)?;
            if waits[0].is_ready() {
                return self.relay();
            }
        } else {
            std::thread::sleep(self.pause);
        }
        self.pause = (self.pause * 2).min(PATIENCE);
        Ok(())
    }

    /// Takes what is already in the pipe; others may hold its other end for longer.
    fn drain_errors(&mut self) -> io::Result<()> {
        while let Some(stderr) = &self.stderr {
            let mut waits = [Wait::to_read(Some(stderr.as_fd()))];
            system::wait_for_any(&mut waits, Duration::ZERO)?;
            if !waits[0].is_ready() {
                break;
            }
            self.relay()?;
        }
        Ok(())
    }

    /// Ends the process group, then collects the leader's status; in this order, since its id is free for others afterwards.
    fn reap(&mut self) -> io::Result<ExitStatus> {
        system::signal_group(self.id(), libc::SIGKILL);
        self.registered = None;
        self.reaped = true;
        self.process.wait()
    }

    /// Ends it and all that it started: first asked to, then forced to.
    pub(super) fn terminate(&mut self) {
        if self.reaped {
            return;
        }
        (self.stdin, self.stdout, self.stderr) = (None, None, None);
        system::signal_group(self.id(), libc::SIGTERM);
        let (begun, mut pause) = (Instant::now(), Duration::from_micros(50));
        while begun.elapsed() < GRACE && matches!(system::has_ended(self.id()), Ok(false)) {
            std::thread::sleep(pause);
            pause = (pause * 2).min(PATIENCE);
        }
        // It is on the way out already, with an error or an interrupt: how the child ended changes nothing.
        let _ = self.reap();
    }

    fn id(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.terminate();
    }
}

/// Reads once from a pipe; closes it at its end.
fn read_some(end: &mut Option<impl Read>, buffer: &mut [u8]) -> io::Result<usize> {
    let Some(reader) = end else { return Ok(0) };
    match reader.read(buffer) {
        Ok(0) => {
            *end = None;
            Ok(0)
        }
        Ok(read) => Ok(read),
        Err(error) if is_transient(&error) => Ok(0),
        Err(error) => Err(error),
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
