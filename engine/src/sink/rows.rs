//! Rows as the lines of a sink's format.

use super::error::RowError;
use super::{LineFormat, SinkError};
use crate::{Result, Val, key, text};

/// Makes lines of rows. One per writer: a header without names depends on its first row.
#[derive(Clone, Debug)]
pub(crate) struct Encoder {
    form: Form,
    header: Header,
}

#[derive(Clone, Debug)]
enum Form {
    Text,
    Csv(Quoting),
    Tsv,
    /// The names as JSON strings, each with its colon, where there are any.
    Json(Option<Vec<Vec<u8>>>),
}

#[derive(Clone, Debug)]
enum Header {
    None,
    Named(Vec<String>),
    /// `_1`, `_2` and so on, as many as the first row has fields; none before it.
    Made(Option<usize>),
}

/// How csv separates and quotes.
#[derive(Clone, Copy, Debug)]
struct Quoting {
    delimiter: u8,
    quote: u8,
}

impl Encoder {
    /// An encoder for a format; `None` for the one that is not made of lines.
    pub(super) fn new(format: &plan::SinkFormat, names: Option<&Vec<String>>) -> Option<Encoder> {
        let (form, with_header) = match format {
            plan::SinkFormat::Text => (Form::Text, false),
            plan::SinkFormat::Csv { header, delimiter, quote } => {
                (Form::Csv(Quoting { delimiter: *delimiter, quote: *quote }), *header)
            }
            plan::SinkFormat::Tsv { header } => (Form::Tsv, *header),
            plan::SinkFormat::Json => (Form::Json(names.map(|names| names.iter().map(|name| json_name(name)).collect())), false),
            plan::SinkFormat::Parquet => return None,
        };
        let header = match (with_header, names) {
            (false, _) => Header::None,
            (true, Some(names)) => Header::Named(names.clone()),
            (true, None) => Header::Made(None),
        };
        Some(Encoder { form, header })
    }

    /// Sees the width of the first row.
    pub(super) fn begin(&mut self, width: usize) {
        if let Header::Made(made @ None) = &mut self.header {
            *made = Some(width);
        }
    }

    /// The width of a header that was made from the first row: files of different ones do not go together.
    pub(super) fn made_width(&self) -> Option<usize> {
        match self.header {
            Header::Made(width) => width,
            Header::None | Header::Named(_) => None,
        }
    }

    /// Appends the header, if there is one.
    pub(super) fn write_header(&self, out: &mut Vec<u8>) -> Result<(), RowError> {
        let made;
        let names = match &self.header {
            Header::None | Header::Made(None) => return Ok(()),
            Header::Named(names) => names,
            Header::Made(Some(width)) => {
                made = made_names(*width);
                &made
            }
        };
        let row: Vec<Val<'_>> = names.iter().map(|name| Val::Str(name.as_bytes())).collect();
        self.write(out, &row)
    }

    /// Appends a row and a line end.
    pub(super) fn write(&self, out: &mut Vec<u8>, row: &[Val<'_>]) -> Result<(), RowError> {
        match &self.form {
            Form::Text => text::write_row(out, row),
            Form::Csv(quoting) => {
                csv_line(out, row, *quoting);
                self.fill(out, row.len(), quoting.delimiter)?;
            }
            Form::Tsv => {
                tsv_line(out, row)?;
                self.fill(out, row.len(), b'\t')?;
            }
            Form::Json(None) => json_array(out, row)?,
            Form::Json(Some(names)) => json_object(out, row, names)?,
        }
        out.push(b'\n');
        Ok(())
    }

    /// A row narrower than the named fields ends in empty ones; a wider one has no place. Where the first row made the header,
    /// all must be like it: which one is first is chance.
    fn fill(&self, out: &mut Vec<u8>, fields: usize, delimiter: u8) -> Result<(), RowError> {
        let names = match &self.header {
            Header::None | Header::Made(None) => return Ok(()),
            Header::Named(names) => names.len(),
            Header::Made(Some(width)) => *width,
        };
        match &self.header {
            Header::Made(_) if fields != names => Err(RowError::Uneven { fields, names }),
            _ if fields > names => Err(RowError::Unnamed { fields, names }),
            _ => {
                // A row without fields is an empty field already.
                out.resize(out.len() + names.saturating_sub(fields.max(1)), delimiter);
                Ok(())
            }
        }
    }
}

/// How a sink makes a line of a row, without the sink.
#[derive(Debug)]
pub(crate) enum RowForm {
    Stdout(LineFormat),
    Files(Encoder),
}

impl RowForm {
    /// That of a sink of lines.
    pub(crate) fn of(sink: &plan::Sink) -> Result<RowForm, SinkError> {
        match sink {
            plan::Sink::Stdout { format } => LineFormat::new(format.as_deref()).map(RowForm::Stdout),
            plan::Sink::Files { format, path, fields, .. } => match Encoder::new(format, fields.as_ref()) {
                Some(encoder) => Ok(RowForm::Files(encoder)),
                None => Err(SinkError::NoLines { place: path.clone() }),
            },
        }
    }

