//! `Sender`: one attempt's output on its way to an agent.

use std::sync::Arc;

use bytes::Bytes;
use plan::task::Attempt;
use proto::agent::{PUT_HEADER, PutHeader, Stored};
use proto::chunk::{Message, Packer, TRAILER};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::{Request, Status};

use super::{Agents, Inner, Width, WireError, is_final};

/// Messages between the task's thread and the connection: enough that neither waits for the other's every step.
const QUEUE: usize = 2;

/// Sends the pieces of one attempt; blocks while the agent does not take more. Dropped without [`Sender::finish`], nothing of
/// the attempt stays anywhere.
#[derive(Debug)]
pub struct Sender {
    inner: Arc<Inner>,
    agent: String,
    attempt: Attempt,
    packer: Packer,
    /// Frames sent, by piece.
    frames: Vec<u32>,
    bytes: u64,
    queue: Option<mpsc::Sender<Message>>,
    call: Option<JoinHandle<Result<Stored, CallError>>>,
}

#[derive(Debug)]
enum CallError {
    Status(Box<Status>),
    Stopped,
}

impl Agents {
    /// Begins an attempt's output at the agent at `address`. Connects in the background.
    ///
    /// # Errors
    /// If the address is none.
    pub fn put(&self, address: &str, attempt: Attempt) -> Result<Sender, WireError> {
        let inner = Arc::clone(&self.inner);
        let mut client = inner.client(address, Width::Wide)?;
        let (queue, messages) = mpsc::channel(QUEUE);
        let request = put_request(&inner, attempt, messages);
        let stopped = inner.stopped();
        let call = inner.runtime.spawn(async move {
            tokio::select! {
                answer = client.put(request) => answer.map(tonic::Response::into_inner).map_err(|status| CallError::Status(Box::new(status))),
                () = stopped => Err(CallError::Stopped),
            }
        });
        let (packer, frames) = (Packer::default(), Vec::new());
        Ok(Sender { inner, agent: address.to_owned(), attempt, packer, frames, bytes: 0, queue: Some(queue), call: Some(call) })
    }
}

fn put_request(inner: &Inner, attempt: Attempt, messages: mpsc::Receiver<Message>) -> Request<ReceiverStream<Message>> {
    let mut request = inner.request(ReceiverStream::new(messages));
    let header = PutHeader { run: inner.run.clone(), attempt };
    let packed = rmp_serde::to_vec_named(&header).expect("a header is plain data");
    request.metadata_mut().insert_bin(PUT_HEADER, MetadataValue::from_bytes(&packed));
    request
}

impl Sender {
    /// Sends one frame of a piece. Never call it from a thread of a runtime.
    ///
    /// # Errors
    /// If the agent refused the output or went away; nothing more can be sent then.
    pub fn send_blocking(&mut self, piece: u32, frame: Bytes) -> Result<(), WireError> {
        let at = piece as usize;
        if self.frames.len() <= at {
            self.frames.resize(at + 1, 0);
        }
        self.frames[at] += 1;
        self.push(piece, frame)
    }

    /// Bytes sent so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Sends what is left and the encoded [`plan::task::Done`], and waits until the agent holds all of it.
    ///
    /// # Errors
    /// If the agent refused the output or went away: nothing of it counts then.
    pub fn finish(mut self, done: Bytes) -> Result<Stored, WireError> {
        self.push(TRAILER, done)?;
        let rest = self.packer.take();
        if !rest.chunks.is_empty() {
            self.hand_over(rest)?;
        }
        self.queue = None;
        let stored = self.outcome()?;
        if stored.frames != self.frames {
            return Err(WireError::Protocol { agent: self.agent.clone(), what: "another count of frames than it was given" });
        }
        Ok(stored)
    }

    fn push(&mut self, piece: u32, frame: Bytes) -> Result<(), WireError> {
        self.bytes += frame.len() as u64;
        let queue = self.queue.as_ref();
        let closed = self.packer.push(piece, frame, |message| match queue {
            Some(queue) => queue.blocking_send(message).map_err(drop),
            None => Err(()),
        });
        closed.map_err(|()| self.broken())
    }

    fn hand_over(&mut self, message: Message) -> Result<(), WireError> {
        let sent = self.queue.as_ref().is_some_and(|queue| queue.blocking_send(message).is_ok());
        if sent { Ok(()) } else { Err(self.broken()) }
    }

    /// Why the call ended before its time.
    fn broken(&mut self) -> WireError {
        self.queue = None;
        match self.outcome() {
            Err(error) => error,
            Ok(_) => WireError::Protocol { agent: self.agent.clone(), what: "an answer before it had all" },
        }
    }

    fn outcome(&mut self) -> Result<Stored, WireError> {
        let agent = self.agent.clone();
        let Some(call) = self.call.take() else {
            return Err(WireError::Protocol { agent, what: "its answer already" });
        };
        let attempt = self.attempt;
        match self.inner.runtime.block_on(call) {
            Ok(Ok(stored)) => Ok(stored),
            Ok(Err(CallError::Status(source))) if is_final(&source) => Err(WireError::Refused { agent, attempt, source }),
            Ok(Err(CallError::Status(source))) => Err(WireError::Put { agent, attempt, source }),
            Ok(Err(CallError::Stopped)) | Err(_) => Err(WireError::Stopped),
        }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        // An aborted call resets its stream: the agent sees at once that no trailer will come.
        if let Some(call) = self.call.take() {
            call.abort();
        }
    }
}
