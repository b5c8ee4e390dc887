//! The way to agents: the wire's client behind the slot's [`Wire`].

use std::sync::Arc;

use bytes::Bytes;
use plan::task::{Attempt, Held};
use proto::agent::Stored;
use tokio::runtime::Handle;

use super::{Arriving, Output, Trouble, Wire};
use crate::passport::{Passport, PassportError};
use crate::slot::protocol::Opening;
use crate::wire::{Agents, Sender, WireError};

/// The wire of a slot, trusting what is mounted for its run.
///
/// # Errors
/// If it is not there or cannot be used.
pub(in crate::slot) fn connect(runtime: &Handle, opening: &Opening) -> Result<Arc<dyn Wire>, PassportError> {
    let passport = Passport::mounted(&opening.credentials)?;
    Ok(Arc::new(Agents::new(runtime.clone(), opening.run.clone(), passport)))
}

impl Wire for Agents {
    fn put(&self, agent: &str, attempt: Attempt) -> Result<Box<dyn Output>, Trouble> {
        Ok(Box::new(Agents::put(self, agent, attempt).map_err(trouble)?))
    }

    fn fetch(&self, pieces: &[Held], agents: &[String]) -> Result<Arriving, Trouble> {
        let fetched = Agents::fetch(self, pieces, agents).map_err(trouble)?;
        Ok(Box::new(fetched.map(|frame| frame.map_err(trouble))))
    }

    fn stop(&self) {
        Agents::stop(self);
    }
}

impl Output for Sender {
    fn send(&mut self, piece: u32, frame: Bytes) -> Result<(), Trouble> {
        self.send_blocking(piece, frame).map_err(trouble)
    }

    fn finish(self: Box<Self>, done: Bytes) -> Result<Stored, Trouble> {
        Sender::finish(*self, done).map_err(trouble)
    }
}

fn trouble(error: WireError) -> Trouble {
    Trouble { fault: error.fault(), passing: matches!(error, WireError::Put { .. }), source: Box::new(error) }
}
