//! The head of a file: its first record, and the names of its columns. Reads no more than it must.

use std::sync::Arc;

use plan::{CsvOptions, Format};

use super::block::Blocks;
use super::delimited::{BYTE_ORDER_MARK, unquote};
use super::file::SourceFile;
use super::index::{FaultKind, Index, Syntax};
use super::{SourceError, columnar};

/// A file and the names of its columns.
#[derive(Clone, Debug)]
pub(super) struct Lead {
    pub(super) file: Arc<str>,
    pub(super) columns: Vec<Vec<u8>>,
}

impl Lead {
    pub(super) fn names(&self) -> Vec<String> {
        self.columns.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect()
    }

    /// Fails if a file has other columns than this first one.
    pub(super) fn check(&self, file: &SourceFile, columns: &[Vec<u8>]) -> Result<(), SourceError> {
        if self.columns == columns {
            return Ok(());
        }
        let other = Lead { file: Arc::clone(&file.name), columns: columns.to_vec() };
        let (found, expected) = (other.names().join(", "), self.names().join(", "));
        Err(SourceError::OtherColumns { file: other.file, first: Arc::clone(&self.file), found, expected })
    }
}

/// The columns of the first file that has any; `None` for formats whose files name none.
pub(super) fn lead(files: &[Arc<SourceFile>], format: &Format) -> Result<Option<Lead>, SourceError> {
    for file in files.iter().filter(|file| file.is_repeatable()) {
        let columns = match format {
            Format::Text | Format::Whole | Format::Json { .. } => None,
            Format::Csv(options) | Format::Tsv(options) if !options.header => None,
            Format::Csv(options) | Format::Tsv(options) => match first_record(file, options)? {
                Some(columns) => Some(columns),
                // An empty file; the next one may have a header.
                None => continue,
            },
            Format::Parquet { .. } => Some(columnar::parquet_columns(file)?),
            Format::Orc { .. } => Some(columnar::orc_columns(file)?),
        };
        return Ok(columns.map(|columns| Lead { file: Arc::clone(&file.name), columns }));
    }
    Ok(None)
}

/// How much is read for a first record at first.
const HEAD: u64 = 64 << 10;
/// A first record may be long, but not endless.
const LONGEST: usize = 256 << 20;

/// The fields of the first record, unquoted; `None` for an empty file.
pub(super) fn first_record(file: &Arc<SourceFile>, options: &CsvOptions) -> Result<Option<Vec<Vec<u8>>>, SourceError> {
    let mut blocks = Blocks::new(file.head()?, 0..HEAD, LONGEST);
    let mut index = Index::new(Syntax { delimiter: Some(options.delimiter), quote: options.quote });
    blocks.advance(0)?;
    let start = if blocks.bytes().starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
    index.restart(start);
    loop {
        index.extend(blocks.bytes(), blocks.ended());
        if let Some(&record) = index.records().first() {
            return Ok(Some(fields(blocks.bytes(), start, &index.ends()[..=record as usize], options.quote)));
        }
        if let Some(fault) = index.fault() {
            let (place, problem) = (format!("{}:1", file.name), describe(fault.kind).to_owned());
            return Err(SourceError::Malformed { place, problem });
        }
        if blocks.ended() {
            return Ok(None);
        }
        blocks.advance(0)?;
    }
}

fn fields(bytes: &[u8], mut start: usize, ends: &[u32], quote: Option<u8>) -> Vec<Vec<u8>> {
    let field = |&end: &u32| {
        let field = &bytes[std::mem::replace(&mut start, end as usize + 1)..end as usize];
        let last = bytes.get(end as usize) == Some(&b'\n');
        let field = if last { field.strip_suffix(b"\r").unwrap_or(field) } else { field };
        let mut text = Vec::new();
        match quote.filter(|quote| field.first() == Some(quote)) {
            Some(quote) => unquote(&field[1..field.len() - 1], quote, &mut text),
            None => text.extend_from_slice(field),
        }
        text
    };
    ends.iter().map(field).collect()
}

pub(super) fn describe(kind: FaultKind) -> &'static str {
    match kind {
        FaultKind::QuoteInsideUnquoted => {
            "a quote stands inside a field that is not quoted (such a field must be quoted, and the quote doubled)"
        }
        FaultKind::TextBehindQuoted => "text follows a quoted field (a quote inside a quoted field must be doubled)",
        FaultKind::Unterminated => "a quoted field does not end",
    }
}
