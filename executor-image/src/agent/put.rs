//! `Put`: an output comes in, message by message. What there is no room for is not read: the writer waits.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use plan::task::Attempt;
use proto::RunId;
use proto::agent::{PutHeader, Stored};
use proto::chunk::Message;
use tonic::{Status, Streaming};

use super::budget::Place;
use super::metrics::Metrics;
use super::output::{AddError, BadOutput, Output};
use super::room::{Charge, Room, Writer};
use super::store::{self, Refusal, Store};

/// How long a disk that is full, though we hold less than we may, is left alone.
const FULL_DISK_PAUSE: Duration = Duration::from_secs(1);

/// Where outputs go.
#[derive(Clone, Debug)]
pub struct Intake {
    pub store: Arc<Store>,
    pub room: Arc<Room>,
    pub spill: PathBuf,
    pub metrics: Arc<Metrics>,
}

/// Why an output did not come in.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    #[error("the output of {attempt} is not taken")]
    Refused {
        attempt: Attempt,
        #[source]
        source: Refusal,
    },
    #[error("too many outputs are on their way to this agent")]
    Busy,
    #[error("the output of {attempt} is none")]
    Bad {
        attempt: Attempt,
        #[source]
        source: BadOutput,
    },
    #[error("a message is larger than all the room of this agent")]
    NoRoomEver,
    #[error("the output of {attempt} could not be written to the disk")]
    Disk {
        attempt: Attempt,
        #[source]
        source: std::io::Error,
    },
    #[error("the stream broke off")]
    Stream(#[source] Box<Status>),
    #[error("the output is not wanted any more")]
    Unwanted,
}

impl From<PutError> for Status {
    fn from(error: PutError) -> Status {
        let text = match std::error::Error::source(&error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        };
        match error {
            PutError::Refused { source: Refusal::Twice, .. } => Status::already_exists(text),
            PutError::Refused { .. } | PutError::Unwanted => Status::failed_precondition(text),
            PutError::Busy | PutError::NoRoomEver => Status::resource_exhausted(text),
            PutError::Bad { .. } => Status::invalid_argument(text),
            PutError::Disk { .. } => Status::unavailable(text),
            PutError::Stream(status) => *status,
        }
    }
}

impl Intake {
    /// Takes an output to its end.
    ///
    /// # Errors
    /// [`PutError`]; nothing of the output stays then.
    pub async fn put(&self, header: PutHeader, messages: Streaming<Message>) -> Result<Stored, PutError> {
        let PutHeader { run, attempt } = header;
        let _writer = Writer::enter(&self.room, &run).ok_or(PutError::Busy)?;
        let store::Place { id, mut unwanted } =
            self.store.begin(&run, attempt).map_err(|source| PutError::Refused { attempt, source })?;
        let open = Open { intake: self, run, attempt, id };
        let output = tokio::select! {
            output = open.take_all(messages) => output?,
            _ = &mut unwanted => return Err(PutError::Unwanted),
        };
        let stored = Stored { frames: output.frame_counts(), bytes: output.bytes() };
        // Lost between the last message and here: the place went to nobody else, the output goes with its last owner.
        if open.end(Some(Arc::new(output))) { Ok(stored) } else { Err(PutError::Unwanted) }
    }
}

/// A place in the store that goes, if its writer does.
struct Open<'a> {
    intake: &'a Intake,
    run: RunId,
    attempt: Attempt,
    id: u64,
}

impl Open<'_> {
    async fn take_all(&self, mut messages: Streaming<Message>) -> Result<Output, PutError> {
        let mut output = Output::new(Charge::new(Arc::clone(&self.intake.room), self.run.clone()));
        while let Some(message) = messages.message().await.map_err(|status| PutError::Stream(Box::new(status)))? {
            self.intake.metrics.put_bytes.inc_by(message.wire_bytes() as u64);
            output = self.take(output, message).await?;
        }
        output.finish().map_err(|source| PutError::Bad { attempt: self.attempt, source })?;
        Ok(output)
    }

    async fn take(&self, mut output: Output, message: Message) -> Result<Output, PutError> {
        let cost = output.cost(&message);
        if !self.intake.room.budget().could_hold(cost) {
            return Err(PutError::NoRoomEver);
        }
        loop {
            let added = match output.charge().take(cost).await {
                Place::Memory => output.add(&message, Place::Memory, &self.intake.spill),
                Place::Disk => {
                    let added;
                    (output, added) = self.write(output, &message).await;
                    added
                }
            };
            match added {
                Ok(()) => return Ok(output),
                Err(AddError::Bad(source)) => return Err(PutError::Bad { attempt: self.attempt, source }),
                Err(AddError::Disk(error)) if error.kind() == ErrorKind::StorageFull => {
                    output.charge().untake_disk(cost);
                    let _waiting = output.charge().waiting();
                    tokio::time::sleep(FULL_DISK_PAUSE).await;
                }
                Err(AddError::Disk(source)) => return Err(PutError::Disk { attempt: self.attempt, source }),
            }
        }
    }

    /// Writes on a thread that may block.
    async fn write(&self, mut output: Output, message: &Message) -> (Output, Result<(), AddError>) {
        let (message, spill) = (message.clone(), self.intake.spill.clone());
        let written = tokio::task::spawn_blocking(move || {
            let added = output.add(&message, Place::Disk, &spill);
            (output, added)
        });
        match written.await {
            Ok(written) => written,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    fn end(&self, output: Option<Arc<Output>>) -> bool {
        self.intake.store.end(&self.run, self.attempt, self.id, output)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        // Does nothing if it ended well.
        self.end(None);
    }
}
