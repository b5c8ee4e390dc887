//! C's printf verbs over the fields of a row, in order. A verb never converts what it does not fit.

use thiserror::Error;

use crate::{Result, Val};

mod number;
mod parse;

/// A parsed format: literal text between verbs, one verb per field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format {
    pieces: Vec<Piece>,
    verbs: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(Vec<u8>),
    Verb(Verb),
}

/// One verb with its flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Verb {
    kind: Kind,
    /// `-`: padded at the right.
    left: bool,
    /// `+`: a sign before every number.
    plus: bool,
    /// ` `: a space where a plus sign would be.
    space: bool,
    /// `#`: `0x` before hexadecimal digits; a point, and its zeros, in every float.
    alternate: bool,
    /// `0`: padded with zeros behind the sign.
    zero: bool,
    width: usize,
    precision: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// `%s` and `%v`: any value.
    Text,
    /// `%q`: a string in double quotes.
    Quoted,
    Decimal,
    Hex {
        upper: bool,
    },
    Fixed,
    Exponent {
        upper: bool,
    },
    General {
        upper: bool,
    },
}

/// Why a text is no format.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum FormatError {
    /// A letter that is no verb, or a verb of C that makes no sense here.
    #[error("unknown verb {verb:?} in format {format:?} (known: %s %v %q %d %x %X %f %e %E %g %G %%)")]
    UnknownVerb { format: String, verb: String },
    /// The text ends inside a verb.
    #[error("format {format:?} ends inside a verb (a percent sign is written %%)")]
    Unfinished { format: String },
    /// A width or precision that no one can mean.
    #[error("a width or precision in format {format:?} is above {limit}")]
    TooWide { format: String, limit: usize },
}

/// Why a row does not fit a format.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum MisfitError {
    #[error("verbs of the format: {verbs}, fields of the row: {fields}")]
    Fields { verbs: usize, fields: usize },
    #[error("verb %{verb} does not fit field {field}, which is {kind}")]
    Kind {
        verb: char,
        /// 1-based.
        field: usize,
        kind: &'static str,
    },
}

impl Format {
    /// Parses a format.
    ///
    /// # Errors
    /// [`FormatError`] says what in it is wrong.
    pub fn parse(format: &str) -> Result<Format, FormatError> {
        let pieces = parse::pieces(format)?;
        let verbs = pieces.iter().filter(|piece| matches!(piece, Piece::Verb(_))).count();
        Ok(Format { pieces, verbs })
    }

    /// How many fields a row must have.
    #[must_use]
    pub fn verbs(&self) -> usize {
        self.verbs
    }

    /// Appends a row, without a line end.
    ///
    /// # Errors
    /// [`MisfitError`] if the row does not fit; part of it may have been written then.
    pub fn write(&self, out: &mut Vec<u8>, row: &[Val<'_>]) -> Result<(), MisfitError> {
        if row.len() != self.verbs {
            return Err(MisfitError::Fields { verbs: self.verbs, fields: row.len() });
        }
        let mut fields = row.iter().enumerate();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => out.extend_from_slice(text),
                Piece::Verb(verb) => {
                    if let Some((at, value)) = fields.next() {
                        verb.write(out, *value).ok_or_else(|| verb.misfit(at, *value))?;
                    }
                }
            }
        }
        Ok(())
    }
}

impl Verb {
    /// Appends one value; `None` if the verb does not fit it.
    fn write(&self, out: &mut Vec<u8>, value: Val<'_>) -> Option<()> {
        let start = out.len();
        match (self.kind, value) {
            (Kind::Text, value) => self.text(out, value),
            (Kind::Quoted, Val::Str(s)) => quote(out, s),
            (Kind::Decimal, value) => number::decimal(out, self, integer(value)?),
            (Kind::Hex { upper }, value) => number::hex(out, self, integer(value)?, upper),
            (Kind::Fixed | Kind::Exponent { .. } | Kind::General { .. }, Val::Float(f)) => number::float(out, self, f),
            (Kind::Fixed | Kind::Exponent { .. } | Kind::General { .. }, Val::Int(i)) => number::integer(out, self, i),
            (Kind::Quoted | Kind::Fixed | Kind::Exponent { .. } | Kind::General { .. }, _) => return None,
        }
        pad(out, start, self.width, self.left);
        Some(())
    }

    fn text(&self, out: &mut Vec<u8>, value: Val<'_>) {
        let start = out.len();
        match value {
            Val::Nil => out.extend_from_slice(b"nil"),
            value => crate::text::write_field(out, value),
        }
        if let Some(precision) = self.precision {
            out.truncate(out.len().min(start + precision));
        }
    }

    fn misfit(&self, at: usize, value: Val<'_>) -> MisfitError {
        let verb = match self.kind {
            Kind::Text => 's',
            Kind::Quoted => 'q',
            Kind::Decimal => 'd',
            Kind::Hex { upper } => if_upper(upper, 'x'),
            Kind::Fixed => 'f',
            Kind::Exponent { upper } => if_upper(upper, 'e'),
            Kind::General { upper } => if_upper(upper, 'g'),
        };
        MisfitError::Kind { verb, field: at + 1, kind: named(value) }
    }
}

fn if_upper(upper: bool, letter: char) -> char {
    if upper { letter.to_ascii_uppercase() } else { letter }
}

/// What a value is, with its article.
fn named(value: Val<'_>) -> &'static str {
    match value {
        Val::Nil => "nil",
        Val::Bool(_) => "a bool",
        Val::Int(_) => "an integer",
        Val::Float(_) => "a float without an exact integer value",
        Val::Str(_) => "a string",
        Val::List(_) => "a list",
        Val::Map(_) => "a map",
    }
}

/// The integer that a value is: also a float with exactly that value, as in Lua's own `%d`.
fn integer(value: Val<'_>) -> Option<i64> {
    match value {
        Val::Int(i) => Some(i),
        Val::Float(f) => exact_integer(f),
        Val::Nil | Val::Bool(_) | Val::Str(_) | Val::List(_) | Val::Map(_) => None,
    }
}

fn exact_integer(f: f64) -> Option<i64> {
    // 2^63 is the first float above all of i64; -2^63 is the last in it.
    let in_range = (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&f);
    (in_range && f.fract() == 0.0).then_some(f as i64)
}

/// Appends a string in double quotes: JSON's escapes, and `\xNN` for bytes that are no text.
fn quote(out: &mut Vec<u8>, text: &[u8]) {
    if std::str::from_utf8(text).is_ok() {
        crate::text::write_string(out, text);
        return;
    }
    out.push(b'"');
    for chunk in text.utf8_chunks() {
        let start = out.len();
        crate::text::write_string(out, chunk.valid().as_bytes());
        out.pop();
        out.remove(start);
        for byte in chunk.invalid() {
            out.extend_from_slice(format!("\\x{byte:02x}").as_bytes());
        }
    }
    out.push(b'"');
}

/// Pads what was written from `start` on with spaces, to `width` bytes.
fn pad(out: &mut Vec<u8>, start: usize, width: usize, left: bool) {
    let len = out.len() - start;
    if len < width {
        fill(out, if left { out.len() } else { start }, width - len, b' ');
    }
}

/// Inserts `count` times `byte` at a place.
fn fill(out: &mut Vec<u8>, at: usize, count: usize, byte: u8) {
    let end = out.len();
    out.resize(end + count, byte);
    out.copy_within(at..end, at + count);
    out[at..at + count].fill(byte);
}

#[cfg(test)]
mod tests;
