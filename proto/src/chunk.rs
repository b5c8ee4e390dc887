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
#[error("a chunk's length does not fit its message")]
pub struct BadMessage;

impl Message {
    /// Bytes on the wire.
    #[must_use]
    pub fn wire_bytes(&self) -> usize {
        self.chunks.iter().map(|chunk| HEADER + chunk.bytes.len()).sum()
    }

    /// Appends the chunks of one frame.
    pub fn push_frame(&mut self, piece: u32, mut frame: Bytes) {
        while frame.len() > CHUNK_BYTES {
            self.chunks.push(Chunk { piece, ends: false, bytes: frame.split_to(CHUNK_BYTES) });
        }
        self.chunks.push(Chunk { piece, ends: true, bytes: frame });
    }

    pub(crate) fn encode(self, out: &mut impl BufMut) {
        for chunk in self.chunks {
            out.put_u32_le(chunk.piece);
            out.put_u32_le(chunk.bytes.len() as u32 | if chunk.ends { 0 } else { GOES_ON });
            out.put(chunk.bytes);
        }
    }

    pub(crate) fn decode(mut bytes: Bytes) -> Result<Message, BadMessage> {
        let mut chunks = Vec::new();
        while bytes.has_remaining() {
            if bytes.len() < HEADER {
                return Err(BadMessage);
            }
            let (piece, length) = (bytes.get_u32_le(), bytes.get_u32_le());
            let (ends, length) = (length & GOES_ON == 0, (length & !GOES_ON) as usize);
            if length > bytes.len() {
                return Err(BadMessage);
            }
            chunks.push(Chunk { piece, ends, bytes: bytes.split_to(length) });
        }
        Ok(Message { chunks })
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
    fn a_large_frame_is_cut_and_put_together_again() {
        let frame = Bytes::from((0..3 * CHUNK_BYTES + 5).map(|at| at as u8).collect::<Vec<u8>>());
        let (mut message, mut frames) = (Message::default(), Frames::default());
        message.push_frame(7, frame.clone());
        assert_eq!(message.chunks.len(), 4);
        let made: Vec<Bytes> = message.chunks.into_iter().filter_map(|chunk| frames.push(chunk)).collect();
        assert_eq!(made, [frame]);
    }
}
