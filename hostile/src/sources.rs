//! Source files: whatever is in them, they give the same rows however they are cut.

use std::path::Path;
use std::sync::Arc;

use engine::source::{Wanted, list, read};
use engine::{RowSink, RunContext, TaskContext, Val, codec};
use plan::{CsvOptions, Format, Paths, Source};

/// Enough to cut a record in two, and then some.
const PARTITIONS: [u32; 3] = [2, 3, 7];

/// Lines.
pub(crate) fn text(bytes: &[u8]) {
    same_however_cut(bytes, &Format::Text);
}

/// Records with quotes, with a header and without; and records without quotes.
pub(crate) fn csv(bytes: &[u8]) {
    let options = |header, delimiter, quote| CsvOptions { header, delimiter, quote, columns: None, types: Vec::new() };
    same_however_cut(bytes, &Format::Csv(options(false, b',', Some(b'"'))));
    same_however_cut(bytes, &Format::Csv(options(true, b',', Some(b'"'))));
    same_however_cut(bytes, &Format::Tsv(options(false, b'\t', None)));
}

/// Values, one a line, whole and by column.
pub(crate) fn json(bytes: &[u8]) {
    same_however_cut(bytes, &Format::Json { columns: None });
    same_however_cut(bytes, &Format::Json { columns: Some(vec!["a".to_owned(), "b".to_owned()]) });
}

fn same_however_cut(bytes: &[u8], format: &Format) {
    let folder = tempfile::tempdir().expect("a directory");
    std::fs::write(folder.path().join("file"), bytes).expect("a file");
    let source = Source::Files { format: format.clone(), paths: Paths::Listed(vec!["file".to_owned()]), allow_empty: true };
    let whole = rows(&source, folder.path(), 1);
    for partitions in PARTITIONS {
        match (&whole, rows(&source, folder.path(), partitions)) {
            (Ok(whole), Ok(cut)) => assert!(*whole == cut, "{format:?} in {partitions} parts: {whole:?} became {cut:?}"),
            (Err(_), Err(_)) => {}
            (whole, cut) => panic!("{format:?} in {partitions} parts: {whole:?} became {cut:?}"),
        }
    }
}

/// All rows of a source, or what went wrong.
fn rows(source: &Source, base: &Path, partitions: u32) -> Result<Vec<u8>, String> {
    let run = Arc::new(RunContext::new(base, base, 1 << 20));
    let wanted = Wanted { partitions: Some(partitions), threads: 1, steps: 1 };
    let splits = list(source, None, &run, wanted).map_err(|error| error.to_string())?;
    let mut rows = Rows::default();
    let ctx = TaskContext::new(run, 0);
    for split in splits {
        read(&split, source, &ctx, "step", &mut rows).map_err(|error| error.to_string())?;
    }
    Ok(rows.0)
}

/// Rows, encoded.
#[derive(Default)]
struct Rows(Vec<u8>);

impl RowSink for Rows {
    fn push(&mut self, row: &[Val<'_>]) -> engine::Result<()> {
        codec::write_row(&mut self.0, row);
        Ok(())
    }

    fn finish(&mut self) -> engine::Result<()> {
        Ok(())
    }
}
