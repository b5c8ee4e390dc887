//! Pieces of outputs on the wire: messages of chunks. A frame (one compressed batch) is one chunk, or several if it is large.
//!
//! A message is chunks one behind the other, each `piece: u32, length and flag: u32, bytes` (little endian). The flag says that
//! the frame goes on in the next chunk of the same piece. Payloads are never copied on the way in.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The longest chunk; longer frames are cut.
pub const CHUNK_BYTES: usize = 1 << 20;
/// About how large a message should be: large enough that its cost does not count.
pub const MESSAGE_BYTES: usize = 1 << 20;
/// The largest message that is accepted.
pub const MESSAGE_LIMIT: usize = 4 << 20;
/// The most chunks of one message: what they cost beside their bytes is bounded too.
pub const CHUNKS_LIMIT: usize = 1 << 16;
/// The most pieces of one output.
pub const PIECES_LIMIT: u32 = 1 << 20;
/// The piece number of what follows the pieces: the encoded [`plan::task::Done`] of the attempt.
pub const TRAILER: u32 = u32::MAX;

const GOES_ON: u32 = 1 << 31;
const HEADER: usize = 8;

/// Some bytes of a piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    pub piece: u32,
    /// Whether the frame ends with this chunk.
    pub ends: bool,
    pub bytes: Bytes,
}

/// Chunks that travel together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    pub chunks: Vec<Chunk>,
}

/// A message that cannot be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadMessage {
    #[error("a chunk's length does not fit its message")]
    Length,
    #[error("a chunk without bytes ends no frame")]
    Hollow,
    #[error("a message of more than {CHUNKS_LIMIT} chunks")]
    Chunks,
}

impl Message {
    /// Bytes on the wire.
    #[must_use]
    pub fn wire_bytes(&self) -> usize {
        self.chunks.iter().map(|chunk| HEADER + chunk.bytes.len()).sum()
    }

    /// Appends the chunks of one frame.
    pub fn push_frame(&mut self, piece: u32, frame: Bytes) {
        self.chunks.extend(cut(piece, frame));
    }

    /// Appends its bytes.
    pub fn encode(self, out: &mut impl BufMut) {
        for chunk in self.chunks {
            out.put_u32_le(chunk.piece);
            out.put_u32_le(chunk.bytes.len() as u32 | if chunk.ends { 0 } else { GOES_ON });
            out.put(chunk.bytes);
        }
    }

    /// From its bytes.
    ///
    /// # Errors
    /// If they are none.
    pub fn decode(mut bytes: Bytes) -> Result<Message, BadMessage> {
        let mut chunks = Vec::new();
        while bytes.has_remaining() {
            if bytes.len() < HEADER {
                return Err(BadMessage::Length);
            }
            if chunks.len() == CHUNKS_LIMIT {
                return Err(BadMessage::Chunks);
            }
            let (piece, length) = (bytes.get_u32_le(), bytes.get_u32_le());
            let (ends, length) = (length & GOES_ON == 0, (length & !GOES_ON) as usize);
            if length > bytes.len() {
                return Err(BadMessage::Length);
            }
            if length == 0 && !ends {
                return Err(BadMessage::Hollow);
            }
            chunks.push(Chunk { piece, ends, bytes: bytes.split_to(length) });
        }
        Ok(Message { chunks })
    }
}

/// A frame as chunks.
fn cut(piece: u32, frame: Bytes) -> impl Iterator<Item = Chunk> {
    let mut rest = Some(frame);
    std::iter::from_fn(move || {
        let mut bytes = rest.take()?;
        if bytes.len() > CHUNK_BYTES {
            rest = Some(bytes.split_off(CHUNK_BYTES));
        }
        Some(Chunk { piece, ends: rest.is_none(), bytes })
    })
}

/// Collects frames into messages of about [`MESSAGE_BYTES`], never more than twice that.
#[derive(Debug, Default)]
pub struct Packer {
    message: Message,
    bytes: usize,
}

