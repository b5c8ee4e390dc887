//! Parses one JSON value (RFC 8259) straight into values: text without escapes is borrowed, lists and maps are encoded once.
//!
//! Integers that fit 64 bits are exact; one that does not is a problem, as rounding it would go unseen. Numbers with a fraction
//! or an exponent are floats. Of members with one name the last counts.

mod text;

use std::ops::Range;

use thiserror::Error;

use crate::{Val, codec};

/// Why a line is no JSON value; positions are bytes of the line, from 1 on.
#[derive(Debug, Error, PartialEq)]
pub(super) enum Problem {
    #[error("the JSON value ends too early; {ON_ONE_LINE}")]
    Ends,
    #[error("unexpected {:?} at byte {at} of the line{}", char::from(*byte), of_many_lines(*byte))]
    Unexpected { byte: u8, at: usize },
    #[error("the text at byte {at} of the line is not valid JSON text")]
    Text { at: usize },
    #[error("the number {number} at byte {at} of the line is an integer that needs more than 64 bits")]
    Integer { number: String, at: usize },
    #[error("the number {number} at byte {at} of the line is too large")]
    Float { number: String, at: usize },
    #[error("lists and maps nest more than {} levels deep", codec::MAX_DEPTH)]
    Depth,
    #[error("the value is no object, so it has no members to pick")]
    NoObject,
}

const ON_ONE_LINE: &str = "a value stands on one line (jq -c '.[]' makes such lines of an array, jq -c . of others)";

/// What to do where a line ends or goes on with what would follow in a value of several lines.
fn of_many_lines(unexpected: u8) -> String {
    if matches!(unexpected, b',' | b']' | b'}') { format!("; {ON_ONE_LINE}") } else { String::new() }
}

/// A parser with its buffers.
#[derive(Debug, Default)]
pub(super) struct Parser {
    /// Text with its escapes resolved; lists and maps as `codec` writes them.
    made: Vec<u8>,
    /// For each open map: where its members are in `made`.
    members: Vec<Member>,
    /// For sorting members.
    sorted: Vec<u8>,
    /// The wanted members of a line.
    wanted: Vec<Item>,
}

/// A member of a map, encoded.
#[derive(Clone, Debug)]
struct Member {
    /// The key's bytes, without their header.
    key: Range<usize>,
    /// Key and value.
    all: Range<usize>,
}

/// A value that was parsed.
#[derive(Clone, Debug)]
enum Item {
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// Text of the line itself.
    Borrowed(Range<usize>),
    /// Text in `made`.
    Made(Range<usize>),
    List(Range<usize>),
    Map(Range<usize>),
}

impl Item {
    fn val<'b>(&self, line: &'b [u8], made: &'b [u8]) -> Val<'b> {
        match self {
            Item::Nil => Val::Nil,
            Item::Bool(b) => Val::Bool(*b),
            Item::Int(i) => Val::Int(*i),
            Item::Float(f) => Val::Float(*f),
            Item::Borrowed(range) => Val::Str(&line[range.clone()]),
            Item::Made(range) => Val::Str(&made[range.clone()]),
            Item::List(range) => Val::List(&made[range.clone()]),
            Item::Map(range) => Val::Map(&made[range.clone()]),
        }
    }
}

