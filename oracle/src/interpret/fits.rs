//! Rows that an operator can take, and those that it cannot.

use plan::{Fit, Sink, SinkFormat};

use super::Row;
use crate::value::Value;

/// The row as it is, where the operator can take it.
pub(super) fn fit(fit: &Fit, row: &[Value]) -> Result<Row, String> {
    let fits = match fit {
        Fit::Width(width) => row.len() >= *width as usize,
        Fit::Line(Sink::Stdout { format }) => format.as_deref().is_none_or(|format| is_printed(format, row)),
        Fit::Line(Sink::Files { format, fields, .. }) => is_line(format, fields.as_ref().map(Vec::len), row)?,
    };
    if fits { Ok(row.to_vec()) } else { Err(format!("{fit:?} does not take the row")) }
}

fn is_line(format: &SinkFormat, names: Option<usize>, row: &[Value]) -> Result<bool, String> {
    let named = |header: bool| !header || names.is_none_or(|names| row.len() <= names);
    Ok(match format {
        SinkFormat::Text => true,
        SinkFormat::Csv { header, .. } => named(*header),
        SinkFormat::Tsv { header } => named(*header) && !row.iter().any(has_separator),
        SinkFormat::Json => names.is_none_or(|names| row.len() <= names) && row.iter().all(is_json),
        SinkFormat::Parquet => return Err("a Parquet file has no lines".to_owned()),
    })
}

fn has_separator(value: &Value) -> bool {
    matches!(value, Value::Str(text) if text.iter().any(|byte| matches!(byte, b'\t' | b'\n' | b'\r')))
}

fn is_json(value: &Value) -> bool {
    match value {
        Value::Nil | Value::Bool(_) | Value::Int(_) => true,
        Value::Float(number) => number.is_finite(),
        Value::Str(text) => std::str::from_utf8(text).is_ok(),
        Value::List(items) => items.iter().all(is_json),
        Value::Map(pairs) => pairs.iter().all(|(key, value)| is_json(key) && is_json(value)),
    }
}

/// Whether each verb takes its field.
fn is_printed(format: &str, row: &[Value]) -> bool {
    let literal = format.replace("%%", "");
    let verbs = literal.split('%').skip(1).filter_map(|verb| verb.chars().find(char::is_ascii_alphabetic));
    let verbs: Vec<char> = verbs.collect();
    let takes = |(verb, value): (&char, &Value)| match verb {
        'q' => matches!(value, Value::Str(_)),
        'd' | 'x' | 'X' => match value {
            Value::Int(_) => true,
            Value::Float(number) => number.fract() == 0.0 && number.abs() < 9.2e18,
            _ => false,
        },
        'e' | 'E' | 'f' | 'g' | 'G' => matches!(value, Value::Int(_) | Value::Float(_)),
        _ => true,
    };
    verbs.len() == row.len() && verbs.iter().zip(row).all(takes)
}
