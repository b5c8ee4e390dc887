//! Rows as MessagePack: an array of values per row, strings as bin (bytes, never checked for UTF-8), maps sorted by key.
//!
//! Reading never trusts a length: a damaged row is an error, not a panic.

use crate::{Error, Result, RowScratch, Val, Value};

/// Appends a row.
#[inline]
pub fn write_row(out: &mut Vec<u8>, row: &[Val<'_>]) {
    write_array_header(out, row.len());
    for value in row {
        write_val(out, *value);
    }
}

/// Appends the header of a list or row of `len` values, which must follow.
#[inline]
pub fn write_array_header(out: &mut Vec<u8>, len: usize) {
    match len {
        0..=15 => out.push(0x90 | len as u8),
        16..=0xffff => tagged(out, 0xdc, &(len as u16).to_be_bytes()),
        _ => tagged(out, 0xdd, &(len as u32).to_be_bytes()),
    }
}

/// Appends the header of a row of several fields (or none) that stands as an item in a group's list, so that [`is_row_item`] can
/// tell it from a value that is a list: a longer header than needed, which every reader takes for the same list.
///
/// # Errors
/// Where there is no longer header: from 65,536 fields on.
pub fn write_row_item_header(out: &mut Vec<u8>, len: usize) -> Result<()> {
    match len {
        0..=15 => tagged(out, 0xdc, &(len as u16).to_be_bytes()),
        16..=0xffff => tagged(out, 0xdd, &(len as u32).to_be_bytes()),
        _ => return Err(Error::Corrupt("a row of more than 65,535 values cannot be an item of a group that is kept")),
    }
    Ok(())
}

/// Whether an item of a group's list was written with [`write_row_item_header`].
#[must_use]
pub fn is_row_item(item: &[u8]) -> bool {
    match item {
        [0xdc, high, low, ..] => u16::from_be_bytes([*high, *low]) < 16,
        [0xdd, 0, 0, _, _, ..] => true,
        _ => false,
    }
}

/// Appends the header of a map of `len` pairs, which must follow, sorted by key.
pub fn write_map_header(out: &mut Vec<u8>, len: usize) {
    match len {
        0..=15 => out.push(0x80 | len as u8),
        16..=0xffff => tagged(out, 0xde, &(len as u16).to_be_bytes()),
        _ => tagged(out, 0xdf, &(len as u32).to_be_bytes()),
    }
}

/// Appends one value.
#[inline]
pub fn write_val(out: &mut Vec<u8>, value: Val<'_>) {
    match value {
        Val::Nil => out.push(0xc0),
        Val::Bool(b) => out.push(if b { 0xc3 } else { 0xc2 }),
        Val::Int(i) => write_int(out, i),
        Val::Float(f) => tagged(out, 0xcb, &f.to_bits().to_be_bytes()),
        Val::Str(s) => write_str(out, s),
        Val::List(encoded) | Val::Map(encoded) => out.extend_from_slice(encoded),
    }
}

/// Appends an owned value; maps come out sorted.
pub fn write_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Nil => write_val(out, Val::Nil),
        Value::Bool(b) => write_val(out, Val::Bool(*b)),
        Value::Int(i) => write_val(out, Val::Int(*i)),
        Value::Float(f) => write_val(out, Val::Float(*f)),
        Value::Str(s) => write_val(out, Val::Str(s)),
        Value::List(items) => {
            write_array_header(out, items.len());
            for item in items {
                write_value(out, item);
            }
        }
        Value::Map(pairs) => write_pairs(out, pairs),
    }
}

fn write_pairs(out: &mut Vec<u8>, pairs: &[(Value, Value)]) {
    let encoded = |value: &Value| {
        let mut bytes = Vec::new();
        write_value(&mut bytes, value);
        bytes
    };
    write_encoded_pairs(out, pairs.iter().map(|(key, value)| (encoded(key), encoded(value))).collect());
}

/// Appends a map of encoded keys and values, sorting it.
pub fn write_encoded_pairs(out: &mut Vec<u8>, mut pairs: Vec<(Vec<u8>, Vec<u8>)>) {
    pairs.sort_by(|(a, _), (b, _)| compare_encoded(a, b));
    write_map_header(out, pairs.len());
    for (key, value) in pairs {
        out.extend_from_slice(&key);
        out.extend_from_slice(&value);
    }
}

/// Compares two values just written by this module.
pub(crate) fn compare_encoded(mut a: &[u8], mut b: &[u8]) -> std::cmp::Ordering {
    match (read_val(&mut a), read_val(&mut b)) {
        (Ok(a), Ok(b)) => crate::key::compare(a, b),
        _ => unreachable!("values written by this module are well-formed"),
    }
}

#[inline]
fn write_int(out: &mut Vec<u8>, i: i64) {
    match i {
        0..=0x7f => out.push(i as u8),
        -32..=-1 => out.push(i as i8 as u8),
        -0x80..=0x7f => tagged(out, 0xd0, &(i as i8).to_be_bytes()),
        -0x8000..=0x7fff => tagged(out, 0xd1, &(i as i16).to_be_bytes()),
        -0x8000_0000..=0x7fff_ffff => tagged(out, 0xd2, &(i as i32).to_be_bytes()),
        _ => tagged(out, 0xd3, &i.to_be_bytes()),
    }
}