    /// Appends a row's line; part of it may have been written where there is none.
    pub(crate) fn write(&self, out: &mut Vec<u8>, row: &[Val<'_>]) -> Result<(), RowError> {
        match self {
            RowForm::Stdout(format) => Ok(format.write(out, row)?),
            RowForm::Files(encoder) => encoder.write(out, row),
        }
    }
}

/// `_1`, `_2`, ...: the names of fields that have none.
pub(super) fn made_names(count: usize) -> Vec<String> {
    (1..=count).map(|at| format!("_{at}")).collect()
}

fn csv_line(out: &mut Vec<u8>, row: &[Val<'_>], quoting: Quoting) {
    let start = out.len();
    for (at, value) in row.iter().enumerate() {
        if at > 0 {
            out.push(quoting.delimiter);
        }
        let field = out.len();
        text::write_field(out, *value);
        if quoting.must_quote_some(&out[field..]) {
            quoting.quote(out, field);
        }
    }
    // An empty line is no record to readers of csv; an empty field is.
    if row.len() <= 1 && out.len() == start {
        out.extend_from_slice(&[quoting.quote, quoting.quote]);
    }
}

impl Quoting {
    /// Whether any byte of a field makes quotes necessary.
    #[inline]
    fn must_quote_some(self, field: &[u8]) -> bool {
        match key::words(field) {
            // Zeros fill the words up.
            Some((low, high)) if self.delimiter != 0 && self.quote != 0 => {
                let bytes = [self.delimiter, self.quote, b'\n', b'\r'];
                bytes.iter().any(|byte| has(low, *byte) || has(high, *byte))
            }
            _ => field.iter().any(|byte| self.must_quote(*byte)),
        }
    }

    fn must_quote(self, byte: u8) -> bool {
        byte == self.delimiter || byte == self.quote || byte == b'\n' || byte == b'\r'
    }

    /// Quotes what was written from `field` on.
    fn quote(self, out: &mut Vec<u8>, field: usize) {
        let plain = out.split_off(field);
        out.push(self.quote);
        for byte in plain {
            if byte == self.quote {
                out.push(byte);
            }
            out.push(byte);
        }
        out.push(self.quote);
    }
}

/// Whether one of eight bytes is `byte`.
#[inline]
fn has(word: u64, byte: u8) -> bool {
    const EACH: u64 = u64::from_ne_bytes([1; 8]);
    let different = word ^ (EACH * u64::from(byte));
    different.wrapping_sub(EACH) & !different & (EACH << 7) != 0
}

fn tsv_line(out: &mut Vec<u8>, row: &[Val<'_>]) -> Result<(), RowError> {
    for (at, value) in row.iter().enumerate() {
        if at > 0 {
            out.push(b'\t');
        }
        let field = out.len();
        text::write_field(out, *value);
        if out[field..].iter().any(|byte| matches!(byte, b'\t' | b'\n' | b'\r')) {
            return Err(RowError::Separator { field: at + 1 });
        }
    }
    Ok(())
}

fn json_name(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    text::write_string(&mut bytes, name.as_bytes());
    bytes.push(b':');
    bytes
}

fn json_array(out: &mut Vec<u8>, row: &[Val<'_>]) -> Result<(), RowError> {
    out.push(b'[');
    for (at, value) in row.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        json_field(out, at, *value)?;
    }
    out.push(b']');
    Ok(())
}

/// All names, whatever the row's width: what a narrower row lacks is null.
fn json_object(out: &mut Vec<u8>, row: &[Val<'_>], names: &[Vec<u8>]) -> Result<(), RowError> {
    if row.len() > names.len() {
        return Err(RowError::Unnamed { fields: row.len(), names: names.len() });
    }
    out.push(b'{');
    for (at, name) in names.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(name);
        json_field(out, at, row.get(at).copied().unwrap_or(Val::Nil))?;
    }
    out.push(b'}');
    Ok(())
}

fn json_field(out: &mut Vec<u8>, at: usize, value: Val<'_>) -> Result<(), RowError> {
    text::write_json(out, value).map_err(|source| RowError::Json { field: at + 1, source })
}

#[cfg(test)]
mod tests;
