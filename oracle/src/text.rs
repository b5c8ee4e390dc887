//! Rows as text, the slow way: tab-joined lines for pipes and text files, JSON for lists, maps and json files, csv, printf.

use crate::{Row, Value};

/// Fields as text with tabs between.
#[must_use]
pub fn line(row: &[Value]) -> Vec<u8> {
    row.iter().map(field).collect::<Vec<_>>().join(&b'\t')
}

/// One field as text: nil is empty, strings as they are, lists and maps as JSON.
#[must_use]
pub fn field(value: &Value) -> Vec<u8> {
    match value {
        Value::Nil => Vec::new(),
        Value::Str(bytes) => bytes.clone(),
        Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::List(_) | Value::Map(_) => json(value).into_bytes(),
    }
}

/// A value as JSON text, without spaces.
#[must_use]
pub fn json(value: &Value) -> String {
    match value {
        Value::Nil => "null".to_owned(),
        Value::Bool(b) => b.to_string(),
        Value::Int(i) => i.to_string(),
        Value::Float(f) if f.is_nan() => "nan".to_owned(),
        Value::Float(f) => format!("{f:?}"),
        Value::Str(bytes) => serde_json::Value::from(String::from_utf8_lossy(bytes)).to_string(),
        Value::List(items) => format!("[{}]", items.iter().map(json).collect::<Vec<_>>().join(",")),
        Value::Map(pairs) => {
            let pairs: Vec<_> = pairs.iter().map(|(key, value)| format!("{}:{}", json_key(key), json(value))).collect();
            format!("{{{}}}", pairs.join(","))
        }
    }
}

/// A key of a JSON object: always a string.
fn json_key(key: &Value) -> String {
    json(&Value::Str(field(key)))
}

/// A value from parsed JSON; objects are maps.
#[must_use]
pub fn from_json(parsed: &serde_json::Value) -> Value {
    match parsed {
        serde_json::Value::Null => Value::Nil,
        serde_json::Value::Bool(b) => Value::Bool(*b),
        serde_json::Value::Number(n) => n.as_i64().map_or_else(|| Value::Float(n.as_f64().unwrap_or(f64::NAN)), Value::Int),
        serde_json::Value::String(s) => Value::text(s),
        serde_json::Value::Array(items) => Value::List(items.iter().map(from_json).collect()),
        serde_json::Value::Object(pairs) => {
            Value::map(pairs.iter().map(|(key, value)| (Value::text(key), from_json(value))).collect())
        }
    }
}

/// A csv record: quoted where it has to be.
#[must_use]
pub fn csv(row: &[Value], delimiter: u8, quote: u8) -> Vec<u8> {
    let quoted = |value: &Value| {
        let text = field(value);
        if !text.iter().any(|b| [delimiter, quote, b'\n', b'\r'].contains(b)) {
            return text;
        }
        let mut out = vec![quote];
        for byte in text {
            if byte == quote {
                out.push(quote);
            }
            out.push(byte);
        }
        out.push(quote);
        out
    };
    row.iter().map(quoted).collect::<Vec<_>>().join(&delimiter)
}

/// Lines of a text as rows of tab-separated string fields.
#[must_use]
pub fn rows_of_lines(text: &[u8]) -> Vec<Row> {
    lines(text).into_iter().map(|line| line.split(|b| *b == b'\t').map(|part| Value::Str(part.to_vec())).collect()).collect()
}

/// Lines of a text, without their ends; a last line needs none.
#[must_use]
pub fn lines(text: &[u8]) -> Vec<Vec<u8>> {
    let mut lines: Vec<Vec<u8>> = text.split(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
    if lines.last().is_some_and(Vec::is_empty) {
        lines.pop();
    }
    lines
}
