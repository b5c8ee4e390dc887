//! Pieces on their way between a task and agents: batches become frames here, on the task's thread. How frames travel is
//! behind [`Wire`].

mod agents;

use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::Duration;

use bytes::Bytes;
use engine::worker::{Exchange, Frames};
use engine::{Batch, Error, Result};
use plan::task::{Attempt, Done, Failed, Fault, Held};
use proto::agent::Stored;

use super::frame;

pub(super) use agents::connect;

/// An output up to this size is kept until it is stored, so that it can be sent again over a new connection.
const KEPT_BYTES: usize = 4 << 20;
/// How often an output is sent, and the first pause between; it doubles.
const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_millis(200);

/// How frames travel. Everything blocks.
pub trait Wire: Send + Sync + Debug {
    /// Begins an attempt's output at an agent.
    ///
    /// # Errors
    /// If there is no such agent.
    fn put(&self, agent: &str, attempt: Attempt) -> Result<Box<dyn Output>, Trouble>;

    /// All frames of these pieces, in order.
    ///
    /// # Errors
    /// If there is no such agent; the iterator's when it happens.
    fn fetch(&self, pieces: &[Held], agents: &[String]) -> Result<Arriving, Trouble>;

    /// Breaks off whatever goes on.
    fn stop(&self);
}

/// Frames as they arrive.
pub type Arriving = Box<dyn Iterator<Item = Result<Bytes, Trouble>> + Send>;

/// An output on its way. Dropped unfinished, nothing of it stays.
pub trait Output: Send + Debug {
    /// Sends one frame of a piece.
    ///
    /// # Errors
    /// If the agent does not take it.
    fn send(&mut self, piece: u32, frame: Bytes) -> Result<(), Trouble>;

    /// Sends the trailer and waits until all is held.
    ///
    /// # Errors
    /// If the agent does not hold it.
    fn finish(self: Box<Self>, done: Bytes) -> Result<Stored, Trouble>;
}

/// Why frames do not arrive.
#[derive(Debug, thiserror::Error)]
#[error("the exchange with an agent failed")]
pub struct Trouble {
    /// Whose fault it is.
    pub fault: Fault,
    /// Whether it may be over at the next try.
    pub passing: bool,
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// The output of one attempt, and the way to its input.
#[derive(Debug)]
pub struct Outlet {
    wire: Arc<dyn Wire>,
    attempt: Attempt,
    /// Empty: the task has no agent, and may have no pieces.
    agent: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Opened at the first frame, or at the end.
    output: Option<Box<dyn Output>>,
    /// Frames put, by piece.
    frames: Vec<u32>,
    /// All of them; `None` once they are too many to be sent again.
    kept: Kept,
}

#[derive(Debug)]
enum Kept {
    All { frames: Vec<(u32, Bytes)>, bytes: usize },
    TooMany,
}

impl Default for Kept {
    fn default() -> Kept {
        Kept::All { frames: Vec::new(), bytes: 0 }
    }
}

impl Outlet {
    /// Of an attempt, towards the agent at `agent`.
    #[must_use]
    pub fn new(wire: Arc<dyn Wire>, attempt: Attempt, agent: String) -> Outlet {
        Outlet { wire, attempt, agent, state: Mutex::default() }
    }

    /// Fills in how many frames each piece has.
    ///
    /// # Errors
    /// If the engine put frames of pieces that it does not tell of, or tells other numbers.
    pub fn count(&self, done: &mut Done) -> Result<(), Failed> {
        let state = self.state();
        let wrong =
            |what: String| Failed { step: None, message: format!("the engine miscounted: {what}"), fault: Fault::Hopeless };
        if state.frames.len() > done.pieces.len() {
            return Err(wrong(format!("{} pieces were put, {} are told of", state.frames.len(), done.pieces.len())));
        }
        for (at, piece) in done.pieces.iter_mut().enumerate() {
            let frames = state.frames.get(at).copied().unwrap_or(0);
            if piece.frames != 0 && piece.frames != frames {
                return Err(wrong(format!("piece {at} has {frames} frames, not {}", piece.frames)));
            }
            piece.frames = frames;
        }
        Ok(())
    }

