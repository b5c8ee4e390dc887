//! `Fetched`: frames of pieces from many agents, in the order in which they were asked for.
//!
//! Each agent sends its pieces in one stream, in the order of the whole; the iterator takes from the stream whose turn it is.
//! So every agent works ahead as far as its bounded queue goes, and none can be in the way of another. A stream that breaks is
//! taken up again at the first frame that did not arrive.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use plan::task::{Attempt, Held};
use proto::agent::{Fetch, FetchItem, MESSAGE_HEADER, missing_of};
use proto::chunk::{Chunk, Frames, MESSAGE_BYTES, Message};
use tokio::sync::mpsc;
use tonic::{Code, Status, Streaming};

use super::{Agents, Inner, Width, WireError, is_final};

/// Up to so many streams of this process are wide.
const WIDE_STREAMS: usize = 8;
/// Messages of a narrow stream.
const NARROW_MESSAGE: usize = 64 << 10;
/// Items of one request: it must fit a message.
const ITEMS: usize = 8192;
/// Tries in a row without a frame before an agent counts as dead, and the first pause between them, which doubles. With the
/// time that connecting takes this is about 6 s for an agent that refuses, 40 s for one that does not answer at all.
const TRIES: u32 = 6;
const PAUSE: Duration = Duration::from_millis(200);

/// Frames of pieces, in order; blocks until each is there. Ends after the first error.
#[derive(Debug)]
pub struct Fetched {
    turns: VecDeque<Turn>,
    readers: Vec<Reader>,
    failed: bool,
}

/// So many frames come from this reader next.
#[derive(Clone, Copy, Debug)]
struct Turn {
    reader: usize,
    frames: u32,
}

/// The near end of a stream.
#[derive(Debug)]
struct Reader {
    queue: mpsc::Receiver<Result<Vec<Bytes>, WireError>>,
    ready: std::vec::IntoIter<Bytes>,
}

impl Agents {
    /// All frames of these pieces: one piece after the other, in order. [`Held::agent`] counts in `agents`.
    ///
    /// # Errors
    /// If an address is none. What happens later comes from the iterator.
    pub fn fetch(&self, pieces: &[Held], agents: &[String]) -> Result<Fetched, WireError> {
        let (turns, lists) = share(pieces, agents.len())?;
        let readers = lists.into_iter().map(|(agent, items)| self.read(&agents[agent], items)).collect::<Result<_, _>>()?;
        Ok(Fetched { turns, readers, failed: false })
    }

    fn read(&self, address: &str, items: VecDeque<FetchItem>) -> Result<Reader, WireError> {
        let place = StreamPlace::take(Arc::clone(&self.inner));
        // So that a bad address is found here.
        self.inner.client(address, place.width)?;
        let (sender, queue) = mpsc::channel(1);
        let far = FarEnd { place, agent: address.to_owned(), items, open: Frames::default(), sender };
        let stopped = self.inner.stopped();
        self.inner.runtime.spawn(far.run(stopped));
        Ok(Reader { queue, ready: Vec::new().into_iter() })
    }
}

/// Items per agent (by index), in the order of their first.
type Lists = Vec<(usize, VecDeque<FetchItem>)>;

/// Whose turn it is when, and what each agent is asked for.
fn share(pieces: &[Held], agents: usize) -> Result<(VecDeque<Turn>, Lists), WireError> {
    let mut readers: Vec<Option<usize>> = vec![None; agents];
    let (mut turns, mut lists): (VecDeque<Turn>, Lists) = (VecDeque::new(), Vec::new());
    for held in pieces.iter().filter(|held| held.first < held.end) {
        let slot = readers.get_mut(held.agent as usize).ok_or(WireError::NoAgent { at: held.agent, agents })?;
        let reader = *slot.get_or_insert_with(|| {
            lists.push((held.agent as usize, VecDeque::new()));
            lists.len() - 1
        });
        lists[reader].1.push_back(FetchItem { attempt: held.attempt, piece: held.piece, first: held.first, end: held.end });
        turns.push_back(Turn { reader, frames: held.end - held.first });
    }
    Ok((turns, lists))
}

impl Iterator for Fetched {
    type Item = Result<Bytes, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        let turn = (!self.failed).then(|| self.turns.front_mut()).flatten()?;
        let frame = self.readers[turn.reader].next();
        turn.frames -= 1;
        if turn.frames == 0 {
            self.turns.pop_front();
        }
        self.failed = frame.is_err();
        Some(frame)
    }
}

impl Reader {
    fn next(&mut self) -> Result<Bytes, WireError> {
        loop {
            if let Some(frame) = self.ready.next() {
                return Ok(frame);
            }
            // The far end leaves without a word only when its runtime is shut down.
            self.ready = self.queue.blocking_recv().unwrap_or(Err(WireError::Stopped))?.into_iter();
        }
    }
}

/// Counts the open streams, and so decides how wide the next one is.
#[derive(Debug)]
struct StreamPlace {
    inner: Arc<Inner>,
    width: Width,
}

impl StreamPlace {
    fn take(inner: Arc<Inner>) -> StreamPlace {
        let before = inner.streams.fetch_add(1, Ordering::Relaxed);
        StreamPlace { inner, width: if before < WIDE_STREAMS { Width::Wide } else { Width::Narrow } }
    }

