//! Lines of text, however long: each ends at LF or CRLF, the last one may end with the file. A byte order mark before the first
//! one is none of its bytes.

use memchr::memchr;

use super::block::Blocks;
use super::cut::{Extent, Piece};
use super::delimited::BYTE_ORDER_MARK;
use super::index::{Index, Syntax};
use super::reading::Reading;
use crate::{Result, Val};

/// Pushes a row of one field per line.
pub(super) fn read(piece: &Piece, reading: &mut Reading<'_, '_>) -> Result<()> {
    for_each_line(piece, reading, |reading, line| reading.target.out.push(&[Val::Str(line)]))
}

/// Calls `each` for every line that begins in the piece.
pub(super) fn for_each_line(
    piece: &Piece,
    reading: &mut Reading<'_, '_>,
    mut each: impl FnMut(&mut Reading<'_, '_>, &[u8]) -> Result<()>,
) -> Result<()> {
    reading.enter(&piece.file);
    let Some(Lines { mut blocks, mut consumed, stop }) = open(piece, reading)? else { return Ok(()) };
    let mut index = Index::new(Syntax { delimiter: None, quote: None });
    let mut head = piece.is_first();
    while reading.goes_on()? {
        blocks.advance(consumed).map_err(|error| reading.fail(error))?;
        let mut start = 0;
        if std::mem::replace(&mut head, false) && blocks.bytes().starts_with(BYTE_ORDER_MARK) {
            start = BYTE_ORDER_MARK.len();
            index.restart(start);
        }
        index.extend(blocks.bytes(), blocks.ended());
        let (bytes, offset) = (blocks.bytes(), blocks.offset);
        for &end in index.ends() {
            let end = end as usize;
            if offset + start as u64 >= stop {
                return Ok(());
            }
            reading.ctx.origin.set_offset(offset + start as u64);
            each(reading, line(bytes, start, end))?;
            start = end + 1;
        }
        if blocks.ended() {
            break;
        }
        consumed = start;
        index.forget(consumed);
    }
    Ok(())
}

/// The line between two positions, without the CR of a CRLF.
fn line(bytes: &[u8], start: usize, end: usize) -> &[u8] {
    let crlf = end > start && bytes[end - 1] == b'\r' && end < bytes.len();
    &bytes[start..end - usize::from(crlf)]
}

/// A piece of a file of lines, opened.
pub(super) struct Lines {
    pub(super) blocks: Blocks,
    /// What of the bytes at hand belongs to the piece before.
    pub(super) consumed: usize,
    /// Lines that begin here or later belong to the next piece.
    pub(super) stop: u64,
}

/// Opens a piece at its first line; `None` if no line begins in it.
pub(super) fn open(piece: &Piece, reading: &Reading<'_, '_>) -> Result<Option<Lines>> {
    let opened = || match &piece.extent {
        Extent::Lines(range) if range.start > 0 => {
            let stream = piece.file.stream_from(range.start - 1, range.end)?;
            let mut blocks = Blocks::new(stream, range.start - 1..range.end, reading.limit());
            // The line that the piece begins in belongs to the piece before, however long it is.
            while blocks.advance(blocks.bytes().len())? && blocks.offset < range.end {
                if let Some(end) = memchr(b'\n', blocks.bytes()) {
                    return Ok(Some(Lines { blocks, consumed: end + 1, stop: range.end }));
                }
            }
            Ok(None)
        }
        Extent::Lines(range) => {
            let blocks = Blocks::new(piece.file.stream_from(0, range.end)?, 0..range.end, reading.limit());
            Ok(Some(Lines { blocks, consumed: 0, stop: range.end }))
        }
        Extent::Whole | Extent::Records(_) | Extent::Groups(_) => {
            let blocks = Blocks::new(piece.file.stream()?, 0..u64::MAX, reading.limit());
            Ok(Some(Lines { blocks, consumed: 0, stop: u64::MAX }))
        }
    };
    opened().map_err(|error| reading.fail(error))
}
