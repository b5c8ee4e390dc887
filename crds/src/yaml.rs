//! JSON as block YAML that YAML 1.1 and 1.2 readers see alike.

use serde_json::Value;

/// The value as a YAML document.
pub(crate) fn to_string(value: &Value) -> String {
    let mut text = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => write_block(&mut text, value, 0),
        Value::Array(list) if !list.is_empty() => write_block(&mut text, value, 0),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
            text.push_str(&scalar(value));
            text.push('\n');
        }
    }
    text
}

/// A non-empty list or map, each line indented.
fn write_block(text: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Object(map) => {
            for (key, item) in map {
                text.push_str(&" ".repeat(indent));
                text.push_str(&string(key));
                text.push(':');
                write_item(text, item, indent);
            }
        }
        Value::Array(list) => {
            for item in list {
                text.push_str(&" ".repeat(indent));
                text.push('-');
                write_item(text, item, indent);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// What stands behind a `-` or a key.
fn write_item(text: &mut String, item: &Value, indent: usize) {
    let empty = match item {
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    };
    if empty {
        text.push(' ');
        text.push_str(&scalar(item));
        text.push('\n');
    } else {
        text.push('\n');
        write_block(text, item, indent + 2);
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => string(text),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

/// Plain where nobody can misread it, else in double quotes as JSON.
fn string(text: &str) -> String {
    let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic());
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'/' | b'.' | b'_' | b'$');
    let words = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];
    let word = words.iter().any(|word| text.eq_ignore_ascii_case(word));
    if first && text.bytes().all(plain) && !word { text.to_owned() } else { Value::from(text).to_string() }
}
