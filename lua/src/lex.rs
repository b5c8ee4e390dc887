//! Lua text to tokens, as LuaJIT 2.1 reads it (soft keywords, `_` in numbers, `LL` and `i` suffixes, its newer operators).

use std::rc::Rc;

use crate::SyntaxError;

/// A name in the program.
pub(crate) type Name = Rc<str>;

/// One token.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token {
    /// An identifier; also `goto`, `continue` and `const`, which are keywords only in some places.
    Name(Name),
    /// A reserved word or an operator, by its spelling.
    Sign(&'static str),
    Number(Literal),
    Str(Rc<[u8]>),
    /// A character that no token begins with.
    Odd(u8),
    End,
}

/// What a number literal stands for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Literal {
    Number(f64),
    /// A 64-bit or complex literal, or a spelling (hexadecimal fractions) whose value only LuaJIT computes.
    Opaque,
}

const RESERVED: [&str; 21] = [
    "and", "break", "do", "else", "elseif", "end", "false", "for", "function", "if", "in", "local", "nil", "not", "or", "repeat",
    "return", "then", "true", "until", "while",
];

/// Operators, the longer ones before their beginnings.
const OPERATORS: [&str; 44] = [
    "~>>", "...", "->", "==", "<=", "<<", ">=", ">>", "~=", "!=", "::", "?.", "??", "&&", "||", "..", "-", "=", "<", ">", "~",
    "!", ":", "?", "&", "|", ".", "+", "*", "/", "%", "^", "#", "(", ")", "{", "}", "[", "]", ";", ",", "@", "$", "`",
];

/// Reads tokens off a text.
#[derive(Debug)]
pub(crate) struct Lexer<'s> {
    text: &'s str,
    at: usize,
    pub(crate) line: u32,
}