impl Parser {
    /// Puts the line's value into an empty row.
    pub(super) fn value<'b>(&'b mut self, line: &'b [u8], row: &mut Vec<Val<'b>>) -> Result<(), Problem> {
        self.clear();
        let mut cursor = Cursor::new(line)?;
        let item = self.item(&mut cursor, codec::MAX_DEPTH)?;
        cursor.end()?;
        row.push(item.val(line, &self.made));
        Ok(())
    }

    /// Puts the members with the given names into an empty row, nil for those that are absent.
    pub(super) fn members<'b>(&'b mut self, line: &'b [u8], names: &[&[u8]], row: &mut Vec<Val<'b>>) -> Result<(), Problem> {
        self.clear();
        self.wanted.resize(names.len(), Item::Nil);
        let mut cursor = Cursor::new(line)?;
        if cursor.peek()? != b'{' {
            self.item(&mut cursor, codec::MAX_DEPTH)?;
            return Err(Problem::NoObject);
        }
        self.pick(&mut cursor, names)?;
        cursor.end()?;
        row.extend(self.wanted.iter().map(|item| item.val(line, &self.made)));
        Ok(())
    }

    fn clear(&mut self) {
        self.made.clear();
        self.members.clear();
        self.wanted.clear();
    }

    fn pick(&mut self, cursor: &mut Cursor<'_>, names: &[&[u8]]) -> Result<(), Problem> {
        cursor.at += 1;
        let mut first = true;
        while cursor.next_in(b'}', &mut first)? {
            let key = self.text(cursor)?;
            cursor.expect(b':')?;
            let before = self.made.len();
            let item = self.item(cursor, codec::MAX_DEPTH - 1)?;
            let Val::Str(key) = key.val(cursor.line, &self.made) else { unreachable!("a key is text") };
            let mut found = false;
            for (place, _) in names.iter().enumerate().filter(|(_, name)| **name == key) {
                self.wanted[place] = item.clone();
                found = true;
            }
            if !found {
                self.made.truncate(before);
            }
        }
        Ok(())
    }

    fn item(&mut self, cursor: &mut Cursor<'_>, depth: u32) -> Result<Item, Problem> {
        match cursor.peek()? {
            b'"' => self.text(cursor),
            b'{' => self.map(cursor, depth.checked_sub(1).ok_or(Problem::Depth)?),
            b'[' => self.list(cursor, depth.checked_sub(1).ok_or(Problem::Depth)?),
            b't' => cursor.word(b"true", Item::Bool(true)),
            b'f' => cursor.word(b"false", Item::Bool(false)),
            b'n' => cursor.word(b"null", Item::Nil),
            _ => cursor.number(),
        }
    }

    /// Text at its opening quote.
    fn text(&mut self, cursor: &mut Cursor<'_>) -> Result<Item, Problem> {
        if cursor.peek()? != b'"' {
            return Err(cursor.unexpected());
        }
        let start = cursor.at + 1;
        let problem = |at: usize| Problem::Text { at: at + 1 };
        let plain = text::plain_len(&cursor.line[start..]).ok_or(Problem::Ends)?;
        if cursor.line[start + plain] == b'"' {
            cursor.at = start + plain + 1;
            return Ok(Item::Borrowed(start..start + plain));
        }
        let made = self.made.len();
        cursor.at = start + text::unescape(&cursor.line[start..], &mut self.made).map_err(|at| problem(start + at))?;
        Ok(Item::Made(made..self.made.len()))
    }

    fn list(&mut self, cursor: &mut Cursor<'_>, depth: u32) -> Result<Item, Problem> {
        let start = self.made.len();
        let (mut count, mut first) = (0, true);
        cursor.at += 1;
        while cursor.next_in(b']', &mut first)? {
            self.encoded(cursor, depth)?;
            count += 1;
        }
        self.put_before(start, |out| codec::write_array_header(out, count));
        Ok(Item::List(start..self.made.len()))
    }

    /// Writes a header before what is in `made` from `start` on.
    fn put_before(&mut self, start: usize, header: impl FnOnce(&mut Vec<u8>)) {
        let body = self.made.len();
        header(&mut self.made);
        let len = self.made.len() - body;
        let mut kept = [0; 5];
        kept[..len].copy_from_slice(&self.made[body..]);
        self.made.copy_within(start..body, start + len);
        self.made[start..start + len].copy_from_slice(&kept[..len]);
    }

    fn map(&mut self, cursor: &mut Cursor<'_>, depth: u32) -> Result<Item, Problem> {
        let (start, own) = (self.made.len(), self.members.len());
        let mut first = true;
        cursor.at += 1;
        while cursor.next_in(b'}', &mut first)? {
            let from = self.made.len();
            let key = self.text(cursor)?;
            self.encode(&key, cursor.line, from);
            let text = self.made.len() - length(&key)..self.made.len();
            cursor.expect(b':')?;
            self.encoded(cursor, depth)?;
            self.members.push(Member { key: text, all: from..self.made.len() });
        }
        self.sort_members(start, own);
        Ok(Item::Map(start..self.made.len()))
    }

    /// Sorts the members of a map by their keys, of equal ones keeps the last, and puts the header before them.
    fn sort_members(&mut self, start: usize, own: usize) {
        let made = &self.made;
        let members = &mut self.members[own..];
        if members.is_sorted_by(|a, b| made[a.key.clone()] < made[b.key.clone()]) {
            let count = members.len();
            self.members.truncate(own);
            return self.put_before(start, |out| codec::write_map_header(out, count));
        }
        // Stable: of equal keys the last one stays last.
        members.sort_by(|a, b| made[a.key.clone()].cmp(&made[b.key.clone()]));
        let last = |at: usize| members.get(at + 1).is_none_or(|next| made[next.key.clone()] != made[members[at].key.clone()]);
        self.sorted.clear();
        let kept: Vec<usize> = (0..members.len()).filter(|&at| last(at)).collect();
        codec::write_map_header(&mut self.sorted, kept.len());
        for at in kept {
            self.sorted.extend_from_slice(&made[members[at].all.clone()]);
        }
        self.members.truncate(own);
        self.made.truncate(start);
        self.made.extend_from_slice(&self.sorted);
    }

    /// Parses a value and leaves it encoded at the end of `made`.
    fn encoded(&mut self, cursor: &mut Cursor<'_>, depth: u32) -> Result<(), Problem> {
        let from = self.made.len();
        let item = self.item(cursor, depth)?;
        self.encode(&item, cursor.line, from);
        Ok(())
    }

    /// Replaces what parsing left in `made` from `from` on by the encoded value.
    fn encode(&mut self, item: &Item, line: &[u8], from: usize) {
        match item {
            Item::List(_) | Item::Map(_) => {}
            Item::Made(range) => {
                let text = self.made[range.clone()].to_vec();
                self.made.truncate(from);
                codec::write_val(&mut self.made, Val::Str(&text));
            }
            Item::Nil | Item::Bool(_) | Item::Int(_) | Item::Float(_) | Item::Borrowed(_) => {
                let value = item.val(line, &[]);
                codec::write_val(&mut self.made, value);
            }
        }
    }
}

