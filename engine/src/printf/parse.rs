//! Format texts into pieces.

use super::{FormatError, Kind, Piece, Verb};

/// The widest that a field may be asked to be.
const MAX_WIDTH: usize = 9999;

/// Splits a format at its verbs.
pub(super) fn pieces(format: &str) -> Result<Vec<Piece>, FormatError> {
    let (mut pieces, mut literal) = (Vec::new(), String::new());
    let mut rest = format;
    while let Some((before, after)) = rest.split_once('%') {
        literal.push_str(before);
        match after.strip_prefix('%') {
            Some(after) => {
                literal.push('%');
                rest = after;
            }
            None => {
                let mut verb = VerbText { format, text: after, at: 0 };
                let parsed = verb.parse()?;
                push_literal(&mut pieces, &mut literal);
                pieces.push(Piece::Verb(parsed));
                rest = &after[verb.at..];
            }
        }
    }
    literal.push_str(rest);
    push_literal(&mut pieces, &mut literal);
    Ok(pieces)
}

fn push_literal(pieces: &mut Vec<Piece>, literal: &mut String) {
    if !literal.is_empty() {
        pieces.push(Piece::Literal(std::mem::take(literal).into_bytes()));
    }
}

/// The text behind a percent sign, and how much of it is read.
struct VerbText<'a> {
    format: &'a str,
    text: &'a str,
    at: usize,
}

impl VerbText<'_> {
    fn parse(&mut self) -> Result<Verb, FormatError> {
        let mut verb = Verb {
            kind: Kind::Text,
            left: false,
            plus: false,
            space: false,
            alternate: false,
            zero: false,
            width: 0,
            precision: None,
        };
        while let Some(flag) = self.next_if(|c| matches!(c, '-' | '+' | ' ' | '#' | '0')) {
            match flag {
                '-' => verb.left = true,
                '+' => verb.plus = true,
                ' ' => verb.space = true,
                '#' => verb.alternate = true,
                _ => verb.zero = true,
            }
        }
        verb.width = self.number()?;
        if self.next_if(|c| c == '.').is_some() {
            verb.precision = Some(self.number()?);
        }
        verb.kind = self.kind()?;
        Ok(verb)
    }

    fn kind(&mut self) -> Result<Kind, FormatError> {
        let Some(letter) = self.next_if(|_| true) else {
            return Err(FormatError::Unfinished { format: self.format.to_owned() });
        };
        Ok(match letter {
            's' | 'v' => Kind::Text,
            'q' => Kind::Quoted,
            'd' => Kind::Decimal,
            'x' | 'X' => Kind::Hex { upper: letter == 'X' },
            'f' => Kind::Fixed,
            'e' | 'E' => Kind::Exponent { upper: letter == 'E' },
            'g' | 'G' => Kind::General { upper: letter == 'G' },
            _ => return Err(self.unknown()),
        })
    }

    fn unknown(&self) -> FormatError {
        FormatError::UnknownVerb { format: self.format.to_owned(), verb: format!("%{}", &self.text[..self.at]) }
    }

    fn next_if(&mut self, wanted: impl Fn(char) -> bool) -> Option<char> {
        let next = self.text[self.at..].chars().next().filter(|c| wanted(*c))?;
        self.at += next.len_utf8();
        Some(next)
    }

    /// The digits that follow, as a number; 0 if there are none, as in C.
    fn number(&mut self) -> Result<usize, FormatError> {
        let mut number = 0;
        while let Some(digit) = self.next_if(|c| c.is_ascii_digit()) {
            number = number * 10 + digit as usize - '0' as usize;
            if number > MAX_WIDTH {
                return Err(FormatError::TooWide { format: self.format.to_owned(), limit: MAX_WIDTH });
            }
        }
        Ok(number)
    }
}
