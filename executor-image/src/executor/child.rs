//! A slot's process: started in a session of its own, talked with over its standard input, killed with all that it started.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use plan::task::Attempt;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::death::{Death, How};
use super::processes;
use crate::log;
use crate::slot::protocol::{self, FromChild, Opening, ToChild};
use crate::unix;

/// Orders that a child has not read yet: it always reads, so a handful is plenty.
const ORDERS: usize = 64;
/// How long what a dead child wrote may take to be read: others may hold its descriptors open.
const REST: Duration = Duration::from_secs(1);

/// How slots' processes are started.
#[derive(Clone, Debug)]
pub(super) struct Program {
    pub(super) path: PathBuf,
    pub(super) arguments: Vec<OsString>,
}

/// The sessions of living slots.
pub(super) type Living = Arc<Mutex<BTreeSet<i32>>>;

/// What a child says or does.
#[derive(Debug)]
pub(super) enum Happening {
    Said(FromChild),
    Garbage(String),
    Died(Death),
}

/// Told of what happens; the number tells children of one slot apart.
pub(super) type Happenings = mpsc::Sender<(u64, Happening)>;

/// A child, as its slot sees it. Dropped: it is killed.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) number: u64,
    pub(super) session: i32,
    orders: mpsc::Sender<ToChild>,
    living: Living,
    /// What it works on, for lines of its log that do not say so themselves.
    pub(super) attempt: Arc<Mutex<Option<Attempt>>>,
    /// How often the kernel had killed for memory when its task began.
    pub(super) kills_before: Arc<Mutex<u64>>,
}

impl Child {
    /// Starts one.
    ///
    /// # Errors
    /// If the program or its directory cannot be made.
    pub(super) fn start(number: u64, program: &Program, opening: Opening, living: &Living, to: &Happenings) -> io::Result<Child> {
        std::fs::create_dir_all(&opening.scratch)?;
        let (ours, theirs) = UnixStream::pair()?;
        let theirs: std::os::fd::OwnedFd = {
            let stream = theirs.into_std()?;
            stream.set_nonblocking(false)?;
            stream.into()
        };
        let mut command = Command::new(&program.path);
        command.args(&program.arguments).stdin(Stdio::from(theirs)).stdout(Stdio::null()).stderr(Stdio::piped());
        command.env("TMPDIR", &opening.scratch).env("HOME", &opening.scratch).kill_on_drop(true);
        unix::in_own_session(&mut command);
        let process = command.spawn()?;
        let session = process.id().and_then(|id| i32::try_from(id).ok()).unwrap_or(0);
        living.lock().unwrap_or_else(PoisonError::into_inner).insert(session);
        let (orders, incoming) = mpsc::channel(ORDERS);
        let kills_before = Arc::new(Mutex::new(processes::memory_kills()));
        let child = Child { number, session, orders, living: Arc::clone(living), attempt: Arc::default(), kills_before };
        let attendant = Attendant {
            number,
            session,
            process,
            living: Arc::clone(living),
            to: to.clone(),
            slot: opening.slot,
            attempt: Arc::clone(&child.attempt),
            kills_before: Arc::clone(&child.kills_before),
            scratch: opening.scratch.clone(),
            last_words: Arc::default(),
        };
        // Ends by itself when the process has ended, which the drop of `orders` leads to.
        tokio::spawn(attendant.attend(ours, incoming, opening));
        Ok(child)
    }

    /// Gives it an order. A child that does not read is killed.
    pub(super) fn tell(&self, order: ToChild) {
        if let ToChild::Run { task, .. } = &order {
            *self.attempt.lock().unwrap_or_else(PoisonError::into_inner) = Some(task.attempt);
            *self.kills_before.lock().unwrap_or_else(PoisonError::into_inner) = processes::memory_kills();
        }
        if let Err(mpsc::error::TrySendError::Full(_)) = self.orders.try_send(order) {
            self.kill();
        }
    }

    /// Ends it and all that it started.
    pub(super) fn kill(&self) {
        // Once it is collected its id may be another's.
        if self.living.lock().unwrap_or_else(PoisonError::into_inner).contains(&self.session) {
            processes::kill_session(self.session);
        }
    }
}

