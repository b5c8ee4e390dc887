//! Sources as a whole: files in, rows out, whatever the number of splits.

mod files;
mod formats;
mod random;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use plan::{CsvOptions, Paths, ValueType};

use super::*;
use crate::{Val, Value, codec};

/// Keeps rows.
#[derive(Default)]
pub(super) struct Rows(pub(super) Vec<Vec<Value>>);

impl RowSink for Rows {
    fn push(&mut self, row: &[Val<'_>]) -> Result<()> {
        self.0.push(row.iter().map(|value| codec::to_value(*value)).collect::<Result<_>>()?);
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}

pub(super) fn run_in(base: &Path) -> Arc<RunContext> {
    Arc::new(RunContext {
        threads: 2,
        set_aside: BTreeMap::from([("step".to_owned(), AtomicU64::new(0))]),
        ..RunContext::new(base, base, 256 << 20)
    })
}

/// A directory with files, and sources over it.
pub(super) struct Fixture {
    pub(super) dir: tempfile::TempDir,
    pub(super) run: Arc<RunContext>,
}

impl Fixture {
    pub(super) fn new<const N: usize>(files: [(&str, &[u8]); N]) -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in files {
            fs::write(dir.path().join(name), content).unwrap();
        }
        let run = run_in(dir.path());
        Fixture { dir, run }
    }

    /// The rows of each split.
    pub(super) fn splits(&self, source: &Source, partitions: Option<u32>) -> Result<Vec<Vec<Vec<Value>>>, String> {
        let splits =
            list(source, None, &self.run, Wanted { partitions, threads: 2, steps: 1 }).map_err(|error| plan::in_full(&error))?;
        assert!(partitions.is_none_or(|partitions| splits.len() == partitions as usize) && !splits.is_empty());
        let ctx = TaskContext::new(Arc::clone(&self.run), 0);
        let read = |split: &Split| {
            let mut rows = Rows::default();
            read(split, source, &ctx, "step", &mut rows).map_err(|error| plan::in_full(&error))?;
            assert!(!split.is_empty() || rows.0.is_empty());
            Ok(rows.0)
        };
        splits.iter().map(read).collect()
    }

    /// All rows in order, which must not depend on the number of splits.
    pub(super) fn rows(&self, source: &Source) -> Result<Vec<Vec<Value>>, String> {
        let rows = |partitions| self.splits(source, partitions).map(|splits| splits.concat());
        let expected = rows(None);
        for partitions in [1, 2, 7, 50] {
            let found = rows(Some(partitions));
            assert_eq!(found.is_ok(), expected.is_ok(), "{partitions} splits: {found:?}");
            if expected.is_ok() {
                assert_eq!(found, expected, "{partitions} splits");
            }
        }
        expected
    }

    pub(super) fn text(&self, source: &Source) -> String {
        show(&self.rows(source).unwrap())
    }

    pub(super) fn error(&self, source: &Source) -> String {
        self.rows(source).unwrap_err()
    }
}

/// Rows as text: fields with `|` between, a row a line.
pub(super) fn show(rows: &[Vec<Value>]) -> String {
    rows.iter().map(|row| row.iter().map(value).collect::<Vec<_>>().join("|") + "\n").collect()
}

fn value(value: &Value) -> String {
    match value {
        Value::Nil => "nil".to_owned(),
        Value::Bool(b) => b.to_string(),
        Value::Int(i) => i.to_string(),
        Value::Float(f) => format!("{f:?}"),
        Value::Str(s) => String::from_utf8_lossy(s).into_owned(),
        Value::List(items) => format!("[{}]", items.iter().map(self::value).collect::<Vec<_>>().join(" ")),
        Value::Map(pairs) => {
            let pair = |(key, value): &(Value, Value)| format!("{}:{}", self::value(key), self::value(value));
            format!("{{{}}}", pairs.iter().map(pair).collect::<Vec<_>>().join(" "))
        }
    }
}

pub(super) fn files(format: Format, paths: &[&str]) -> Source {
    let paths = Paths::Listed(paths.iter().map(|path| (*path).to_owned()).collect());
    Source::Files { format, paths, allow_empty: false }
}

pub(super) fn csv() -> CsvOptions {
    CsvOptions { header: false, delimiter: b',', quote: Some(b'"'), columns: None, types: Vec::new() }
}

pub(super) fn tsv() -> CsvOptions {
    CsvOptions { delimiter: b'\t', quote: None, ..csv() }
}
