//! Values as JSON text, in one pass over their bytes.

use super::{JsonError, not_finite, write_bool, write_float, write_int};
use crate::{Result, Val, codec};

/// Whether what JSON lacks is refused or written as it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Rules {
    Strict,
    Lenient,
}

/// Appends a value.
pub(super) fn write(out: &mut Vec<u8>, value: Val<'_>, rules: Rules) -> Result<(), JsonError> {
    match value {
        Val::List(mut encoded) | Val::Map(mut encoded) => write_next(out, &mut encoded, rules, codec::MAX_DEPTH),
        Val::Nil | Val::Bool(_) | Val::Int(_) | Val::Float(_) | Val::Str(_) => write_scalar(out, value, rules),
    }
}

fn write_scalar(out: &mut Vec<u8>, value: Val<'_>, rules: Rules) -> Result<(), JsonError> {
    match value {
        Val::Nil => out.extend_from_slice(b"null"),
        Val::Bool(b) => write_bool(out, b),
        Val::Int(i) => write_int(out, i),
        Val::Float(f) => {
            if let (Rules::Strict, Some(name)) = (rules, not_finite(f)) {
                return Err(JsonError::NotFinite(name));
            }
            write_float(out, f);
        }
        Val::Str(s) => {
            if rules == Rules::Strict && std::str::from_utf8(s).is_err() {
                return Err(JsonError::NotUtf8);
            }
            write_string(out, s);
        }
        Val::List(_) | Val::Map(_) => return Err(JsonError::Damaged),
    }
    Ok(())
}

/// Appends the next encoded value of `input`. Headers are read here, not by `read_val`, which would look ahead at each level.
fn write_next(out: &mut Vec<u8>, input: &mut &[u8], rules: Rules, depth: u32) -> Result<(), JsonError> {
    let deeper = || depth.checked_sub(1).ok_or(JsonError::Damaged);
    match input.first() {
        Some(0x90..=0x9f | 0xdc | 0xdd) => write_list(out, input, rules, deeper()?),
        Some(0x80..=0x8f | 0xde | 0xdf) => write_map(out, input, rules, deeper()?),
        Some(_) | None => write_scalar(out, codec::read_val(input).map_err(|_| JsonError::Damaged)?, rules),
    }
}

fn write_list(out: &mut Vec<u8>, input: &mut &[u8], rules: Rules, depth: u32) -> Result<(), JsonError> {
    out.push(b'[');
    for at in 0..codec::read_array_header(input).map_err(|_| JsonError::Damaged)? {
        if at > 0 {
            out.push(b',');
        }
        write_next(out, input, rules, depth)?;
    }
    out.push(b']');
    Ok(())
}

fn write_map(out: &mut Vec<u8>, input: &mut &[u8], rules: Rules, depth: u32) -> Result<(), JsonError> {
    let encoded = *input;
    out.push(b'{');
    let (mut strings, mut others) = (false, false);
    for at in 0..codec::read_map_header(input).map_err(|_| JsonError::Damaged)? {
        if at > 0 {
            out.push(b',');
        }
        match write_key(out, input, rules, depth)? {
            true => strings = true,
            false => others = true,
        }
        out.push(b':');
        write_next(out, input, rules, depth)?;
    }
    out.push(b'}');
    if rules == Rules::Strict && strings && others { check_names(encoded, depth) } else { Ok(()) }
}

/// Refuses a map in which a string is also the text of another key.
fn check_names(mut encoded: &[u8], depth: u32) -> Result<(), JsonError> {
    let mut names = std::collections::BTreeSet::new();
    for _ in 0..codec::read_map_header(&mut encoded).map_err(|_| JsonError::Damaged)? {
        let mut name = Vec::new();
        write_key(&mut name, &mut encoded, Rules::Strict, depth)?;
        if !names.insert(name) {
            return Err(JsonError::KeyTwice);
        }
        codec::read_val(&mut encoded).map_err(|_| JsonError::Damaged)?;
    }
    Ok(())
}

/// Appends a map's key as a JSON string; tells whether it was one.
fn write_key(out: &mut Vec<u8>, input: &mut &[u8], rules: Rules, depth: u32) -> Result<bool, JsonError> {
    let mut rest = *input;
    if let Ok(key @ Val::Str(_)) = codec::read_val(&mut rest) {
        *input = rest;
        write_scalar(out, key, rules)?;
        return Ok(true);
    }
    let mut text = Vec::new();
    write_next(&mut text, input, rules, depth)?;
    write_string(out, &text);
    Ok(false)
}

/// Which bytes cannot stand in a JSON string as they are.
pub(crate) const ESCAPED: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = true;
        byte += 1;
    }
    table[b'"' as usize] = true;
    table[b'\\' as usize] = true;
    table
};

/// Appends a JSON string; bytes that are not UTF-8 stay as they are.
pub fn write_string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    let mut start = 0;
    for (at, &byte) in text.iter().enumerate() {
        if ESCAPED[usize::from(byte)] {
            out.extend_from_slice(&text[start..at]);
            write_escape(out, byte);
            start = at + 1;
        }
    }
    out.extend_from_slice(&text[start..]);
    out.push(b'"');
}

fn write_escape(out: &mut Vec<u8>, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'\\');
    match byte {
        b'"' | b'\\' => out.push(byte),
        b'\n' => out.push(b'n'),
        b'\r' => out.push(b'r'),
        b'\t' => out.push(b't'),
        0x08 => out.push(b'b'),
        0x0c => out.push(b'f'),
        _ => out.extend_from_slice(&[b'u', b'0', b'0', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]),
    }
}
