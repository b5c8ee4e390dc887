//! A sliding window over a stream: whole records stay in one piece, everything behind them is read on.

use std::ops::Range;

use super::SourceError;
use super::file::Stream;

/// How much is read at a time: small enough for the second-level cache together with its index.
const BLOCK: usize = 128 << 10;
/// What is read at a time behind the end of a range: the rest of one record, mostly.
const STEP: u64 = 64 << 10;

/// A buffer over a stream.
pub(super) struct Blocks {
    stream: Stream,
    buffer: Vec<u8>,
    filled: usize,
    /// The place of the buffer's first byte in the file.
    pub(super) offset: u64,
    /// Where the range ends that the records begin in.
    soft_end: u64,
    /// Whether nothing behind it is read.
    hard: bool,
    ended: bool,
    /// The longest record that is taken.
    limit: usize,
}

impl Blocks {
    /// A window over a stream that begins at the start of a range of its file; no record may be longer than `limit`.
    pub(super) fn new(stream: Stream, range: Range<u64>, limit: usize) -> Blocks {
        // Positions in a block are 32 bits wide.
        let limit = limit.min(u32::MAX as usize / 2);
        Blocks {
            stream,
            buffer: Vec::new(),
            filled: 0,
            offset: range.start,
            soft_end: range.end,
            hard: false,
            ended: false,
            limit,
        }
    }

    /// Takes the end of the range as the end of the stream.
    pub(super) fn up_to_the_end_of_the_range(self) -> Blocks {
        Blocks { hard: true, ..self }
    }

    /// The bytes at hand.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer[..self.filled]
    }

    /// Whether nothing follows the bytes at hand.
    pub(super) fn ended(&self) -> bool {
        self.ended
    }

    /// Drops the first bytes and reads on. False if there was nothing more.
    pub(super) fn advance(&mut self, drop: usize) -> Result<bool, SourceError> {
        self.buffer.copy_within(drop..self.filled, 0);
        self.filled -= drop;
        self.offset += drop as u64;
        if self.ended {
            return Ok(false);
        }
        self.make_room()?;
        let position = self.offset + self.filled as u64;
        let step = match self.soft_end.saturating_sub(position) {
            0 if self.hard => 0,
            0 => STEP,
            left => left,
        };
        let wanted = (self.buffer.len() - self.filled).min(usize::try_from(step).unwrap_or(usize::MAX));
        let len = self.stream.fill(&mut self.buffer[self.filled..self.filled + wanted])?;
        self.ended = len < wanted || step == 0;
        self.filled += len;
        Ok(len > 0)
    }

    /// Room for a block behind what is kept; doubling, so that a long record is moved a few times only.
    fn make_room(&mut self) -> Result<(), SourceError> {
        if self.filled > self.limit {
            let place = format!("a record of {} (from byte {} on)", self.stream.file.name, self.offset);
            return Err(SourceError::TooLarge { place, bytes: self.filled as u64, limit: self.limit });
        }
        if self.buffer.len() - self.filled < BLOCK {
            let len = if self.buffer.is_empty() { BLOCK } else { (2 * self.buffer.len()).max(self.filled + BLOCK) };
            self.buffer.resize(len, 0);
        }
        Ok(())
    }
}
