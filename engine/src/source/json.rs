//! JSON, one value per line: a row of one field, or of one field per wanted name.

mod parse;

use super::cut::Piece;
use super::lines::for_each_line;
use super::reading::Reading;
use crate::{Result, RowScratch};
use parse::Parser;

/// Pushes a row per line that is not blank.
pub(super) fn read(piece: &Piece, columns: Option<&[String]>, reading: &mut Reading<'_, '_>) -> Result<()> {
    let (mut parser, mut scratch) = (Parser::default(), RowScratch::default());
    let names: Option<Vec<&[u8]>> = columns.map(|names| names.iter().map(|name| name.as_bytes()).collect());
    for_each_line(piece, reading, |reading, line| {
        if line.iter().all(u8::is_ascii_whitespace) {
            return Ok(());
        }
        let mut row = scratch.take();
        let parsed = match &names {
            Some(names) => parser.members(line, names, &mut row),
            None => parser.value(line, &mut row),
        };
        match parsed {
            Ok(()) => reading.target.out.push(&row)?,
            Err(problem) => reading.set_aside(line, || problem.to_string())?,
        }
        scratch.give(row);
        Ok(())
    })
}
