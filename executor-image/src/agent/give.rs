//! `Fetch`: frames of pieces go out, a message at a time, as the reader takes them. From memory without a copy, from the disk
//! read when their turn comes.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::stream::{self, Stream};
use plan::task::Attempt;
use proto::RunId;
use proto::agent::{FetchItem, missing};
use proto::chunk::{Chunk, MESSAGE_BYTES, Message};
use tonic::Status;

use super::metrics::{Count, Metrics};
use super::output::{Output, Part, Stored};
use super::store::{NotGiven, Store};

/// The smallest message that a busy agent makes.
const SMALLEST: usize = 64 << 10;

/// Where outputs come from.
#[derive(Clone, Debug)]
pub struct Outgo {
    pub store: Arc<Store>,
    pub metrics: Arc<Metrics>,
    /// Bytes that all readers together may have in messages on their way.
    pub memory: usize,
}

impl From<NotGiven> for Status {
    fn from(not: NotGiven) -> Status {
        match not {
            NotGiven::Missing(attempts) => missing(&attempts),
            NotGiven::NotNamed(attempt) => Status::failed_precondition(format!("{attempt} was not named the winner of its task")),
        }
    }
}

impl Outgo {
    /// The frames of these items, one item after the other; at most `largest` bytes in a message.
    ///
    /// # Errors
    /// If something is not here, not named, or has not so many frames.
    pub fn give(
        &self,
        run: RunId,
        items: Vec<FetchItem>,
        largest: usize,
    ) -> Result<impl Stream<Item = Result<Message, Status>> + Send + use<>, Status> {
        let outputs = self.store.find(&run, &items)?;
        for (item, output) in items.iter().zip(&outputs) {
            let fits = item.first <= item.end && output.parts(item.piece, item.first, item.end).is_some();
            if !fits {
                let (attempt, piece) = (item.attempt, item.piece);
                return Err(Status::out_of_range(format!(
                    "piece {piece} of {attempt} has no frames {}..{}",
                    item.first, item.end
                )));
            }
        }
        self.metrics.fetches.inc();
        let place = self.metrics.reading.enter();
        let reading = Reading { outgo: self.clone(), _place: place, run, items, outputs, item: 0, part: 0, offset: 0, largest };
        Ok(stream::try_unfold(reading, |mut reading| async move { Ok(reading.next().await?.map(|message| (message, reading))) }))
    }
}

/// A reader's place.
struct Reading {
    outgo: Outgo,
    _place: Count,
    run: RunId,
    items: Vec<FetchItem>,
    outputs: Vec<Arc<Output>>,
    item: usize,
    /// Counts in the parts of the item.
    part: usize,
    /// Counts in the bytes of the part.
    offset: usize,
    largest: usize,
}

/// Bytes that a message still needs from the disk.
struct Hole {
    chunk: usize,
    output: Arc<Output>,
    attempt: Attempt,
    offset: u64,
    length: usize,
}

impl Reading {
    async fn next(&mut self) -> Result<Option<Message>, Status> {
        let (mut message, holes) = self.gather();
        if message.chunks.is_empty() {
            return Ok(None);
        }
        if !holes.is_empty() {
            message = self.fill(message, holes).await?;
        }
        self.outgo.metrics.fetch_bytes.inc_by(message.wire_bytes() as u64);
        Ok(Some(message))
    }

    /// The more readers there are, the less each may have on its way.
    fn target(&self) -> usize {
        let share = self.outgo.memory / self.outgo.metrics.reading.now().max(1);
        share.min(self.largest).clamp(SMALLEST, MESSAGE_BYTES)
    }

    fn gather(&mut self) -> (Message, Vec<Hole>) {
        let (mut message, mut holes) = (Message::default(), Vec::new());
        let mut room = self.target();
        while room > 0 && self.item < self.items.len() {
            let item = &self.items[self.item];
            let output = &self.outputs[self.item];
            let parts = output.parts(item.piece, item.first, item.end).unwrap_or_default();
            let Some(part) = parts.get(self.part) else {
                (self.item, self.part, self.offset) = (self.item + 1, 0, 0);
                continue;
            };
            let range = self.offset..part.length().min(self.offset + room);
            let whole = range.end == part.length();
            let bytes = match &part.bytes {
                Stored::Memory(bytes) => bytes.slice(range.clone()),
                Stored::Disk { offset, .. } => {
                    holes.push(Hole {
                        chunk: message.chunks.len(),
                        output: Arc::clone(output),
                        attempt: item.attempt,
                        offset: offset + range.start as u64,
                        length: range.len(),
                    });
                    Bytes::new()
                }
            };
            message.chunks.push(Chunk { piece: self.item as u32, ends: whole && part.ends, bytes });
            // Chunks without bytes use room too: no message is endless.
            room = room.saturating_sub(range.len() + 8);
            (self.part, self.offset) = if whole { (self.part + 1, 0) } else { (self.part, range.end) };
        }
        (message, holes)
    }

    async fn fill(&self, mut message: Message, holes: Vec<Hole>) -> Result<Message, Status> {
        let read = tokio::task::spawn_blocking(move || {
            for (at, range) in runs_of(&holes) {
                let mut bytes = read_run(&holes[range.clone()], at).map_err(|error| (holes[range.start].attempt, error))?;
                for hole in &holes[range] {
                    message.chunks[hole.chunk].bytes = bytes.split_to(hole.length);
                }
            }
            Ok(message)
        });
        match read.await {
            Ok(Ok(message)) => Ok(message),
            Ok(Err((attempt, error))) => Err(self.lose(attempt, &error)),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// What the disk does not give back is lost; whoever made it makes it again.
    fn lose(&self, attempt: Attempt, error: &std::io::Error) -> Status {
        tracing::error!(run = self.run.as_str(), %attempt, %error, "an output could not be read from the disk and is given up");
        drop(self.outgo.store.lose(&self.run, attempt));
        missing(&[attempt])
    }
}

/// Holes that lie one behind the other in one file, and where each such run begins.
fn runs_of(holes: &[Hole]) -> Vec<(u64, Range<usize>)> {
    let mut runs: Vec<(u64, Range<usize>)> = Vec::new();
    for (at, hole) in holes.iter().enumerate() {
        let follows = at > 0 && {
            let before = &holes[at - 1];
            Arc::ptr_eq(&before.output, &hole.output) && before.offset + before.length as u64 == hole.offset
        };
        match runs.last_mut() {
            Some((_, range)) if follows => range.end = at + 1,
            _ => runs.push((hole.offset, at..at + 1)),
        }
    }
    runs
}

fn read_run(holes: &[Hole], offset: u64) -> std::io::Result<Bytes> {
    let length = holes.iter().map(|hole| hole.length).sum();
    let mut bytes = BytesMut::zeroed(length);
    holes[0].output.read(offset, &mut bytes)?;
    Ok(bytes.freeze())
}

/// All bytes of some parts, as one. Blocks if some are on the disk.
///
/// # Errors
/// If the disk does not give them.
pub fn whole(output: &Output, parts: &[Part]) -> std::io::Result<Vec<u8>> {
    let mut all = Vec::with_capacity(parts.iter().map(Part::length).sum());
    for part in parts {
        match &part.bytes {
            Stored::Memory(bytes) => all.extend_from_slice(bytes),
            Stored::Disk { offset, length } => {
                let begin = all.len();
                all.resize(begin + *length as usize, 0);
                output.read(*offset, &mut all[begin..])?;
            }
        }
    }
    Ok(all)
}