#[inline]
fn write_str(out: &mut Vec<u8>, s: &[u8]) {
    match s.len() {
        0..=31 => out.push(0xa0 | s.len() as u8),
        32..=0xff => tagged(out, 0xc4, &[s.len() as u8]),
        0x100..=0xffff => tagged(out, 0xc5, &(s.len() as u16).to_be_bytes()),
        _ => tagged(out, 0xc6, &(s.len() as u32).to_be_bytes()),
    }
    out.extend_from_slice(s);
}

fn tagged(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    out.extend_from_slice(bytes);
}

/// Reads a row into an empty vector; `input` moves behind it.
///
/// # Errors
/// [`Error::Corrupt`] where the bytes are no row.
#[inline]
pub fn read_row<'a>(input: &mut &'a [u8], row: &mut Vec<Val<'a>>) -> Result<()> {
    let len = read_array_header(input)?;
    let mut rest = *input;
    for _ in 0..len {
        // Most values right here: one that is returned goes through memory, and is read again in pieces that have to be waited for.
        match *rest {
            [tag @ 0xa0..=0xbf, ref behind @ ..] if behind.len() >= usize::from(tag & 0x1f) => {
                let (string, behind) = behind.split_at(usize::from(tag & 0x1f));
                row.push(Val::Str(string));
                rest = behind;
            }
            [tag @ 0x00..=0x7f, ref behind @ ..] => {
                row.push(Val::Int(i64::from(tag)));
                rest = behind;
            }
            [0xd1, a, b, ref behind @ ..] => {
                row.push(Val::Int(i64::from(i16::from_be_bytes([a, b]))));
                rest = behind;
            }
            [0xd2, a, b, c, d, ref behind @ ..] => {
                row.push(Val::Int(i64::from(i32::from_be_bytes([a, b, c, d]))));
                rest = behind;
            }
            [0xcb, a, b, c, d, e, f, g, h, ref behind @ ..] => {
                row.push(Val::Float(f64::from_be_bytes([a, b, c, d, e, f, g, h])));
                rest = behind;
            }
            _ => row.push(read_val(&mut rest)?),
        }
    }
    *input = rest;
    Ok(())
}

/// Reads the header of a list or row: the number of values that follow.
///
/// # Errors
/// [`Error::Corrupt`] where there is none, or where it promises more values than bytes are left.
#[inline]
pub fn read_array_header(input: &mut &[u8]) -> Result<usize> {
    let len = match take(input, 1)?[0] {
        tag @ 0x90..=0x9f => usize::from(tag & 0x0f),
        0xdc => be(input, 2)? as usize,
        0xdd => be(input, 4)? as usize,
        _ => return Err(Error::Corrupt("a row does not begin with an array")),
    };
    if len > input.len() { Err(Error::Corrupt("an array is longer than its bytes")) } else { Ok(len) }
}

/// Reads the header of a map: the number of pairs that follow.
///
/// # Errors
/// [`Error::Corrupt`] as for arrays.
pub fn read_map_header(input: &mut &[u8]) -> Result<usize> {
    let len = match take(input, 1)?[0] {
        tag @ 0x80..=0x8f => usize::from(tag & 0x0f),
        0xde => be(input, 2)? as usize,
        0xdf => be(input, 4)? as usize,
        _ => return Err(Error::Corrupt("a map does not begin with its header")),
    };
    if len > input.len() / 2 { Err(Error::Corrupt("a map is longer than its bytes")) } else { Ok(len) }
}

/// Reads one value; `input` moves behind it.
///
/// # Errors
/// [`Error::Corrupt`] where the bytes are no value.
#[inline]
pub fn read_val<'a>(input: &mut &'a [u8]) -> Result<Val<'a>> {
    let start = *input;
    let tag = *start.first().ok_or_else(|| corrupt("a value is missing"))?;
    match tag {
        0x80..=0x9f | 0xdc..=0xdf => {
            skip(input, MAX_DEPTH)?;
            let encoded = &start[..start.len() - input.len()];
            Ok(if matches!(tag, 0x90..=0x9f | 0xdc | 0xdd) { Val::List(encoded) } else { Val::Map(encoded) })
        }
        _ => {
            *input = &start[1..];
            read_scalar(tag, input)
        }
    }
}