    fn streams(&self) -> &AtomicUsize {
        &self.inner.streams
    }
}

impl Drop for StreamPlace {
    fn drop(&mut self) {
        self.streams().fetch_sub(1, Ordering::Relaxed);
    }
}

/// The far end of a stream: a task on the runtime.
struct FarEnd {
    place: StreamPlace,
    agent: String,
    /// What has not arrived.
    items: VecDeque<FetchItem>,
    /// The frame that has begun to arrive.
    open: Frames,
    sender: mpsc::Sender<Result<Vec<Bytes>, WireError>>,
}

/// Why a stream ended before its time.
enum Broken {
    Status(Status),
    Error(WireError),
    /// Nobody reads any more.
    Unwanted,
}

impl FarEnd {
    async fn run(mut self, stopped: impl Future<Output = ()>) {
        let sender = self.sender.clone();
        let ended = tokio::select! {
            ended = self.read_all() => ended,
            () = stopped => Err(WireError::Stopped),
            () = sender.closed() => return,
        };
        if let Err(error) = ended {
            // If nobody listens, nobody misses it.
            let _ = sender.send(Err(error)).await;
        }
    }

    async fn read_all(&mut self) -> Result<(), WireError> {
        let mut tries = 0;
        while !self.items.is_empty() {
            let before = self.place_in_items();
            match self.read_once().await {
                Ok(()) => tries = 0,
                Err(Broken::Unwanted) => return Ok(()),
                Err(Broken::Error(error)) => return Err(error),
                Err(Broken::Status(status)) if is_final(&status) => return Err(self.refused(status)),
                Err(Broken::Status(status)) => {
                    tries = if self.place_in_items() == before { tries + 1 } else { 1 };
                    if tries == TRIES {
                        return Err(self.dead(status));
                    }
                    tracing::debug!(agent = self.agent, %status, tries, "a fetch broke off and is taken up again");
                    tokio::time::sleep(PAUSE * (1 << (tries - 1))).await;
                }
            }
        }
        Ok(())
    }

    fn place_in_items(&self) -> (usize, u32) {
        (self.items.len(), self.items.front().map_or(0, |item| item.first))
    }

    /// Reads the first items in one stream.
    async fn read_once(&mut self) -> Result<(), Broken> {
        self.open = Frames::default();
        let asked = self.items.len().min(ITEMS);
        let mut stream = self.ask(asked).await?;
        let left = self.items.len() - asked;
        while let Some(message) = stream.message().await.map_err(Broken::Status)? {
            let frames = self.take(message, asked + left).map_err(|what| self.protocol(what))?;
            if !frames.is_empty() {
                self.sender.send(Ok(frames)).await.map_err(|_| Broken::Unwanted)?;
            }
        }
        if self.items.len() == left { Ok(()) } else { Err(self.protocol("fewer frames than it holds")) }
    }

    async fn ask(&self, asked: usize) -> Result<Streaming<Message>, Broken> {
        let inner = &self.place.inner;
        let mut client = inner.client(&self.agent, self.place.width).map_err(Broken::Error)?;
        let items = self.items.iter().take(asked).cloned().collect();
        let mut request = inner.request(Fetch { run: inner.run.clone(), items });
        let message = if self.place.width == Width::Wide { MESSAGE_BYTES } else { NARROW_MESSAGE };
        request.metadata_mut().insert(MESSAGE_HEADER, message.into());
        Ok(client.fetch(request).await.map_err(Broken::Status)?.into_inner())
    }

    /// The frames that a message completes. `before`: how many items there were when the stream was asked for.
    fn take(&mut self, message: Message, before: usize) -> Result<Vec<Bytes>, &'static str> {
        let mut frames = Vec::with_capacity(message.chunks.len());
        for chunk in message.chunks {
            let at = before - self.items.len();
            if chunk.piece as usize != at {
                return Err("a piece that it was not asked for");
            }
            self.take_chunk(chunk, &mut frames)?;
        }
        Ok(frames)
    }

    fn take_chunk(&mut self, chunk: Chunk, frames: &mut Vec<Bytes>) -> Result<(), &'static str> {
        let item = self.items.front_mut().ok_or("more than it was asked for")?;
        if let Some(frame) = self.open.push(chunk) {
            frames.push(frame);
            item.first += 1;
            if item.first == item.end {
                self.items.pop_front();
            }
        }
        Ok(())
    }

    fn protocol(&self, what: &'static str) -> Broken {
        Broken::Error(WireError::Protocol { agent: self.agent.clone(), what })
    }

    fn refused(&self, status: Status) -> WireError {
        let agent = self.agent.clone();
        match missing_of(&status) {
            Some(attempts) => WireError::Lost { agent, attempts, source: None },
            None => WireError::Denied { agent, source: Box::new(status) },
        }
    }

    /// All that was still to come from the agent is lost with it.
    fn dead(&self, status: Status) -> WireError {
        // Its own word that it is busy is no death; the attempt fails and is tried again.
        if status.code() == Code::ResourceExhausted {
            return WireError::Denied { agent: self.agent.clone(), source: Box::new(status) };
        }
        let mut attempts: Vec<Attempt> = self.items.iter().map(|item| item.attempt).collect();
        attempts.sort_unstable();
        attempts.dedup();
        WireError::Lost { agent: self.agent.clone(), attempts, source: Some(Box::new(status)) }
    }
}
