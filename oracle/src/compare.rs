//! Whether what a run wrote is what the interpreter says: multisets, sequences, or any so many of some rows.

use std::collections::BTreeMap;
use std::path::Path;

use plan::{Sink, SinkFormat};

use crate::value::order_exactly;
use crate::{Row, Value, text};

/// What a write step must write.
#[derive(Clone, Debug)]
pub struct Expected {
    pub rows: Vec<Row>,
    /// Behind a `limit` without an order: any so many of `rows`.
    pub any: Option<usize>,
    /// Whether the order of the rows counts.
    pub ordered: bool,
    pub sink: Sink,
}

/// What a write step wrote: the lines of all its data files, in the order of the files' names.
#[derive(Clone, Debug, Default)]
pub struct Actual {
    pub lines: Vec<Vec<u8>>,
    pub files: usize,
}

impl Actual {
    /// Reads the data files of an output directory; files that begin with `.` or `_` are none.
    ///
    /// # Errors
    /// If the directory or a file cannot be read, or a file does not end with a line end.
    pub fn read(folder: &Path) -> Result<Actual, String> {
        let entries = std::fs::read_dir(folder).map_err(|error| format!("failed to list {folder:?}: {error}"))?;
        let mut names: Vec<_> = entries.filter_map(|entry| entry.ok().map(|entry| entry.file_name())).collect();
        names.retain(|name| !name.to_string_lossy().starts_with(['.', '_']));
        names.sort();
        let mut lines = Vec::new();
        for name in &names {
            let path = folder.join(name);
            let bytes = std::fs::read(&path).map_err(|error| format!("failed to read {path:?}: {error}"))?;
            if bytes.last().is_some_and(|last| *last != b'\n') {
                return Err(format!("{path:?} does not end with a line end"));
            }
            lines.extend(text::lines(&bytes));
        }
        Ok(Actual { lines, files: names.len() })
    }
}

/// Whether a run wrote what it must: compares lines by what they say, and says the first difference.
///
/// # Errors
/// The first difference in words, or what cannot be read.
pub fn matches(expected: &Expected, actual: &Actual) -> Result<(), String> {
    let wanted = comparable(&expected.rows, &expected.sink);
    let found = actual.lines.iter().map(|line| parsed(line, &expected.sink)).collect::<Result<Vec<_>, _>>()?;
    if let Some(count) = expected.any {
        return any_of(count, wanted, found);
    }
    if expected.ordered {
        return same(&wanted, &found);
    }
    same(&in_order(wanted), &in_order(found))
}

/// Whether two interpretations of one flow gave each sink the same rows, in order where that counts.
///
/// # Errors
/// The first difference in words.
pub fn difference(wanted: &BTreeMap<String, Expected>, found: &BTreeMap<String, Expected>) -> Result<(), String> {
    for (step, wanted) in wanted {
        let found = found.get(step).ok_or_else(|| format!("{step} is gone"))?;
        if let (Some(count), None) = (wanted.any, found.any) {
            // A pass may show which rows a limit takes: a union of one ordered collection goes.
            any_of(count, wanted.rows.clone(), found.rows.clone()).map_err(|message| format!("{step}: {message}"))?;
            continue;
        }
        let sorted = |rows: &[Row]| if wanted.ordered { rows.to_vec() } else { in_order(rows.to_vec()) };
        same(&sorted(&wanted.rows), &sorted(&found.rows)).map_err(|message| format!("{step}: {message}"))?;
        if wanted.any != found.any {
            return Err(format!("{step}: {:?} of the rows became {:?}", wanted.any, found.any));
        }
    }
    Ok(())
}

fn in_order(mut rows: Vec<Row>) -> Vec<Row> {
    rows.sort_by(|a, b| order_exactly(a, b));
    rows
}

fn same(wanted: &[Row], found: &[Row]) -> Result<(), String> {
    let differs = wanted.iter().zip(found).position(|(wanted, found)| !row_is(wanted, found));
    if differs.is_none() && wanted.len() == found.len() {
        return Ok(());
    }
    let at = differs.unwrap_or(wanted.len().min(found.len()));
    let show = |rows: &[Row]| rows.get(at).map_or("nothing".to_owned(), show);
    let (count, there) = (wanted.len(), found.len());
    Err(format!("row {} should be {} but is {} ({count} rows expected, {there} found)", at + 1, show(wanted), show(found)))
}

/// Equality in which a NaN is itself.
fn row_is(wanted: &[Value], found: &[Value]) -> bool {
    wanted.len() == found.len() && order_exactly(wanted, found).is_eq()
}

fn any_of(count: usize, wanted: Vec<Row>, found: Vec<Row>) -> Result<(), String> {
    if found.len() != count {
        return Err(format!("{count} rows expected, {} found", found.len()));
    }
    let mut left = in_order(wanted).into_iter();
    for row in in_order(found) {
        if !left.any(|candidate| row_is(&candidate, &row)) {
            return Err(format!("{} is none of the rows to choose from, or too often there", show(&row)));
        }
    }
    Ok(())
}

fn show(row: &Row) -> String {
    text::json(&Value::List(row.clone()))
}

/// Rows as they come back from the sink: values where it keeps them (json), else the line's text.
fn comparable(rows: &[Row], sink: &Sink) -> Vec<Row> {
    let as_line = |row: &Row| match sink {
        Sink::Files { format: SinkFormat::Json, fields: Some(names), .. } => {
            let pairs = names.iter().zip(row).map(|(name, value)| (Value::text(name), json_value(value)));
            vec![Value::map(pairs.collect())]
        }
        Sink::Files { format: SinkFormat::Json, fields: None, .. } => row.iter().map(json_value).collect(),
        Sink::Files { format: SinkFormat::Csv { delimiter, quote, .. }, .. } => {
            vec![Value::Str(text::csv(row, *delimiter, *quote))]
        }
        Sink::Files { format: SinkFormat::Text | SinkFormat::Tsv { .. } | SinkFormat::Parquet, .. } | Sink::Stdout { .. } => {
            vec![Value::Str(text::line(row))]
        }
    };
    rows.iter().map(as_line).collect()
}

/// A value after a trip through JSON: keys of maps become strings.
fn json_value(value: &Value) -> Value {
    match value {
        Value::List(items) => Value::List(items.iter().map(json_value).collect()),
        Value::Map(pairs) => {
            Value::map(pairs.iter().map(|(key, value)| (Value::Str(text::field(key)), json_value(value))).collect())
        }
        Value::Str(bytes) => Value::text(&String::from_utf8_lossy(bytes)),
        Value::Nil | Value::Bool(_) | Value::Int(_) | Value::Float(_) => value.clone(),
    }
}

fn parsed(line: &[u8], sink: &Sink) -> Result<Row, String> {
    if !matches!(sink, Sink::Files { format: SinkFormat::Json, .. }) {
        return Ok(vec![Value::Str(line.to_vec())]);
    }
    let parsed: serde_json::Value =
        serde_json::from_slice(line).map_err(|error| format!("{:?} is no json: {error}", String::from_utf8_lossy(line)))?;
    Ok(match text::from_json(&parsed) {
        Value::List(fields) => fields,
        other => vec![other],
    })
}