#[inline]
fn read_scalar<'a>(tag: u8, input: &mut &'a [u8]) -> Result<Val<'a>> {
    Ok(match tag {
        0x00..=0x7f => Val::Int(i64::from(tag)),
        0xe0..=0xff => Val::Int(i64::from(tag as i8)),
        0xa0..=0xbf => Val::Str(take(input, usize::from(tag & 0x1f))?),
        0xc0 => Val::Nil,
        0xc2 => Val::Bool(false),
        0xc3 => Val::Bool(true),
        0xc4 => str_of(input, 1)?,
        0xc5 => str_of(input, 2)?,
        0xc6 => str_of(input, 4)?,
        0xcb => Val::Float(f64::from_bits(be(input, 8)?)),
        0xd0 => Val::Int(i64::from(be(input, 1)? as i8)),
        0xd1 => Val::Int(i64::from(be(input, 2)? as i16)),
        0xd2 => Val::Int(i64::from(be(input, 4)? as i32)),
        0xd3 => Val::Int(be(input, 8)? as i64),
        _ => return Err(Error::Corrupt("a value has an unknown tag")),
    })
}

/// The list or map whose encoded bytes, all of them and nothing more, are these.
#[inline]
#[must_use]
pub fn table(encoded: &[u8]) -> Val<'_> {
    match encoded.first() {
        Some(0x90..=0x9f | 0xdc | 0xdd) => Val::List(encoded),
        _ => Val::Map(encoded),
    }
}

/// How deep lists and maps may nest.
pub const MAX_DEPTH: u32 = 128;

/// Moves `input` behind one value, however nested, up to a depth.
fn skip(input: &mut &[u8], depth: u32) -> Result<()> {
    let tag = *input.first().ok_or_else(|| corrupt("a value is missing"))?;
    let inside = match tag {
        0x90..=0x9f | 0xdc | 0xdd => read_array_header(input)?,
        0x80..=0x8f | 0xde | 0xdf => read_map_header(input)? * 2,
        _ => {
            *input = &input[1..];
            return read_scalar(tag, input).map(drop);
        }
    };
    let depth = depth.checked_sub(1).ok_or_else(|| corrupt("values nest too deeply"))?;
    for _ in 0..inside {
        skip(input, depth)?;
    }
    Ok(())
}

fn str_of<'a>(input: &mut &'a [u8], width: usize) -> Result<Val<'a>> {
    let len = be(input, width)? as usize;
    Ok(Val::Str(take(input, len)?))
}

fn be(input: &mut &[u8], width: usize) -> Result<u64> {
    Ok(take(input, width)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

/// Not made where nothing is wrong: an error has to be dropped.
#[cold]
fn corrupt(what: &'static str) -> Error {
    Error::Corrupt(what)
}

#[inline]
fn take<'a>(input: &mut &'a [u8], len: usize) -> Result<&'a [u8]> {
    let (taken, rest) = input.split_at_checked(len).ok_or_else(|| corrupt("a value is cut off"))?;
    *input = rest;
    Ok(taken)
}

/// An owned copy of a value.
///
/// # Errors
/// [`Error::Corrupt`] where an encoded list or map is damaged.
pub fn to_value(value: Val<'_>) -> Result<Value> {
    Ok(match value {
        Val::Nil => Value::Nil,
        Val::Bool(b) => Value::Bool(b),
        Val::Int(i) => Value::Int(i),
        Val::Float(f) => Value::Float(f),
        Val::Str(s) => Value::Str(s.to_vec()),
        Val::List(mut encoded) => {
            let len = read_array_header(&mut encoded)?;
            Value::List((0..len).map(|_| to_value(read_val(&mut encoded)?)).collect::<Result<_>>()?)
        }
        Val::Map(mut encoded) => {
            let len = read_map_header(&mut encoded)?;
            let mut pair = || Ok((to_value(read_val(&mut encoded)?)?, to_value(read_val(&mut encoded)?)?));
            Value::Map((0..len).map(|_| pair()).collect::<Result<_>>()?)
        }
    })
}

/// Calls `f` for each row of a run of encoded rows.
///
/// # Errors
/// [`Error::Corrupt`] for damaged bytes, and what `f` returns.
pub fn for_each_row(mut rows: &[u8], scratch: &mut RowScratch, mut f: impl FnMut(&[Val<'_>]) -> Result<()>) -> Result<()> {
    let mut row = scratch.take();
    while !rows.is_empty() {
        row.clear();
        read_row(&mut rows, &mut row)?;
        f(&row)?;
    }
    scratch.give(row);
    Ok(())
}

/// How many characters of a row a message shows.
const PREVIEW: usize = 200;

/// A row for a message: as JSON-like text, cut where it is long.
#[must_use]
pub fn preview(row: &[Val<'_>]) -> String {
    let fields: Vec<String> = row.iter().map(|value| show(*value)).collect();
    let text = format!("({})", fields.join(", "));
    match text.char_indices().nth(PREVIEW) {
        Some((cut, _)) => format!("{}... ({} bytes)", &text[..cut], text.len()),
        None => text,
    }
}

fn show(value: Val<'_>) -> String {
    match value {
        Val::Nil => "nil".to_owned(),
        Val::Str(s) => format!("{:?}", String::from_utf8_lossy(&s[..s.len().min(4 * PREVIEW)])),
        Val::Bool(_) | Val::Int(_) | Val::Float(_) | Val::List(_) | Val::Map(_) => {
            let mut text = Vec::new();
            crate::text::write_field(&mut text, value);
            String::from_utf8_lossy(&text).into_owned()
        }
    }
}
