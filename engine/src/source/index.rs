//! Finds where fields and records end, 64 bytes at a time. Knows nothing of rows; never looks at a byte twice.
//!
//! A block becomes bit masks (one bit per byte: is it a quote, a delimiter, a line end); quoted regions are the running
//! parity of the quotes; what is left of delimiters and line ends outside of them are the ends. RFC 4180 is held to: a quote
//! that neither opens, closes nor doubles is a [`Fault`], so parity is exact up to the first one.

mod mask;

use mask::{Block, running_parity};

/// What separates fields and records.
#[derive(Clone, Copy, Debug)]
pub(super) struct Syntax {
    /// `None`: lines are not divided.
    pub(super) delimiter: Option<u8>,
    /// `None`: quotes are text.
    pub(super) quote: Option<u8>,
}

/// Ends of fields and records in a buffer, found so far.
#[derive(Debug)]
pub(super) struct Index {
    syntax: Syntax,
    /// Positions of delimiters and line ends outside of quotes. Longer than `len`, so that it is written without growing.
    ends: Vec<u32>,
    len: usize,
    /// For each line end among `ends`, its place there; only kept where lines are divided.
    records: Vec<u32>,
    /// Where indexing began.
    start: usize,
    /// How much of the buffer is indexed.
    upto: usize,
    state: State,
    fault: Option<Fault>,
    /// Behind the last block that has a quote; 0 if none is in the buffer.
    quoted_upto: usize,
    /// Behind the last block that has a doubled quote; 0 if none is in the buffer.
    doubled_upto: usize,
}

/// What quotes some records have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Quotes {
    None,
    /// Around fields only.
    Single,
    /// Perhaps also doubled ones within fields.
    Doubled,
}

/// What the next block must know of the bytes before it.
#[derive(Clone, Copy, Debug)]
struct State {
    /// In a quoted field.
    inside: bool,
    /// The last byte lets a quote open: it ended a field, or was a quote (which the next one doubles).
    may_open: bool,
    /// The last byte was a quote that closes, unless one follows.
    closed: bool,
    /// The last byte was a CR behind a closing quote: a LF must follow.
    closed_by_return: bool,
}

const FRESH: State = State { inside: false, may_open: true, closed: false, closed_by_return: false };

/// A quote where RFC 4180 has none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Fault {
    /// The position of the byte that should not be there.
    pub(super) at: usize,
    pub(super) kind: FaultKind,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum FaultKind {
    QuoteInsideUnquoted,
    TextBehindQuoted,
    Unterminated,
}

impl Index {
    pub(super) fn new(syntax: Syntax) -> Index {
        let (ends, records) = (Vec::new(), Vec::new());
        Index { syntax, ends, len: 0, records, start: 0, upto: 0, state: FRESH, fault: None, quoted_upto: 0, doubled_upto: 0 }
    }

    /// An index of bytes from the middle of a file, supposing that they begin inside a quoted field, or outside and, if
    /// `may_open`, behind the end of a field. The byte before is no quote.
    pub(super) fn supposing(syntax: Syntax, inside: bool, may_open: bool) -> Index {
        let state = State { inside, may_open, ..FRESH };
        Index { state, ..Index::new(syntax) }
    }

    /// Ends of fields and records; the byte there is a delimiter or a line end (or the end of the data).
    pub(super) fn ends(&self) -> &[u32] {
        &self.ends[..self.len]
    }

    /// Places in `ends` where a record ends.
    pub(super) fn records(&self) -> &[u32] {
        &self.records
    }

    pub(super) fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// What quotes there are in what is indexed now.
    pub(super) fn quotes(&self) -> Quotes {
        match (self.quoted_upto > 0, self.doubled_upto > 0) {
            (_, true) => Quotes::Doubled,
            (true, false) => Quotes::Single,
            (false, false) => Quotes::None,
        }
    }

    /// Begins anew at a record's start, at a position of the buffer.
    pub(super) fn restart(&mut self, at: usize) {
        (self.len, self.start, self.upto, self.state, self.fault) = (0, at, at, FRESH, None);
        (self.quoted_upto, self.doubled_upto) = (0, 0);
        self.records.clear();
    }

    /// Forgets the first `bytes` of the buffer and the ends in them; the others move along.
    pub(super) fn forget(&mut self, bytes: usize) {
        let kept = self.ends().partition_point(|end| (*end as usize) < bytes);
        self.ends.copy_within(kept..self.len, 0);
        self.len -= kept;
        for end in &mut self.ends[..self.len] {
            *end -= bytes as u32;
        }
        self.records.clear();
        self.start = self.start.saturating_sub(bytes);
        self.upto -= bytes;
        self.quoted_upto = self.quoted_upto.saturating_sub(bytes);
        self.doubled_upto = self.doubled_upto.saturating_sub(bytes);
    }

    /// Indexes the buffer; `last` if nothing follows it: its end then ends a record that is still open.
    pub(super) fn extend(&mut self, buffer: &[u8], last: bool) {
        let ready = if last { buffer.len() } else { buffer.len() - (buffer.len() - self.upto) % 64 };
        mask::index_blocks(self, buffer, ready);
        if self.fault.is_none() && last {
            self.finish(buffer);
        }
    }