impl<'s> Lexer<'s> {
    /// At the start of a text.
    pub(crate) fn new(text: &'s str) -> Lexer<'s> {
        Lexer { text, at: 0, line: 1 }
    }

    /// At the start of a file: a byte order mark and a first line that begins with `#` are no part of the program.
    pub(crate) fn of_chunk(text: &'s str) -> Lexer<'s> {
        let mut lexer = Lexer::new(text);
        if text.starts_with('\u{feff}') {
            lexer.at = '\u{feff}'.len_utf8();
        }
        if lexer.peek() == Some(b'#') {
            lexer.skip_line();
        }
        lexer
    }

    fn bytes(&self) -> &'s [u8] {
        self.text.as_bytes()
    }

    fn peek(&self) -> Option<u8> {
        self.bytes().get(self.at).copied()
    }

    /// What a number or string looks at: end of text reads as a byte that belongs to nothing.
    fn byte(&self) -> u8 {
        self.peek().unwrap_or(0)
    }

    /// The offset behind the last token.
    pub(crate) fn offset(&self) -> usize {
        self.at
    }

    /// Whether the next byte, blanks included, is this one.
    pub(crate) fn at_byte(&self, byte: u8) -> bool {
        self.peek() == Some(byte)
    }

    fn fail<T>(&self, message: impl Into<String>) -> Result<T, SyntaxError> {
        Err(SyntaxError { line: self.line, message: message.into() })
    }

    /// The next token; [`Token::End`] at the end, again and again.
    pub(crate) fn next(&mut self) -> Result<Token, SyntaxError> {
        self.skip_blanks()?;
        let Some(first) = self.peek() else { return Ok(Token::End) };
        match first {
            b'0'..=b'9' => self.number(),
            b'.' if self.bytes().get(self.at + 1).is_some_and(u8::is_ascii_digit) => self.number(),
            _ if is_name_byte(first) => Ok(self.name()),
            b'"' | b'\'' => self.string(first),
            b'[' => match self.long_bracket()? {
                Some(level) => Ok(Token::Str(self.long(level, "unfinished long string")?.into())),
                None => Ok(self.operator(first)),
            },
            _ => Ok(self.operator(first)),
        }
    }

    fn operator(&mut self, first: u8) -> Token {
        let rest = &self.bytes()[self.at..];
        match OPERATORS.iter().find(|operator| rest.starts_with(operator.as_bytes())) {
            Some(operator) => {
                self.at += operator.len();
                Token::Sign(operator)
            }
            None => {
                self.at += 1;
                Token::Odd(first)
            }
        }
    }

    fn name(&mut self) -> Token {
        let start = self.at;
        while self.peek().is_some_and(is_name_byte) {
            self.at += 1;
        }
        let name = &self.text[start..self.at];
        match RESERVED.iter().find(|word| **word == name) {
            Some(word) => Token::Sign(word),
            None => Token::Name(name.into()),
        }
    }

    fn skip_blanks(&mut self) -> Result<(), SyntaxError> {
        loop {
            match self.peek() {
                Some(b'\n' | b'\r') => self.newline(),
                Some(b' ' | b'\t' | 0x0b | 0x0c) => self.at += 1,
                Some(b'-') if self.bytes()[self.at..].starts_with(b"--") => self.comment()?,
                _ => return Ok(()),
            }
        }
    }

    fn comment(&mut self) -> Result<(), SyntaxError> {
        self.at += 2;
        if self.peek() == Some(b'[')
            && let Ok(Some(level)) = self.long_bracket()
        {
            return self.long(level, "unfinished long comment").map(drop);
        }
        self.skip_line();
        Ok(())
    }

    fn skip_line(&mut self) {
        while self.peek().is_some_and(|byte| byte != b'\n' && byte != b'\r') {
            self.at += 1;
        }
    }

    /// Moves behind one line break: LF, CR, CRLF or LFCR.
    fn newline(&mut self) {
        let first = self.byte();
        self.at += 1;
        if matches!(self.peek(), Some(second @ (b'\n' | b'\r')) if second != first) {
            self.at += 1;
        }
        self.line += 1;
    }

    /// At `[`: moves behind `[==[` and gives its level; stays where it is for a plain `[`.
    fn long_bracket(&mut self) -> Result<Option<usize>, SyntaxError> {
        let rest = &self.bytes()[self.at + 1..];
        let level = rest.iter().take_while(|byte| **byte == b'=').count();
        match rest.get(level) {
            Some(b'[') => {
                self.at += level + 2;
                Ok(Some(level))
            }
            _ if level == 0 => Ok(None),
            _ => self.fail("invalid long string delimiter"),
        }
    }

    fn long(&mut self, level: usize, unfinished: &str) -> Result<Vec<u8>, SyntaxError> {
        let mut content = Vec::new();
        if matches!(self.peek(), Some(b'\n' | b'\r')) {
            self.newline();
        }
        loop {
            match self.peek() {
                None => return self.fail(format!("{unfinished} near '<eof>'")),
                Some(b']') => {
                    let rest = &self.bytes()[self.at + 1..];
                    let equals = rest.iter().take_while(|byte| **byte == b'=').count();
                    if equals == level && rest.get(level) == Some(&b']') {
                        self.at += level + 2;
                        return Ok(content);
                    }
                    content.extend_from_slice(&self.bytes()[self.at..=self.at + equals]);
                    self.at += 1 + equals;
                }
                Some(b'\n' | b'\r') => {
                    content.push(b'\n');
                    self.newline();
                }
                Some(byte) => {
                    content.push(byte);
                    self.at += 1;
                }
            }
        }
    }

    fn string(&mut self, quote: u8) -> Result<Token, SyntaxError> {
        self.at += 1;
        let mut content = Vec::new();
        loop {
            match self.peek() {
                None => return self.fail("unfinished string near '<eof>'"),
                Some(b'\n' | b'\r') => return self.fail("unfinished string"),
                Some(b'\\') => self.escape(&mut content)?,
                Some(byte) => {
                    self.at += 1;
                    if byte == quote {
                        return Ok(Token::Str(content.into()));
                    }
                    content.push(byte);
                }
            }
        }
    }

    fn escape(&mut self, content: &mut Vec<u8>) -> Result<(), SyntaxError> {
        self.at += 1;
        let Some(kind) = self.peek() else { return Ok(()) };
        if kind.is_ascii_digit() {
            return self.decimal_escape(content);
        }
        if kind == b'\n' || kind == b'\r' {
            content.push(b'\n');
            self.newline();
            return Ok(());
        }
        self.at += 1;
        match kind {
            b'a' => content.push(7),
            b'b' => content.push(8),
            b'f' => content.push(12),
            b'n' => content.push(b'\n'),
            b'r' => content.push(b'\r'),
            b't' => content.push(b'\t'),
            b'v' => content.push(11),
            b'\\' | b'"' | b'\'' => content.push(kind),
            b'x' => {
                let (high, low) = (self.hex_digit()?, self.hex_digit()?);
                content.push((high << 4 | low) as u8);
            }
            b'u' => self.unicode_escape(content)?,
            b'z' => {
                while let Some(blank) = self.peek().filter(|byte| byte.is_ascii_whitespace() || *byte == 0x0b) {
                    if blank == b'\n' || blank == b'\r' { self.newline() } else { self.at += 1 }
                }
            }
            _ => return self.fail("invalid escape sequence"),
        }
        Ok(())
    }

    fn hex_digit(&mut self) -> Result<u32, SyntaxError> {
        match (self.byte() as char).to_digit(16) {
            Some(digit) => {
                self.at += 1;
                Ok(digit)
            }
            None => self.fail("invalid escape sequence"),
        }
    }

    fn unicode_escape(&mut self, content: &mut Vec<u8>) -> Result<(), SyntaxError> {
        if self.byte() != b'{' {
            return self.fail("invalid escape sequence");
        }
        self.at += 1;
        let mut code = self.hex_digit()?;
        while self.byte() != b'}' {
            code = code << 4 | self.hex_digit()?;
            if code >= 0x11_0000 {
                return self.fail("invalid escape sequence");
            }
        }
        self.at += 1;
        match char::from_u32(code) {
            Some(c) => content.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            None => return self.fail("invalid escape sequence"),
        }
        Ok(())
    }

    fn decimal_escape(&mut self, content: &mut Vec<u8>) -> Result<(), SyntaxError> {
        let digits = self.bytes()[self.at..].iter().take(3).take_while(|byte| byte.is_ascii_digit());
        let (mut code, mut len) = (0_u32, 0);
        for digit in digits {
            code = code * 10 + u32::from(digit - b'0');
            len += 1;
        }
        match u8::try_from(code) {
            Ok(byte) => {
                content.push(byte);
                self.at += len;
                Ok(())
            }
            Err(_) => self.fail("invalid escape sequence"),
        }
    }

    /// Takes in everything that could belong to a number, then asks whether it is one.
    fn number(&mut self) -> Result<Token, SyntaxError> {
        let hexadecimal = self.byte() == b'0'
            && self.bytes()[self.at + 1..].iter().find(|byte| **byte != b'_').is_some_and(|byte| byte | 0x20 == b'x');
        let exponent = if hexadecimal { b'p' } else { b'e' };
        let mut spelling = Vec::new();
        loop {
            let byte = self.byte();
            let signed = (byte == b'-' || byte == b'+') && spelling.last().is_some_and(|last| last | 0x20 == exponent);
            if !(is_name_byte(byte) || byte == b'.' || signed) {
                break;
            }
            if byte != b'_' {
                spelling.push(byte);
            }
            self.at += 1;
        }
        let text = String::from_utf8_lossy(&spelling).to_ascii_lowercase();
        match literal(&text) {
            Some(literal) => Ok(Token::Number(literal)),
            None => self.fail(format!("malformed number near '{text}'")),
        }
    }
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// The value of a lower-case spelling, `None` where it is no number.
fn literal(text: &str) -> Option<Literal> {
    let (base, body) = match (text.strip_prefix("0x"), text.strip_prefix("0b")) {
        (Some(body), _) => (16, body),
        (None, Some(body)) => (2, body),
        (None, None) => (10, text),
    };
    let (mantissa, rest) = split_while(body, |c| c.is_digit(if base == 16 { 16 } else { 10 }) || c == '.');
    let digits = mantissa.chars().filter(|c| *c != '.').count();
    let whole = !mantissa.contains('.');
    if digits == 0 || mantissa.matches('.').count() > 1 || (base == 2 && !is_binary(mantissa)) {
        return None;
    }
    let (exponent, suffix) = match rest.strip_prefix(if base == 16 { 'p' } else { 'e' }) {
        Some(rest) if base != 2 => {
            let (exponent, suffix) = split_exponent(rest)?;
            (Some(exponent), suffix)
        }
        _ => (None, rest),
    };
    match suffix {
        "" => {}
        "i" => return Some(Literal::Opaque),
        "ll" | "ull" | "llu" if whole && exponent.is_none() => {
            let significant = mantissa.trim_start_matches('0').len();
            let most = if base == 16 { 16 } else { 20 };
            return (base == 2 || significant <= most).then_some(Literal::Opaque);
        }
        _ => return None,
    }
    Some(match (base, u64::from_str_radix(mantissa, base)) {
        (10, _) => text.parse().map_or(Literal::Opaque, Literal::Number),
        (_, Ok(value)) if exponent.is_none() && value <= 1 << 53 => Literal::Number(value as f64),
        _ => Literal::Opaque,
    })
}

fn is_binary(digits: &str) -> bool {
    let significant = digits.trim_start_matches('0');
    significant.len() <= 64 && digits.bytes().all(|byte| byte == b'0' || byte == b'1')
}

/// The digits of an exponent behind its letter, checked against the limit of LuaJIT, and what follows.
fn split_exponent(text: &str) -> Option<(u32, &str)> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (digits, suffix) = split_while(unsigned, |c| c.is_ascii_digit());
    let exponent: u32 = digits.parse().ok()?;
    (exponent < 1 << 20).then_some((exponent, suffix))
}

fn split_while(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !belongs(c)).unwrap_or(text.len()))
}