    /// Sends the trailer and waits until the agent holds everything.
    ///
    /// # Errors
    /// If it does not: nothing of the attempt counts.
    pub fn finish(&self, done: Bytes) -> Result<(), Failed> {
        if self.agent.is_empty() {
            return Ok(());
        }
        let mut state = self.state();
        let stored = self.sent(&mut state, |output| output.take().expect("`sent` opens one").finish(done.clone()));
        let stored = stored.map_err(|trouble| Failed {
            step: None,
            message: format!("failed to leave the task's output at agent {}: {}", self.agent, plan::in_full(&trouble)),
            fault: trouble.fault,
        })?;
        // An agent need not tell of pieces at the end that have no frames.
        let told = |at: usize| stored.frames.get(at).copied().unwrap_or(0);
        let pieces = state.frames.len().max(stored.frames.len());
        match (0..pieces).find(|&at| told(at) != state.frames.get(at).copied().unwrap_or(0)) {
            None => Ok(()),
            Some(at) => Err(Failed {
                step: None,
                message: format!("agent {} holds another number of frames of piece {at} than it was given", self.agent),
                fault: Fault::Infrastructure,
            }),
        }
    }

    /// Does something with the open output. If that fails in passing, and all is kept, a new one is opened and gets all again.
    fn sent<T>(
        &self,
        state: &mut State,
        mut step: impl FnMut(&mut Option<Box<dyn Output>>) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        let mut tries = 0;
        loop {
            let result = self.opened(state).and_then(|()| step(&mut state.output));
            match result {
                Err(trouble) if trouble.passing && matches!(state.kept, Kept::All { .. }) && tries + 1 < TRIES => {
                    let trouble = plan::in_full(&trouble);
                    tracing::info!(agent = self.agent, trouble, "an output is sent again");
                    state.output = None;
                    sleep(PAUSE * (1 << tries));
                    tries += 1;
                }
                other => return other,
            }
        }
    }

    /// Makes sure that an output is open, and has got all that was put before.
    fn opened(&self, state: &mut State) -> Result<(), Trouble> {
        if state.output.is_some() {
            return Ok(());
        }
        let mut output = self.wire.put(&self.agent, self.attempt)?;
        if let Kept::All { frames, .. } = &state.kept {
            frames.iter().try_for_each(|(piece, frame)| output.send(*piece, frame.clone()))?;
        }
        state.output = Some(output);
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, piece: u32, frame: Bytes) -> Result<(), Trouble> {
        let mut state = self.state();
        let state = &mut *state;
        self.sent(state, |output| output.as_mut().expect("`sent` opens one").send(piece, frame.clone()))?;
        let at = piece as usize;
        if state.frames.len() <= at {
            state.frames.resize(at + 1, 0);
        }
        state.frames[at] += 1;
        state.kept.keep(piece, frame);
        Ok(())
    }
}

impl Kept {
    fn keep(&mut self, piece: u32, frame: Bytes) {
        if let Kept::All { frames, bytes } = self {
            *bytes += frame.len();
            if *bytes > KEPT_BYTES {
                *self = Kept::TooMany;
            } else {
                frames.push((piece, frame));
            }
        }
    }
}

impl Exchange for Outlet {
    fn put(&self, piece: u32, batch: Batch) -> Result<()> {
        let frame = frame::encode(&batch)?;
        drop(batch);
        self.send(piece, frame).map_err(|trouble| failure(format!("hand piece {piece} to agent {:?}", self.agent), trouble))
    }

    fn fetch(&self, pieces: &[Held], agents: &[String]) -> Result<Frames> {
        let attempt = || format!("fetch {} pieces of earlier tasks", pieces.len());
        let arriving = self.wire.fetch(pieces, agents).map_err(|trouble| failure(attempt(), trouble))?;
        let attempt = attempt();
        Ok(Box::new(arriving.map(move |frame| frame::decode(&frame.map_err(|trouble| failure(attempt.clone(), trouble))?))))
    }
}

fn failure(attempt: String, trouble: Trouble) -> Error {
    let lost = match trouble.fault {
        Fault::Lost(attempts) => attempts,
        Fault::Flow | Fault::Storage | Fault::Hopeless | Fault::Infrastructure | Fault::Stopped => Vec::new(),
    };
    Error::Exchange { attempt, lost, source: trouble.source }
}

#[cfg(test)]
mod tests;
