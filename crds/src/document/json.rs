//! JSON is YAML, but for letters beyond U+FFFF that are written as two escapes.

use std::borrow::Cow;

/// A JSON text whose pairs of surrogates (`"\ud83d\ude00"`, as many programs write them) are the letters that they stand for, as YAML
/// escapes them. What stands behind one in its line moves by two columns.
pub(super) fn whole_letters(text: &str) -> Cow<'_, str> {
    if !text.trim_start().starts_with('{') {
        return Cow::Borrowed(text);
    }
    let mut whole = String::new();
    // Up to where the text is in `whole`.
    let mut done = 0;
    let mut at = 0;
    while let Some(found) = text[at..].find('\\') {
        at += found;
        if let Some(letter) = pair(&text[at..]) {
            whole.push_str(&text[done..at]);
            whole.push_str(&format!("\\U{:08x}", u32::from(letter)));
            at += PAIR;
            done = at;
        } else {
            // What is escaped may be a backslash itself.
            at += 1 + text[at + 1..].chars().next().map_or(0, char::len_utf8);
        }
    }
    if done == 0 {
        return Cow::Borrowed(text);
    }
    whole.push_str(&text[done..]);
    Cow::Owned(whole)
}

/// The length of two escapes.
const PAIR: usize = 12;

/// The letter of the two escapes that a text begins with.
fn pair(text: &str) -> Option<char> {
    let pair = text.get(..PAIR)?;
    let unit = |at: usize| u16::from_str_radix(pair.get(at..at + 6)?.strip_prefix("\\u")?, 16).ok();
    let units = [unit(0)?, unit(6)?];
    let mut letters = char::decode_utf16(units);
    let letter = letters.next()?.ok()?;
    // Two letters of one unit each are none of ours.
    letters.next().is_none().then_some(letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_become_letters_and_all_else_stays() {
        let check = |json: &str, expected: &str| assert_eq!(whole_letters(json), expected);
        check(r#"{"a": "x\ud83d\ude00y\ud83d\uDE00"}"#, r#"{"a": "x\U0001f600y\U0001f600"}"#);
        for same in [
            r#"{"a": "\\ud83d\\ude00"}"#,
            r#"{"a": "\ud83d"}"#,
            r#"{"a": "\ude00\ud83d"}"#,
            r#"{"a": "\u0041\u0042"}"#,
            r#"{"a": "\ud83d\ude0"}"#,
            "a: '\\ud83d\\ude00'",
            "{\"a\": \"\\",
        ] {
            check(same, same);
        }
    }
}
