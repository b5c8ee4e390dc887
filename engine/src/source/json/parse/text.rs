//! The inside of JSON text: escapes, and what may not stand there.

use crate::text::JSON_ESCAPED;

/// How many bytes come before the closing quote, an escape or a byte that may not be there; `None` if none of them comes.
#[inline]
pub(super) fn plain_len(text: &[u8]) -> Option<usize> {
    text.iter().position(|&byte| JSON_ESCAPED[usize::from(byte)])
}

/// Appends the text up to the closing quote; how many bytes that were, the quote included, or where it is not valid.
pub(super) fn unescape(text: &[u8], out: &mut Vec<u8>) -> Result<usize, usize> {
    let mut at = 0;
    loop {
        let plain = plain_len(&text[at..]).ok_or(text.len())?;
        out.extend_from_slice(&text[at..at + plain]);
        at += plain;
        match text[at] {
            b'"' => break,
            b'\\' => at = escape(text, at + 1, out).ok_or(at)?,
            _ => return Err(at),
        }
    }
    Ok(at + 1)
}

/// Appends what the escape behind a backslash stands for; the position behind it.
fn escape(text: &[u8], at: usize, out: &mut Vec<u8>) -> Option<usize> {
    let byte = match text.get(at)? {
        b'u' => return unicode(text, at + 1, out),
        byte @ (b'"' | b'\\' | b'/') => *byte,
        b'b' => 8,
        b'f' => 12,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        _ => return None,
    };
    out.push(byte);
    Some(at + 1)
}

fn unicode(text: &[u8], at: usize, out: &mut Vec<u8>) -> Option<usize> {
    let high = hex(text, at)?;
    let (code, end) = match high {
        0xd800..=0xdbff => {
            let low = (text.get(at + 4..at + 6)? == b"\\u").then(|| hex(text, at + 6))??;
            let low = (0xdc00..=0xdfff).contains(&low).then_some(low - 0xdc00)?;
            (0x1_0000 + ((high - 0xd800) << 10) + low, at + 10)
        }
        _ => (high, at + 4),
    };
    let character = char::from_u32(code)?;
    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    Some(end)
}

fn hex(text: &[u8], at: usize) -> Option<u32> {
    let digits = text.get(at..at + 4)?;
    digits.iter().try_fold(0, |code, digit| Some(code << 4 | char::from(*digit).to_digit(16)?))
}
