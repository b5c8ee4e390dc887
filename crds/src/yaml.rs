//! JSON as block YAML that YAML 1.1 and 1.2 readers see alike.

use serde_json::Value;

/// The value as a YAML document.
pub(crate) fn to_string(value: &Value) -> String {
    let mut text = String::new();
    if is_block(value) {
        write_block(&mut text, value, 0);
    } else {
        text = scalar(value) + "\n";
    }
    text
}

/// A non-empty list or map, each line indented.
fn write_block(text: &mut String, value: &Value, indent: usize) {
    let margin = " ".repeat(indent);
    match value {
        Value::Object(map) => {
            for (key, item) in map {
                text.push_str(&margin);
                text.push_str(&string(key));
                text.push(':');
                if is_block(item) {
                    text.push('\n');
                    write_block(text, item, indent + 2);
                } else {
                    text.push_str(&format!(" {}\n", scalar(item)));
                }
            }
        }
        Value::Array(list) => {
            for item in list {
                let mut nested = String::new();
                if is_block(item) {
                    write_block(&mut nested, item, indent + 2);
                } else {
                    nested = format!("{margin}  {}\n", scalar(item));
                }
                // The first line of an item stands behind its dash.
                text.push_str(&format!("{margin}- {}", &nested[indent + 2..]));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Whether it takes lines of its own.
fn is_block(value: &Value) -> bool {
    match value {
        Value::Object(map) => !map.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => string(text),
        Value::Number(number) => match number.as_f64() {
            Some(whole) if number.is_f64() && whole.fract() == 0.0 && whole.abs() < 1e15 => format!("{whole:.0}"),
            Some(_) | None => number.to_string(),
        },
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
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