/// Owns the process until it is gone.
struct Attendant {
    number: u64,
    session: i32,
    process: tokio::process::Child,
    living: Living,
    to: Happenings,
    slot: u32,
    attempt: Arc<Mutex<Option<Attempt>>>,
    kills_before: Arc<Mutex<u64>>,
    scratch: PathBuf,
    last_words: Arc<Mutex<Option<String>>>,
}

impl Attendant {
    async fn attend(mut self, socket: UnixStream, mut incoming: mpsc::Receiver<ToChild>, opening: Opening) {
        let (read, mut write) = socket.into_split();
        let mut readers = JoinSet::new();
        readers.spawn(listen(self.number, read, self.to.clone()));
        if let Some(stderr) = self.process.stderr.take() {
            readers.spawn(relay(stderr, self.slot, Arc::clone(&self.attempt), Arc::clone(&self.last_words)));
        }
        // A child that is gone already is found by its status.
        let _ = protocol::send(&mut write, &ToChild::Open(Box::new(opening))).await;
        let status = self.obey(&mut incoming, &mut write).await;
        processes::kill_session(self.session);
        self.living.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.session);
        let rest = async { while readers.join_next().await.is_some() {} };
        // What it said last counts; what others keep open does not.
        let _ = tokio::time::timeout(REST, rest).await;
        remove(&self.scratch);
        let death = self.death(status);
        // Nobody listens any more when the slot is over.
        let _ = self.to.send((self.number, Happening::Died(death))).await;
    }

    /// Passes orders on until the process has ended.
    async fn obey(&mut self, incoming: &mut mpsc::Receiver<ToChild>, write: &mut OwnedWriteHalf) -> io::Result<ExitStatus> {
        loop {
            let order = tokio::select! {
                status = self.process.wait() => return status,
                order = incoming.recv() => order,
            };
            let Some(order) = order else {
                // Its slot has let go of it. Not yet waited for, so its id is still its own.
                processes::kill_session(self.session);
                return self.process.wait().await;
            };
            tokio::select! {
                status = self.process.wait() => return status,
                // It may be gone: then its status tells.
                _ = protocol::send(write, &order) => {}
            }
        }
    }

    fn death(&self, status: io::Result<ExitStatus>) -> Death {
        let how = match status {
            Ok(status) => status.signal().map_or_else(|| How::Exited(status.code().unwrap_or(-1)), How::Signal),
            Err(_) => How::Exited(-1),
        };
        let before = *self.kills_before.lock().unwrap_or_else(PoisonError::into_inner);
        let last_words = self.last_words.lock().unwrap_or_else(PoisonError::into_inner).take();
        Death { how, out_of_memory: processes::memory_kills() > before, last_words }
    }
}

/// Removes a child's directory: a killed child could not.
fn remove(scratch: &Path) {
    if let Err(error) = std::fs::remove_dir_all(scratch)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %scratch.display(), %error, "a slot's files could not be removed");
    }
}

async fn listen(number: u64, mut socket: OwnedReadHalf, to: Happenings) {
    loop {
        let happening = match protocol::receive(&mut socket).await {
            Ok(Some(said)) => Happening::Said(said),
            Ok(None) => return,
            Err(error) => Happening::Garbage(error.to_string()),
        };
        let ends = matches!(happening, Happening::Garbage(_));
        if to.send((number, happening)).await.is_err() || ends {
            return;
        }
    }
}

/// Passes a child's standard error on: lines of the log as they are, all else as lines of the log.
async fn relay(
    mut from: impl AsyncRead + Unpin,
    slot: u32,
    attempt: Arc<Mutex<Option<Attempt>>>,
    last_words: Arc<Mutex<Option<String>>>,
) {
    let mut text = Vec::new();
    let pass_on = |line: &str| {
        if log::is_line(line) {
            return log::write(line.to_owned());
        }
        if !line.trim().is_empty() {
            *last_words.lock().unwrap_or_else(PoisonError::into_inner) = Some(line.chars().take(500).collect());
        }
        log::write(log::line_of(line, slot, *attempt.lock().unwrap_or_else(PoisonError::into_inner)));
    };
    while let Ok(1..) = from.read_buf(&mut text).await {
        log::take_lines(&mut text, pass_on);
    }
    if !text.is_empty() {
        pass_on(&String::from_utf8_lossy(&text));
    }
}