impl Packer {
    /// Adds a frame; every message that became full goes to `full`.
    ///
    /// # Errors
    /// What `full` says; the frame is then only partly sent.
    pub fn push<E>(&mut self, piece: u32, frame: Bytes, mut full: impl FnMut(Message) -> Result<(), E>) -> Result<(), E> {
        for chunk in cut(piece, frame) {
            self.bytes += HEADER + chunk.bytes.len();
            self.message.chunks.push(chunk);
            if self.bytes >= MESSAGE_BYTES || self.message.chunks.len() == CHUNKS_LIMIT {
                full(self.take())?;
            }
        }
        Ok(())
    }

    /// What is left.
    #[must_use]
    pub fn take(&mut self) -> Message {
        self.bytes = 0;
        std::mem::take(&mut self.message)
    }

    /// Whether nothing is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.message.chunks.is_empty()
    }
}

/// Collects chunks of one piece into frames.
#[derive(Debug, Default)]
pub struct Frames {
    open: BytesMut,
}

impl Frames {
    /// The frame that a chunk ends, if it ends one.
    pub fn push(&mut self, chunk: Chunk) -> Option<Bytes> {
        if chunk.ends && self.open.is_empty() {
            return Some(chunk.bytes);
        }
        self.open.extend_from_slice(&chunk.bytes);
        chunk.ends.then(|| std::mem::take(&mut self.open).freeze())
    }

    /// Whether a frame has begun and not ended.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.open.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn messages_come_back_as_they_were_and_nothing_else_is_one(frames in proptest::collection::vec((any::<u32>(), 0_usize..3_000_000), 0..5), cut in 0_usize..40) {
            let mut message = Message::default();
            for (piece, length) in &frames {
                message.push_frame(*piece, Bytes::from(vec![*piece as u8; *length]));
            }
            let mut bytes = BytesMut::new();
            let size = message.wire_bytes();
            message.clone().encode(&mut bytes);
            prop_assert_eq!(bytes.len(), size);
            let bytes = bytes.freeze();
            prop_assert_eq!(Message::decode(bytes.clone()), Ok(message));
            let short = bytes.slice(..bytes.len().saturating_sub(cut));
            prop_assert!(Message::decode(short).map_or(true, |decoded| decoded.wire_bytes() <= size));
        }
    }

    #[test]
    fn packed_messages_are_bounded_and_hold_every_frame() {
        let sizes = [0, 10, CHUNK_BYTES, 5 * CHUNK_BYTES + 3, MESSAGE_BYTES - 1, 1];
        let (mut packer, mut messages) = (Packer::default(), Vec::new());
        for (piece, size) in sizes.iter().enumerate() {
            packer
                .push(piece as u32, Bytes::from(vec![7; *size]), |message| {
                    messages.push(message);
                    Ok::<(), ()>(())
                })
                .unwrap();
        }
        messages.push(packer.take());
        assert!(packer.is_empty());
        assert!(messages.iter().all(|message| message.wire_bytes() < 2 * MESSAGE_BYTES + HEADER));
        let mut frames = Frames::default();
        let chunks = messages.into_iter().flat_map(|message| message.chunks);
        let made: Vec<usize> = chunks.filter_map(|chunk| frames.push(chunk)).map(|frame| frame.len()).collect();
        assert_eq!(made, sizes);
    }

    #[test]
    fn chunks_that_cost_more_than_they_bring_are_refused() {
        let header = |piece: u32, length: u32| [piece.to_le_bytes(), length.to_le_bytes()].concat();
        assert_eq!(Message::decode(header(1, GOES_ON).into()), Err(BadMessage::Hollow));
        assert_eq!(Message::decode(header(1, 1).into()), Err(BadMessage::Length));
        assert_eq!(Message::decode(header(1, 0).repeat(CHUNKS_LIMIT + 1).into()), Err(BadMessage::Chunks));
        assert_eq!(Message::decode(header(1, 0)[..5].to_vec().into()), Err(BadMessage::Length));
    }

    #[test]
    fn a_large_frame_is_cut_and_put_together_again() {
        let frame = Bytes::from((0..3 * CHUNK_BYTES + 5).map(|at| at as u8).collect::<Vec<u8>>());
        let (mut message, mut frames) = (Message::default(), Frames::default());
        message.push_frame(7, frame.clone());
        assert_eq!(message.chunks.len(), 4);
        let made: Vec<Bytes> = message.chunks.into_iter().filter_map(|chunk| frames.push(chunk)).collect();
        assert_eq!(made, [frame]);
    }
}
