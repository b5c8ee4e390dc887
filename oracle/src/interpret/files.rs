//! Sources of text: files read whole, split the slow way.

use std::path::{Path, PathBuf};

use plan::{CsvOptions, Format, Paths, ValueType};

use crate::{Row, Value, text};

/// The files that a source names, in order. Wildcards: one `*` in the last component.
pub(super) fn named(paths: &Paths, input: &[Row], base: &Path, allow_empty: bool) -> Result<Vec<PathBuf>, String> {
    let patterns: Vec<String> = match paths {
        Paths::Listed(patterns) => patterns.clone(),
        Paths::Rows => input.iter().map(|row| String::from_utf8_lossy(&text::line(&row[..1])).into_owned()).collect(),
    };
    let mut found = Vec::new();
    for pattern in &patterns {
        let before = found.len();
        found.extend(matching(&base.join(pattern))?);
        if found.len() == before && !allow_empty {
            return Err(format!("no file matches {pattern:?}"));
        }
    }
    Ok(found)
}

fn matching(pattern: &Path) -> Result<Vec<PathBuf>, String> {
    if pattern.is_file() {
        return Ok(vec![pattern.to_owned()]);
    }
    let name = pattern.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let (folder, start, end) = match name.split_once('*') {
        Some((start, end)) => (pattern.parent().unwrap_or(pattern), start, end),
        None => (pattern, "", ""),
    };
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let entries = std::fs::read_dir(folder).map_err(|error| format!("failed to list {folder:?}: {error}"))?;
    let shown = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        path.is_file() && !name.starts_with(['.', '_']) && name.starts_with(start) && name.ends_with(end)
    };
    let mut found: Vec<PathBuf> = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).filter(shown).collect();
    found.sort();
    Ok(found)
}

/// All rows of one file.
pub(super) fn read(path: &Path, format: &Format) -> Result<Vec<Row>, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("failed to read {path:?}: {error}"))?;
    let in_file = |message: String| format!("{path:?}: {message}");
    match format {
        Format::Text => Ok(lines(&bytes).into_iter().map(|line| vec![Value::Str(line)]).collect()),
        Format::Csv(options) => typed(csv(&bytes, options)?, options).map_err(in_file),
        Format::Tsv(options) => {
            let records = lines(&bytes).iter().map(|line| line.split(|b| *b == b'\t').map(<[u8]>::to_vec).collect()).collect();
            typed(records, options).map_err(in_file)
        }
        Format::Json { columns } => json(&bytes, columns.as_deref()).map_err(in_file),
        Format::Whole => Ok(vec![vec![Value::text(&path.to_string_lossy()), Value::Str(bytes)]]),
        Format::Parquet { .. } | Format::Orc { .. } => Err("the oracle reads no parquet and no orc".to_owned()),
    }
}

/// Lines, ended by LF or CRLF.
fn lines(bytes: &[u8]) -> Vec<Vec<u8>> {
    text::lines(bytes).into_iter().map(|line| line.strip_suffix(b"\r").map_or(line.clone(), <[u8]>::to_vec)).collect()
}

/// Records of RFC 4180, byte by byte.
fn csv(bytes: &[u8], options: &CsvOptions) -> Result<Vec<Vec<Vec<u8>>>, String> {
    let (mut records, mut record, mut cell) = (Vec::new(), Vec::new(), Vec::new());
    let (mut quoted, mut at) = (false, 0);
    while let Some(byte) = bytes.get(at).copied() {
        let is_quote = Some(byte) == options.quote;
        if quoted && is_quote && bytes.get(at + 1).copied() == options.quote {
            cell.push(byte);
            at += 1;
        } else if is_quote {
            quoted = !quoted;
        } else if !quoted && byte == options.delimiter {
            record.push(std::mem::take(&mut cell));
        } else if !quoted && byte == b'\n' {
            record.push(cell.strip_suffix(b"\r").map_or(cell.clone(), <[u8]>::to_vec));
            cell.clear();
            records.push(std::mem::take(&mut record));
        } else {
            cell.push(byte);
        }
        at += 1;
    }
    if quoted {
        return Err("a quote is never closed".to_owned());
    }
    if !cell.is_empty() || !record.is_empty() {
        record.push(cell);
        records.push(record);
    }
    Ok(records)
}

/// Records as rows: header dropped, widths checked, types parsed, columns chosen.
fn typed(records: Vec<Vec<Vec<u8>>>, options: &CsvOptions) -> Result<Vec<Row>, String> {
    let width = records.first().map_or(0, Vec::len);
    let mut rows = Vec::new();
    for (at, record) in records.iter().enumerate() {
        if record.len() != width {
            return Err(format!("record {} has {} fields instead of {width}", at + 1, record.len()));
        }
        if at == 0 && options.header {
            continue;
        }
        let row: Row = (0u32..).zip(record).map(|(column, text)| value_of(column, text, options)).collect::<Result<_, _>>()?;
        rows.push(match &options.columns {
            Some(columns) => super::pick(&row, columns)?,
            None => row,
        });
    }
    Ok(rows)
}

fn value_of(column: u32, bytes: &[u8], options: &CsvOptions) -> Result<Value, String> {
    let Some((_, kind)) = options.types.iter().find(|(typed, _)| *typed == column) else {
        return Ok(Value::Str(bytes.to_vec()));
    };
    let text = String::from_utf8_lossy(bytes).into_owned();
    let parsed = match kind {
        ValueType::Integer => text.parse().ok().map(Value::Int),
        ValueType::Float => text.parse().ok().map(Value::Float),
        ValueType::Bool => text.parse().ok().map(Value::Bool),
    };
    parsed.ok_or_else(|| format!("{text:?} is not of type {kind:?}"))
}

fn json(bytes: &[u8], columns: Option<&[String]>) -> Result<Vec<Row>, String> {
    let mut rows = Vec::new();
    for line in lines(bytes).into_iter().filter(|line| !line.trim_ascii().is_empty()) {
        let parsed: serde_json::Value = serde_json::from_slice(&line).map_err(|error| error.to_string())?;
        rows.push(match columns {
            None => vec![text::from_json(&parsed)],
            Some(names) => names.iter().map(|name| parsed.get(name).map_or(Value::Nil, text::from_json)).collect(),
        });
    }
    Ok(rows)
}
