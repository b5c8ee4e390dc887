//! Functions of Lua's library, for the arguments for which they are plain.

use bumpalo::Bump;
use lua::native::{Builtin, Code};
use lua::pattern::Pattern;

use super::eval::Frame;
use super::number::{self, number, position};
use crate::Val;

/// Text that `rep` may make here; more is for Lua, which counts its memory.
const MOST_REPEATED: usize = 1 << 20;

/// The value of a call.
pub(super) fn call<'a>(builtin: Builtin, arguments: &'a [Code], frame: &Frame<'a, '_>) -> Option<Val<'a>> {
    let (first, others) = arguments.split_first()?;
    Some(match builtin {
        Builtin::Lower => made(frame, frame.text(first)?, |byte| byte.to_ascii_lowercase()),
        Builtin::Upper => made(frame, frame.text(first)?, |byte| byte.to_ascii_uppercase()),
        Builtin::Reverse => {
            let text = frame.text(first)?;
            Val::Str(frame.arena.alloc_slice_fill_with(text.len(), |at| text[text.len() - 1 - at]))
        }
        Builtin::Length => Val::Int(frame.text(first)?.len() as i64),
        Builtin::Sub => sub(frame.text(first)?, others, frame)?,
        Builtin::Byte => byte(frame.text(first)?, others, frame)?,
        Builtin::Rep => rep(frame.text(first)?, position(frame.value(&others[0])?)?, frame)?,
        Builtin::ToString => text_of(frame.value(first)?, frame)?,
        Builtin::ToNumber => match frame.value(first)? {
            Val::Str(text) => Val::Float(number::parse(text)?),
            value => Val::Float(number(value)?),
        },
        Builtin::Type => Val::Str(kind(frame.value(first)?)?.as_bytes()),
        Builtin::Floor => Val::Float(number(frame.value(first)?)?.floor()),
        Builtin::Ceil => Val::Float(number(frame.value(first)?)?.ceil()),
        Builtin::Abs => Val::Float(number(frame.value(first)?)?.abs()),
        Builtin::Sqrt => Val::Float(number(frame.value(first)?)?.sqrt()),
        Builtin::Min => extreme(arguments, frame, |candidate, best| candidate < best)?,
        Builtin::Max => extreme(arguments, frame, |candidate, best| candidate > best)?,
    })
}

/// A text with each byte changed; itself where none changes.
fn made<'a>(frame: &Frame<'a, '_>, text: &'a [u8], change: impl Fn(u8) -> u8) -> Val<'a> {
    if text.iter().all(|byte| change(*byte) == *byte) {
        return Val::Str(text);
    }
    Val::Str(frame.arena.alloc_slice_fill_with(text.len(), |at| change(text[at])))
}

/// `s:sub(i, j)`: positions count from 1, negative ones from the end.
fn sub<'a>(text: &'a [u8], bounds: &'a [Code], frame: &Frame<'a, '_>) -> Option<Val<'a>> {
    let len = text.len() as i64;
    let bound = |at: usize| position(frame.value(&bounds[at])?);
    let (mut start, mut end) = (bound(0)?, if bounds.len() > 1 { bound(1)? } else { -1 });
    if start < 0 {
        start = (start + len + 1).max(1);
    }
    if end < 0 {
        end += len + 1;
    }
    let (start, end) = (start.max(1), end.min(len));
    Some(Val::Str(if start > end { b"" } else { &text[start as usize - 1..end as usize] }))
}

/// `s:byte(i)`; beyond the text it gives nothing at all, which is for Lua.
fn byte<'a>(text: &[u8], at: &'a [Code], frame: &Frame<'a, '_>) -> Option<Val<'a>> {
    let at = if at.is_empty() { 1 } else { position(frame.value(&at[0])?)? };
    let at = if at < 0 { at + text.len() as i64 } else { at - 1 };
    text.get(usize::try_from(at).ok()?).map(|byte| Val::Int(i64::from(*byte)))
}

fn rep<'a>(text: &[u8], count: i64, frame: &Frame<'a, '_>) -> Option<Val<'a>> {
    let count = usize::try_from(count).unwrap_or(0);
    let len = text.len().checked_mul(count).filter(|len| *len <= MOST_REPEATED)?;
    Some(Val::Str(frame.arena.alloc_slice_fill_with(len, |at| text[at % text.len()])))
}

fn text_of<'a>(value: Val<'a>, frame: &Frame<'a, '_>) -> Option<Val<'a>> {
    Some(Val::Str(match value {
        Val::Str(text) => text,
        Val::Nil => b"nil",
        Val::Bool(true) => b"true",
        Val::Bool(false) => b"false",
        Val::Int(_) | Val::Float(_) => {
            let mut text = bumpalo::collections::Vec::new_in(frame.arena);
            number::write(number(value)?, &mut text)?;
            text.into_bump_slice()
        }
        Val::List(_) | Val::Map(_) => return None,
    }))
}

fn kind(value: Val<'_>) -> Option<&'static str> {
    Some(match value {
        Val::Nil => "nil",
        Val::Bool(_) => "boolean",
        Val::Int(_) | Val::Float(_) => {
            number(value)?;
            "number"
        }
        Val::Str(_) => "string",
        Val::List(_) | Val::Map(_) => "table",
    })
}

/// The least or greatest number. NaN and the two zeros are for Lua.
fn extreme<'a>(arguments: &'a [Code], frame: &Frame<'a, '_>, better: impl Fn(f64, f64) -> bool) -> Option<Val<'a>> {
    let mut best = None;
    for argument in arguments {
        let candidate = number(frame.value(argument)?)?;
        if candidate.is_nan() || candidate == 0.0 && candidate.is_sign_negative() {
            return None;
        }
        if best.is_none_or(|best| better(candidate, best)) {
            best = Some(candidate);
        }
    }
    best.map(Val::Float)
}

/// `s:gsub(pattern, by)`: the text, and how many there were.
pub(super) fn replace<'a>(text: &'a [u8], pattern: &Pattern, by: &[u8], arena: &'a Bump) -> (&'a [u8], i64) {
    let (mut made, mut copied, mut at, mut count) = (bumpalo::collections::Vec::new_in(arena), 0, 0, 0);
    while at <= text.len()
        && let Some(found) = pattern.find(text, at)
    {
        made.extend_from_slice(&text[copied..found.start]);
        made.extend_from_slice(by);
        (copied, count) = (found.end, count + 1);
        at = if found.end == found.start { found.end + 1 } else { found.end };
        if pattern.is_anchored() {
            break;
        }
    }
    if count == 0 {
        return (text, 0);
    }
    made.extend_from_slice(&text[copied..]);
    (made.into_bump_slice(), count)
}