    fn finish(&mut self, buffer: &[u8]) {
        let rest = buffer.len() - self.upto;
        if rest > 0 {
            let mut block = [0; 64];
            block[..rest].copy_from_slice(&buffer[self.upto..]);
            self.block(&block, u64::MAX >> (64 - rest), mask::matches);
            self.upto = buffer.len();
        }
        if self.fault.is_none() && self.state.inside {
            self.fault = Some(Fault { at: buffer.len(), kind: FaultKind::Unterminated });
        }
        let open = buffer.len() > self.start && buffer[buffer.len() - 1] != b'\n';
        if open && self.fault.is_none() {
            self.reserve();
            self.ends[self.len] = buffer.len() as u32;
            self.records.push(self.len as u32);
            self.len += 1;
        }
    }

    /// Indexes whole blocks up to a place. All of it becomes a part of the caller, with the instructions that it may use.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a function of its own would be compiled for any processor")]
    fn blocks(&mut self, buffer: &[u8], ready: usize, matches: impl Fn(&Block, u8) -> u64 + Copy) {
        while self.fault.is_none() && self.upto + 64 <= ready {
            let block: &Block = buffer[self.upto..self.upto + 64].try_into().expect("64 bytes were asked for");
            self.block(block, u64::MAX, matches);
            self.upto += 64;
        }
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "as for `blocks`")]
    fn block(&mut self, block: &Block, valid: u64, matches: impl Fn(&Block, u8) -> u64) {
        let lines = matches(block, b'\n') & valid;
        let delimiters = self.syntax.delimiter.map_or(0, |byte| matches(block, byte) & valid);
        let quotes = self.syntax.quote.map_or(0, |byte| matches(block, byte) & valid);
        let state = self.state;
        if quotes == 0 && !(state.inside || state.closed || state.closed_by_return) {
            let ends = lines | delimiters;
            self.state.may_open = ends >> 63 == 1;
            self.emit(ends, lines);
        } else {
            let returns = matches(block, b'\r') & valid;
            self.quoted_block(Masks { lines, delimiters, quotes, returns, valid });
        }
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "as for `blocks`")]
    fn quoted_block(&mut self, masks: Masks) {
        let before = self.state;
        let inside = running_parity(masks.quotes) ^ if before.inside { u64::MAX } else { 0 };
        let (opening, closing) = (masks.quotes & inside, masks.quotes & !inside);
        let lines = masks.lines & !inside;
        let ends = (masks.lines | masks.delimiters) & !inside;
        let returns = masks.returns & !inside;
        let next = |mask: u64, carried: bool| (mask << 1) | u64::from(carried);

        let misplaced = opening & !next(ends | closing, before.may_open);
        let behind = next(closing, before.closed);
        let behind_return = next(behind & returns, before.closed_by_return);
        let trailing = (behind & !(ends | opening | returns)) | (behind_return & !lines);
        let faulty = (misplaced | trailing) & masks.valid;
        let sound = if faulty == 0 { u64::MAX } else { (faulty & faulty.wrapping_neg()) - 1 };
        if faulty != 0 {
            let at = faulty.trailing_zeros();
            let kind = if misplaced >> at & 1 == 1 { FaultKind::QuoteInsideUnquoted } else { FaultKind::TextBehindQuoted };
            self.fault = Some(Fault { at: self.upto + at as usize, kind });
        }
        // The padding behind the last block reads as more of the same: only its last byte's region counts.
        let last = 63 - masks.valid.leading_zeros();
        let at_last = |mask: u64| mask >> last & 1 == 1;
        self.quoted_upto = self.upto + 64;
        if opening & behind != 0 {
            self.doubled_upto = self.upto + 64;
        }
        self.state = State {
            inside: at_last(inside),
            may_open: at_last(ends | closing),
            closed: at_last(closing),
            closed_by_return: at_last(behind & returns),
        };
        self.emit(ends & sound, lines & sound);
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "as for `blocks`")]
    fn emit(&mut self, ends: u64, lines: u64) {
        self.reserve();
        if self.syntax.delimiter.is_some() {
            self.mark_records(ends, lines);
        }
        let out: &mut [u32; 64] = (&mut self.ends[self.len..self.len + 64]).try_into().expect("64 places are reserved");
        let (mut left, base) = (ends, self.upto as u32);
        let count = ends.count_ones() as usize;
        // Eight at a time without asking whether there are so many: what is over is written over.
        for group in out.chunks_exact_mut(8).take(count.div_ceil(8)) {
            for place in group {
                *place = base + left.trailing_zeros();
                left &= left.wrapping_sub(1);
            }
        }
        self.len += count;
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "as for `blocks`")]
    fn mark_records(&mut self, ends: u64, mut lines: u64) {
        while lines != 0 {
            let line = lines & lines.wrapping_neg();
            self.records.push(self.len as u32 + (ends & (line - 1)).count_ones());
            lines ^= line;
        }
    }

    #[inline]
    fn reserve(&mut self) {
        if self.ends.len() < self.len + 64 {
            self.ends.resize((2 * self.ends.len()).max(4096), 0);
        }
    }
}

/// The masks of one block.
struct Masks {
    lines: u64,
    delimiters: u64,
    quotes: u64,
    returns: u64,
    valid: u64,
}

#[cfg(test)]
mod tests;
