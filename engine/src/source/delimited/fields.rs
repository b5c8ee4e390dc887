//! Picks the wanted fields of a record: unquoted, typed, in the order of the row. The other fields are only counted.

use std::sync::Arc;

use memchr::memchr;
use plan::{CsvOptions, ValueType};
use thiserror::Error;

use super::super::SourceError;
use super::super::file::SourceFile;
use super::super::index::Quotes;
use crate::Val;
use crate::text::plain_float;

/// A record in a block.
#[derive(Clone, Copy)]
pub(super) struct Record<'b> {
    pub(super) bytes: &'b [u8],
    pub(super) start: usize,
    /// Where its fields end.
    pub(super) ends: &'b [u32],
    /// What quotes there may be in it.
    pub(super) quotes: Quotes,
}

/// Why a record is no row.
#[derive(Debug, Error)]
pub(super) enum Problem {
    #[error("the record has {}; the first record of the file has {expected}", plan::fields(*.found))]
    Width { found: usize, expected: usize },
    #[error("the record has {}, but column {} is wanted", plan::fields(*.found), .column + 1)]
    NoColumn { found: usize, column: usize },
    #[error("column {} is no {wanted}: {text:?}", .column + 1)]
    Type { column: usize, wanted: &'static str, text: String },
}

/// Picks fields of the records of one file.
pub(super) struct Picker<'a> {
    options: &'a CsvOptions,
    /// How many fields every record must have.
    width: Option<usize>,
    /// The type of each column of the file up to the last one that is not a string.
    types: Vec<Option<ValueType>>,
    /// Fields with doubled quotes, undoubled.
    text: Vec<u8>,
    spans: Vec<Span>,
}

/// Where a field's text is.
#[derive(Clone, Copy)]
struct Span {
    start: usize,
    end: usize,
    undoubled: bool,
}

impl<'a> Picker<'a> {
    pub(super) fn new(options: &'a CsvOptions, width: Option<usize>) -> Picker<'a> {
        let mut types = Vec::new();
        for &(column, kind) in &options.types {
            types.resize(types.len().max(column as usize + 1), None);
            types[column as usize] = Some(kind);
        }
        Picker { options, width, types, text: Vec::new(), spans: Vec::new() }
    }

    /// Fails if the file has not all the columns that are wanted.
    pub(super) fn check(&self, file: &Arc<SourceFile>) -> Result<(), SourceError> {
        let Some(found) = self.width else { return Ok(()) };
        let columns = self.options.columns.iter().flatten().chain(self.options.types.iter().map(|(column, _)| column));
        match columns.map(|&column| column as usize).find(|&column| column >= found) {
            Some(column) => {
                let problem = Problem::NoColumn { found, column }.to_string();
                Err(SourceError::Malformed { place: file.name.to_string(), problem })
            }
            None => Ok(()),
        }
    }

    /// Hands the wanted fields of a record to `push`, in the empty `row` where they can stay as they are in the file.
    #[inline]
    pub(super) fn pick<'b, R>(
        &mut self,
        record: Record<'b>,
        row: &mut Vec<Val<'b>>,
        push: impl FnOnce(&[Val<'_>]) -> R,
    ) -> Result<R, Problem> {
        let found = record.ends.len();
        if let Some(expected) = self.width.filter(|expected| *expected != found) {
            return Err(Problem::Width { found, expected });
        }
        let Picker { options, types, text, spans, .. } = self;
        let columns = options.columns.as_deref();
        match (options.quote, record.quotes) {
            (None, _) | (_, Quotes::None) => pick_plain(columns, record, row)?,
            (Some(quote), Quotes::Single) => {
                pick_plain(columns, record, row)?;
                row.iter_mut().for_each(|field| strip(field, quote));
            }
            (Some(quote), Quotes::Doubled) => {
                find_spans(columns, record, quote, (text, spans))?;
                let mut row: Vec<Val<'_>> = spans.iter().map(|span| span.of(record.bytes, text)).collect();
                convert(columns, types, &mut row)?;
                return Ok(push(&row));
            }
        }
        convert(columns, types, row)?;
        Ok(push(row))
    }
}

fn find_spans(
    columns: Option<&[u32]>,
    record: Record<'_>,
    quote: u8,
    (text, spans): (&mut Vec<u8>, &mut Vec<Span>),
) -> Result<(), Problem> {
    text.clear();
    spans.clear();
    let mut find = |column: usize| {
        spans.push(Span::new(record.bytes, record.field(column)?, quote, text));
        Ok(())
    };
    match columns {
        Some(columns) => columns.iter().try_for_each(|&column| find(column as usize)),
        None => (0..record.ends.len()).try_for_each(find),
    }
}

#[inline]
fn convert(columns: Option<&[u32]>, types: &[Option<ValueType>], row: &mut [Val<'_>]) -> Result<(), Problem> {
    if types.is_empty() {
        return Ok(());
    }
    for (at, value) in row.iter_mut().enumerate() {
        let column = columns.map_or(at, |columns| columns[at] as usize);
        if let (Some(Some(kind)), Val::Str(text)) = (types.get(column), *value) {
            *value = typed(text, *kind).ok_or_else(|| problem(column, *kind, text))?;
        }
    }
    Ok(())
}

/// Takes the quotes off a field that has no others.
#[inline]
fn strip(field: &mut Val<'_>, quote: u8) {
    if let Val::Str(text) = field
        && let [first, inner @ .., _] = *text
        && *first == quote
    {
        *text = inner;
    }
}

#[inline]
fn pick_plain<'b>(columns: Option<&[u32]>, record: Record<'b>, row: &mut Vec<Val<'b>>) -> Result<(), Problem> {
    match columns {
        Some(columns) => {
            for &column in columns {
                let (start, end) = record.field(column as usize)?;
                row.push(Val::Str(&record.bytes[start..end]));
            }
        }
        None => {
            let mut start = record.start;
            for &end in &record.ends[..record.ends.len() - 1] {
                row.push(Val::Str(&record.bytes[start..end as usize]));
                start = end as usize + 1;
            }
            row.push(Val::Str(&record.bytes[start..record.end_of_last(start)]));
        }
    }
    Ok(())
}

impl Record<'_> {
    /// Where a field begins and ends.
    #[inline]
    fn field(&self, column: usize) -> Result<(usize, usize), Problem> {
        let Some(&end) = self.ends.get(column) else { return Err(Problem::NoColumn { found: self.ends.len(), column }) };
        let start = if column == 0 { self.start } else { self.ends[column - 1] as usize + 1 };
        let end = if column + 1 == self.ends.len() { self.end_of_last(start) } else { end as usize };
        Ok((start, end))
    }

    /// The end of the last field, without the CR of a CRLF.
    #[inline]
    fn end_of_last(&self, start: usize) -> usize {
        let end = self.ends[self.ends.len() - 1] as usize;
        let crlf = end > start && end < self.bytes.len() && self.bytes[end - 1] == b'\r';
        end - usize::from(crlf)
    }
}

impl Span {
    /// A field's text: without its quotes, and where some are doubled within, copied with each once.
    #[inline]
    fn new(bytes: &[u8], (start, end): (usize, usize), quote: u8, text: &mut Vec<u8>) -> Span {
        if end == start || bytes[start] != quote {
            return Span { start, end, undoubled: false };
        }
        let inner = &bytes[start + 1..end - 1];
        if memchr(quote, inner).is_none() {
            return Span { start: start + 1, end: end - 1, undoubled: false };
        }
        let start = text.len();
        unquote(inner, quote, text);
        Span { start, end: text.len(), undoubled: true }
    }

