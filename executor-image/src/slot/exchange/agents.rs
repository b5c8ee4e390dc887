//! The way to agents: the wire's client behind the slot's [`Wire`].

use std::fs;
use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use plan::task::{Attempt, Held};
use proto::agent::Stored;
use tokio::runtime::Handle;

use super::{Arriving, Output, Trouble, Wire};
use crate::slot::protocol::Opening;
use crate::wire::{Agents, Sender, WireError};

/// The wire of a slot, trusting what is mounted for its run.
///
/// # Errors
/// If the run's token or authority cannot be read.
pub(in crate::slot) fn connect(runtime: &Handle, opening: &Opening) -> anyhow::Result<Arc<dyn Wire>> {
    let read = |name: &str| {
        let path = opening.credentials.join(name);
        fs::read_to_string(&path).with_context(|| format!("failed to read {path:?}"))
    };
    let agents = Agents::new(runtime.clone(), opening.run.clone(), Some(read("ca.crt")?), &read("token")?)?;
    Ok(Arc::new(agents))
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