/// So many digits, with a sign among them or not, are surely less than 2^63.
const SHORT: usize = 18;

fn short_integer(text: &[u8]) -> i64 {
    let (negative, digits) = text.strip_prefix(b"-").map_or((false, text), |digits| (true, digits));
    let number = digits.iter().fold(0, |number, digit| 10 * number + i64::from(digit - b'0'));
    if negative { -number } else { number }
}

/// The bytes of a key.
fn length(key: &Item) -> usize {
    match key {
        Item::Borrowed(range) | Item::Made(range) => range.len(),
        Item::Nil | Item::Bool(_) | Item::Int(_) | Item::Float(_) | Item::List(_) | Item::Map(_) => 0,
    }
}

/// A place in a line.
struct Cursor<'b> {
    line: &'b [u8],
    at: usize,
}

impl<'b> Cursor<'b> {
    /// Checks once for the whole line that it is text.
    fn new(line: &'b [u8]) -> Result<Cursor<'b>, Problem> {
        std::str::from_utf8(line).map_err(|error| Problem::Text { at: error.valid_up_to() + 1 })?;
        Ok(Cursor { line, at: 0 })
    }

    /// The next byte that is not white space.
    #[inline]
    fn peek(&mut self) -> Result<u8, Problem> {
        while let Some(&byte) = self.line.get(self.at) {
            if !matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
                return Ok(byte);
            }
            self.at += 1;
        }
        Err(Problem::Ends)
    }

    fn unexpected(&self) -> Problem {
        self.line.get(self.at).map_or(Problem::Ends, |&byte| Problem::Unexpected { byte, at: self.at + 1 })
    }

    fn expect(&mut self, byte: u8) -> Result<(), Problem> {
        if self.peek()? != byte {
            return Err(self.unexpected());
        }
        self.at += 1;
        Ok(())
    }

    fn end(&mut self) -> Result<(), Problem> {
        match self.peek() {
            Ok(_) => Err(self.unexpected()),
            Err(_) => Ok(()),
        }
    }

    /// Whether another value of a list or map follows; moves behind the comma or the closing bracket.
    fn next_in(&mut self, close: u8, first: &mut bool) -> Result<bool, Problem> {
        let byte = self.peek()?;
        if byte == close {
            self.at += 1;
            return Ok(false);
        }
        if !std::mem::replace(first, false) {
            self.expect(b',')?;
            if self.peek()? == close {
                return Err(self.unexpected());
            }
        }
        Ok(true)
    }

    fn word(&mut self, word: &[u8], item: Item) -> Result<Item, Problem> {
        for &byte in word {
            if self.line.get(self.at) != Some(&byte) {
                return Err(self.unexpected());
            }
            self.at += 1;
        }
        Ok(item)
    }

    fn number(&mut self) -> Result<Item, Problem> {
        let start = self.at;
        self.skip(|byte| byte == b'-', 1);
        let leading = self.line.get(self.at) == Some(&b'0');
        self.digits(if leading { 1 } else { usize::MAX })?;
        let mut integer = true;
        if self.line.get(self.at) == Some(&b'.') {
            (self.at, integer) = (self.at + 1, false);
            self.digits(usize::MAX)?;
        }
        if matches!(self.line.get(self.at), Some(b'e' | b'E')) {
            (self.at, integer) = (self.at + 1, false);
            self.skip(|byte| matches!(byte, b'+' | b'-'), 1);
            self.digits(usize::MAX)?;
        }
        let text = std::str::from_utf8(&self.line[start..self.at]).expect("digits and signs are ASCII");
        let (number, at) = (|| text.chars().take(60).collect::<String>(), start + 1);
        if integer {
            if text.len() <= SHORT {
                return Ok(Item::Int(short_integer(text.as_bytes())));
            }
            return text.parse().map(Item::Int).map_err(|_| Problem::Integer { number: number(), at });
        }
        let float: f64 = text.parse().map_err(|_| Problem::Text { at })?;
        if float.is_finite() { Ok(Item::Float(float)) } else { Err(Problem::Float { number: number(), at }) }
    }

    fn digits(&mut self, most: usize) -> Result<(), Problem> {
        if self.skip(|byte| byte.is_ascii_digit(), most) { Ok(()) } else { Err(self.unexpected()) }
    }

    fn skip(&mut self, wanted: impl Fn(u8) -> bool, most: usize) -> bool {
        let len = self.line[self.at..].iter().take(most).take_while(|byte| wanted(**byte)).count();
        self.at += len;
        len > 0
    }
}
