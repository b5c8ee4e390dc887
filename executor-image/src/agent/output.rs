//! What one attempt left: numbered pieces, each a sequence of frames, in memory or in a file.
//!
//! The file has no name from its first moment on: whatever happens to this process, nothing stays. That an agent which starts
//! again comes back empty is on purpose. Outputs lie in memory first, so hardly any would be whole on the disk; an index that
//! is right after any crash would cost a flush of every file, and the operator can always have the lost ones made again.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bytes::{Bytes, BytesMut};
use proto::chunk::{Chunk, MESSAGE_BYTES, Message, PIECES_LIMIT, TRAILER};

use super::budget::Place;
use super::room::Charge;

/// What a part costs beside its bytes.
const PART_COST: u64 = 64;
/// What a piece costs beside its parts.
const PIECE_COST: u64 = 128;

/// A whole output.
#[derive(Debug)]
pub struct Output {
    pieces: BTreeMap<u32, Piece>,
    trailer: Piece,
    file: Option<File>,
    charge: Charge,
    /// Of frames, without the trailer.
    bytes: u64,
}

/// Frames in order.
#[derive(Debug, Default)]
pub struct Piece {
    parts: Vec<Part>,
    /// The first part of each frame that has ended.
    frames: Vec<u32>,
    /// The first part of the frame that has begun and not ended.
    open: Option<u32>,
}

/// Some bytes of a frame: a chunk as it came.
#[derive(Clone, Debug)]
pub struct Part {
    pub bytes: Stored,
    /// Whether the frame ends with it.
    pub ends: bool,
}

/// Bytes that are held.
#[derive(Clone, Debug)]
pub enum Stored {
    Memory(Bytes),
    Disk { offset: u64, length: u32 },
}

/// A stream of messages that cannot be an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadOutput {
    #[error("piece {0} is beyond the limit of {PIECES_LIMIT} pieces")]
    Piece(u32),
    #[error("a piece follows the trailer, or a second trailer")]
    AfterTrailer,
    #[error("the trailer comes in the middle of a frame")]
    OpenFrame,
    #[error("the output ends without its trailer")]
    NoTrailer,
}

impl Output {
    /// Empty, to be added to.
    #[must_use]
    pub fn new(charge: Charge) -> Output {
        Output { pieces: BTreeMap::new(), trailer: Piece::default(), file: None, charge, bytes: 0 }
    }

    /// Frames of each piece up to the last that has some, by piece number.
    #[must_use]
    pub fn frame_counts(&self) -> Vec<u32> {
        let mut counts = vec![0; self.pieces.last_key_value().map_or(0, |(last, _)| *last as usize + 1)];
        for (piece, held) in &self.pieces {
            counts[*piece as usize] = held.frames.len() as u32;
        }
        counts
    }

    /// Bytes of frames.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes that it takes of the agent's room.
    #[must_use]
    pub fn charged(&self) -> u64 {
        self.charge.memory + self.charge.disk
    }

    /// The parts of frames `first..end` of a piece; `None` if it has not so many.
    #[must_use]
    pub fn parts(&self, piece: u32, first: u32, end: u32) -> Option<&[Part]> {
        if first == end {
            return Some(&[]);
        }
        self.pieces.get(&piece)?.parts(first, end)
    }

    /// The parts of the trailer.
    #[must_use]
    pub fn trailer(&self) -> &[Part] {
        &self.trailer.parts
    }

    /// Reads bytes that went to the disk. Blocks.
    ///
    /// # Errors
    /// If the disk does not give them.
    pub fn read(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let file = self.file.as_ref().ok_or_else(|| io::Error::other("the output has no file"))?;
        file.read_exact_at(into, offset)
    }

    /// What a message would cost.
    #[must_use]
    pub fn cost(&self, message: &Message) -> u64 {
        let mut cost = 0;
        let mut last = None;
        for chunk in &message.chunks {
            let new = last != Some(chunk.piece) && !self.pieces.contains_key(&chunk.piece);
            cost += chunk.bytes.len() as u64 + PART_COST + if new { PIECE_COST } else { 0 };
            last = Some(chunk.piece);
        }
        cost
    }

    /// What a message is charged to.
    pub fn charge(&mut self) -> &mut Charge {
        &mut self.charge
    }