    fn of<'b>(&self, bytes: &'b [u8], text: &'b [u8]) -> Val<'b> {
        Val::Str(&(if self.undoubled { text } else { bytes })[self.start..self.end])
    }
}

/// Appends the inside of a quoted field, of each two quotes only one.
pub(in super::super) fn unquote(mut inner: &[u8], quote: u8, text: &mut Vec<u8>) {
    while let Some(at) = memchr(quote, inner) {
        text.extend_from_slice(&inner[..=at]);
        inner = inner.get(at + 2..).unwrap_or_default();
    }
    text.extend_from_slice(inner);
}

/// An empty field is nil whatever its type: that is how nil is written.
fn typed(text: &[u8], kind: ValueType) -> Option<Val<'static>> {
    if text.is_empty() {
        return Some(Val::Nil);
    }
    if kind == ValueType::Integer
        && let Some(integer) = digits(text)
    {
        return Some(Val::Int(integer));
    }
    if kind == ValueType::Float
        && let Some(float) = plain_float(text)
    {
        return Some(Val::Float(float));
    }
    let text = std::str::from_utf8(text).ok()?;
    match kind {
        ValueType::Integer => text.parse().ok().map(Val::Int),
        ValueType::Float => text.parse().ok().filter(|float| !overflows(text, *float)).map(Val::Float),
        ValueType::Bool if text.eq_ignore_ascii_case("true") => Some(Val::Bool(true)),
        ValueType::Bool if text.eq_ignore_ascii_case("false") => Some(Val::Bool(false)),
        ValueType::Bool => None,
    }
}

/// Whether digits were written that no float is large enough for; `inf` itself is a value.
fn overflows(text: &str, float: f64) -> bool {
    float.is_infinite() && text.bytes().any(|byte| byte.is_ascii_digit())
}

fn is_number(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| text.parse::<f64>().is_ok())
}

/// An integer of so few digits, without or with a minus sign, that it needs no checks.
#[inline]
fn digits(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || digits.len() > 18 {
        return None;
    }
    let mut number = 0;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number * 10 + i64::from(digit);
    }
    Some(if negative { -number } else { number })
}

#[cold]
fn problem(column: usize, kind: ValueType, text: &[u8]) -> Problem {
    let wanted = match kind {
        ValueType::Integer => "integer of 64 bits",
        ValueType::Float if is_number(text) => "number that a float can hold",
        ValueType::Float => "number",
        ValueType::Bool => "bool (true or false)",
    };
    let text = String::from_utf8_lossy(&text[..text.len().min(200)]).into_owned();
    Problem::Type { column, wanted, text }
}
