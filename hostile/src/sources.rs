//! Source files: whatever is in them, they give the same rows however they are cut.

use std::path::Path;
use std::sync::Arc;

use engine::source::{Wanted, list, read};
use engine::{RowSink, RunContext, Stores, TaskContext, Val, codec};
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

/// Row groups.
pub(crate) fn parquet(bytes: &[u8]) {
    same_however_cut(bytes, &Format::Parquet { columns: None, known: None });
}

/// Stripes.
pub(crate) fn orc(bytes: &[u8]) {
    same_however_cut(bytes, &Format::Orc { columns: None, known: None });
}

/// Lines of compressed files.
pub(crate) fn packed(bytes: &[u8]) {
    for name in ["file.gz", "file.bz2", "file.zst"] {
        same_named(name, bytes, &Format::Text);
    }
}

/// Members of a zip, and a whole file.
pub(crate) fn whole(bytes: &[u8]) {
    same_named("file.zip", bytes, &Format::Whole);
    same_named("file.gz", bytes, &Format::Whole);
}

/// A split, as it comes to an executor: what is one travels on as it is.
pub(crate) fn split(bytes: &[u8]) {
    let stores = Stores::new([]);
    let carried = |encoded: &[u8]| plan::task::Split { encoded: encoded.to_vec(), bytes: 0 };
    let Ok(split) = engine::source::decode(&carried(bytes), &stores) else { return };
    let once = engine::source::encode(&split).expect("what was decoded can be encoded");
    let again = engine::source::decode(&once, &stores).expect("what was encoded can be decoded");
    assert_eq!(engine::source::encode(&again).expect("as before").encoded, once.encoded);
}

fn same_however_cut(bytes: &[u8], format: &Format) {
    same_named("file", bytes, format);
}

fn same_named(name: &str, bytes: &[u8], format: &Format) {
    let folder = tempfile::tempdir().expect("a directory");
    std::fs::write(folder.path().join(name), bytes).expect("a file");
    let source = Source::Files { format: format.clone(), paths: Paths::Listed(vec![name.to_owned()]), allow_empty: true };
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