    /// Adds a message whose cost was taken. Blocks if it goes to the disk.
    ///
    /// # Errors
    /// Bytes that are no output, or a disk that does not take them (nothing of the message is added then).
    pub fn add(&mut self, message: &Message, place: Place, spill: &Path) -> Result<(), AddError> {
        let parts = match place {
            Place::Memory => keep(message),
            Place::Disk => self.write(message, spill).map_err(AddError::Disk)?,
        };
        for (piece, part) in parts {
            self.push(piece, part)?;
        }
        Ok(())
    }

    /// Whole, or not.
    ///
    /// # Errors
    /// [`BadOutput::NoTrailer`].
    pub fn finish(&mut self) -> Result<(), BadOutput> {
        if self.trailer.frames.len() != 1 {
            return Err(BadOutput::NoTrailer);
        }
        for piece in self.pieces.values_mut() {
            piece.parts.shrink_to_fit();
            piece.frames.shrink_to_fit();
        }
        Ok(())
    }

    fn write(&mut self, message: &Message, spill: &Path) -> io::Result<Vec<(u32, Part)>> {
        let file = match &self.file {
            Some(file) => file,
            // Without a name; nothing of a file name ever comes from the wire.
            None => self.file.insert(tempfile::tempfile_in(spill)?),
        };
        let begin = file.metadata()?.len();
        let mut all = Vec::with_capacity(message.wire_bytes());
        let mut parts = Vec::with_capacity(message.chunks.len());
        for chunk in &message.chunks {
            let bytes = Stored::Disk { offset: begin + all.len() as u64, length: chunk.bytes.len() as u32 };
            all.extend_from_slice(&chunk.bytes);
            parts.push((chunk.piece, Part { bytes, ends: chunk.ends }));
        }
        if let Err(error) = file.write_all_at(&all, begin) {
            // Half a message must not stay in the room of others.
            file.set_len(begin)?;
            return Err(error);
        }
        Ok(parts)
    }

    fn push(&mut self, piece: u32, part: Part) -> Result<(), BadOutput> {
        if !self.trailer.frames.is_empty() || (piece != TRAILER && !self.trailer.parts.is_empty()) {
            return Err(BadOutput::AfterTrailer);
        }
        if piece == TRAILER {
            if self.trailer.parts.is_empty() && self.pieces.values().any(|piece| piece.open.is_some()) {
                return Err(BadOutput::OpenFrame);
            }
            self.trailer.push(part);
            return Ok(());
        }
        if piece >= PIECES_LIMIT {
            return Err(BadOutput::Piece(piece));
        }
        self.bytes += part.length() as u64;
        self.pieces.entry(piece).or_default().push(part);
        Ok(())
    }
}

/// A message was not added.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    #[error(transparent)]
    Bad(#[from] BadOutput),
    #[error("the agent's disk did not take the output")]
    Disk(#[source] io::Error),
}

impl Piece {
    fn push(&mut self, part: Part) {
        let at = self.parts.len() as u32;
        let first = *self.open.get_or_insert(at);
        if part.ends {
            self.frames.push(first);
            self.open = None;
        }
        self.parts.push(part);
    }

    fn parts(&self, first: u32, end: u32) -> Option<&[Part]> {
        let end_part =
            if end as usize == self.frames.len() { self.parts.len() } else { *self.frames.get(end as usize)? as usize };
        let first_part = *self.frames.get(first as usize)? as usize;
        self.parts.get(first_part..end_part)
    }
}

impl Part {
    /// Bytes.
    #[must_use]
    pub fn length(&self) -> usize {
        match &self.bytes {
            Stored::Memory(bytes) => bytes.len(),
            Stored::Disk { length, .. } => *length as usize,
        }
    }
}

/// Parts in memory. A small message is copied: the buffer that it came in is much larger than what is charged for it.
fn keep(message: &Message) -> Vec<(u32, Part)> {
    let part = |chunk: &Chunk, bytes: Bytes| (chunk.piece, Part { bytes: Stored::Memory(bytes), ends: chunk.ends });
    if message.wire_bytes() >= MESSAGE_BYTES / 2 {
        return message.chunks.iter().map(|chunk| part(chunk, chunk.bytes.clone())).collect();
    }
    let mut all = BytesMut::with_capacity(message.chunks.iter().map(|chunk| chunk.bytes.len()).sum());
    let mut copy = |chunk: &Chunk| {
        all.extend_from_slice(&chunk.bytes);
        part(chunk, all.split().freeze())
    };
    message.chunks.iter().map(&mut copy).collect()
}
