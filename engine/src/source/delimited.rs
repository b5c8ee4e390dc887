//! Records of csv (RFC 4180) and tsv (split at tabs, nothing else) as rows.

mod fields;

use std::mem::replace;

use memchr::memchr;
use plan::CsvOptions;

pub(super) use fields::unquote;
use fields::{Picker, Record};

use super::block::Blocks;
use super::cut::{Extent, Piece};
use super::index::{Fault, FaultKind, Index, Syntax};
use super::lines::{self, Lines};
use super::reading::Reading;
use super::{SourceError, head};
use crate::{Result, RowScratch};

/// What some programs write before a file in UTF-8.
pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Pushes a row per record that begins in the piece.
pub(super) fn read(piece: &Piece, options: &CsvOptions, reading: &mut Reading<'_, '_>) -> Result<()> {
    reading.enter(&piece.file);
    let Some(width) = width(piece, options, reading)? else { return Ok(()) };
    let opened = match &piece.extent {
        Extent::Records(range) => {
            let opened = piece.file.stream_from(range.start, range.end).map_err(|error| reading.fail(error))?;
            let blocks = Blocks::new(opened, range.clone(), reading.limit()).up_to_the_end_of_the_range();
            Some(Lines { blocks, consumed: 0, stop: u64::MAX })
        }
        Extent::Whole | Extent::Lines(_) | Extent::Groups(_) => lines::open(piece, reading)?,
    };
    let Some(Lines { blocks, consumed, stop }) = opened else { return Ok(()) };
    let picker = Picker::new(options, width);
    picker.check(&piece.file).map_err(|error| reading.fail(error))?;
    let index = Index::new(Syntax { delimiter: Some(options.delimiter), quote: options.quote });
    Records { piece, options, blocks, consumed, stop, index, picker, scratch: RowScratch::default() }.read(reading)
}

/// How many fields each record must have (`None` inside: any number); `None` outside: the file is empty.
fn width(piece: &Piece, options: &CsvOptions, reading: &Reading<'_, '_>) -> Result<Option<Option<usize>>> {
    if !piece.file.is_repeatable() {
        return Ok(Some(None));
    }
    let Some(first) = head::first_record(&piece.file, options).map_err(|error| reading.fail(error))? else { return Ok(None) };
    if let Some(lead) = reading.lead.filter(|_| options.header) {
        lead.check(&piece.file, &first).map_err(|error| reading.fail(error))?;
    }
    let ragged = options.quote.is_none() && !options.header;
    Ok(Some((!ragged).then_some(first.len())))
}

/// A piece being read.
struct Records<'a> {
    piece: &'a Piece,
    options: &'a CsvOptions,
    blocks: Blocks,
    consumed: usize,
    stop: u64,
    index: Index,
    picker: Picker<'a>,
    scratch: RowScratch,
}

/// Where the records at hand end.
enum Progress {
    /// The first bytes are done.
    Upto(usize),
    /// No record that begins in the piece is left.
    Done,
}

impl Records<'_> {
    fn read(mut self, reading: &mut Reading<'_, '_>) -> Result<()> {
        let mut head = self.piece.is_first();
        while reading.goes_on()? {
            self.blocks.advance(self.consumed).map_err(|error| reading.fail(error))?;
            let start = if replace(&mut head, false) { self.enter_file(reading)? } else { 0 };
            let Progress::Upto(upto) = self.records(start, reading)? else { return Ok(()) };
            if self.blocks.ended() {
                break;
            }
            self.consumed = upto;
            self.index.forget(upto);
        }
        Ok(())
    }

    /// Passes over the byte order mark and the header; the position behind them.
    fn enter_file(&mut self, reading: &Reading<'_, '_>) -> Result<usize> {
        let start = if self.blocks.bytes().starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
        self.index.restart(start);
        if !self.options.header {
            return Ok(start);
        }
        loop {
            self.index.extend(self.blocks.bytes(), self.blocks.ended());
            if let Some(&record) = self.index.records().first() {
                let end = self.index.ends()[record as usize] as usize + 1;
                self.index.restart(end.min(self.blocks.bytes().len()));
                return Ok(end);
            }
            // The header was read before, and was sound: it only goes on behind this block.
            if !self.blocks.advance(0).map_err(|error| reading.fail(error))? && self.index.fault().is_some() {
                return Ok(start);
            }
        }
    }

    /// Pushes the records that end in the bytes at hand.
    fn records(&mut self, mut start: usize, reading: &mut Reading<'_, '_>) -> Result<Progress> {
        loop {
            self.index.extend(self.blocks.bytes(), self.blocks.ended());
            let Progress::Upto(upto) = self.sound_records(start, reading)? else { return Ok(Progress::Done) };
            match self.index.fault() {
                None => return Ok(Progress::Upto(upto)),
                Some(fault) => start = self.pass_over(upto, fault, reading)?,
            }
        }
    }

    fn sound_records(&mut self, mut start: usize, reading: &mut Reading<'_, '_>) -> Result<Progress> {
        let (bytes, offset) = (self.blocks.bytes(), self.blocks.offset);
        let (ends, quotes) = (self.index.ends(), self.index.quotes());
        // One row for all records: taking it anew for each means waiting for all that was written meanwhile.
        let mut plain = self.scratch.take();
        let mut first = 0;
        for &last in self.index.records() {
            let last = last as usize;
            if offset + start as u64 >= self.stop {
                return Ok(Progress::Done);
            }
            let record = Record { bytes, start, ends: &ends[first..=last], quotes };
            let end = ends[last] as usize;
            if end == bytes.len() && self.is_cut_off() {
                return Err(self.askew(reading));
            }
            reading.ctx.origin.set_offset(offset + start as u64);
            plain.clear();
            match self.picker.pick(record, &mut plain, |row| reading.target.out.push(row)) {
                Ok(pushed) => pushed?,
                Err(problem) => reading.set_aside(&bytes[start..end], || problem.to_string())?,
            }
            (start, first) = (end + 1, last + 1);
        }
        self.scratch.give(plain);
        Ok(Progress::Upto(start))
    }

    /// Sets the record with a misplaced quote aside, up to the next line end; the position behind it.
    fn pass_over(&mut self, start: usize, fault: Fault, reading: &mut Reading<'_, '_>) -> Result<usize> {
        reading.ctx.origin.set_offset(self.blocks.offset + start as u64);
        if fault.kind == FaultKind::Unterminated && self.is_cut_off() {
            return Err(self.askew(reading));
        }
        loop {
            let bytes = self.blocks.bytes();
            let line_end = memchr(b'\n', &bytes[fault.at..]).map(|at| fault.at + at);
            if line_end.is_some() || self.blocks.ended() {
                let end = line_end.unwrap_or(bytes.len());
                reading.set_aside(&bytes[start..end], || head::describe(fault.kind).to_owned())?;
                let next = (end + 1).min(bytes.len());
                self.index.restart(next);
                return Ok(next);
            }
            self.blocks.advance(0).map_err(|error| reading.fail(error))?;
        }
    }

    /// Whether the bytes at hand end where a piece ends and another follows.
    fn is_cut_off(&self) -> bool {
        matches!(&self.piece.extent, Extent::Records(range) if Some(range.end) < self.piece.file.size)
    }

    fn askew(&self, reading: &Reading<'_, '_>) -> crate::Error {
        let problem = "its quotes do not match: one before this record is missing or too many".to_owned();
        let place = reading.ctx.origin.describe().unwrap_or_default();
        reading.fail(SourceError::Malformed { place, problem })
    }
}

#[cfg(test)]
mod tests;
