//! The engine against servers: object stores (moto, an imitation of AWS) and plain http. Everything is on the loopback.

mod commits;
mod http;
mod moto;
mod s3;
mod server;
mod sinks;

use std::path::Path;
use std::sync::Arc;

use engine::source::{Wanted, list, read};
use engine::{Result, RowSink, RunContext, Stores, TaskContext, Val};
use plan::{Format, Paths, Source};

/// Keeps rows as text, fields with `|` between.
#[derive(Default)]
struct Rows(Vec<String>);

impl RowSink for Rows {
    fn push(&mut self, row: &[Val<'_>]) -> Result<()> {
        let field = |value: &Val<'_>| match value {
            Val::Str(text) => String::from_utf8_lossy(text).into_owned(),
            other => format!("{other:?}"),
        };
        self.0.push(row.iter().map(field).collect::<Vec<_>>().join("|"));
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}

fn run(stores: &Arc<Stores>) -> Arc<RunContext> {
    Arc::new(RunContext { threads: 2, stores: Arc::clone(stores), ..RunContext::new("/", std::env::temp_dir(), 256 << 20) })
}

fn files(format: Format, path: &str) -> Source {
    Source::Files { format, paths: Paths::Listed(vec![path.to_owned()]), allow_empty: false }
}

/// The rows of each split, or the error with its causes.
fn splits(stores: &Arc<Stores>, source: &Source, partitions: Option<u32>) -> Result<Vec<Vec<String>>, String> {
    let run = run(stores);
    let splits = list(source, None, &run, Wanted { partitions, threads: 2, steps: 1 }).map_err(|error| plan::in_full(&error))?;
    let ctx = TaskContext::new(run, 0);
    let read = |split| {
        let mut rows = Rows::default();
        read(split, source, &ctx, "step", &mut rows).map_err(|error| plan::in_full(&error))?;
        Ok(rows.0)
    };
    splits.iter().map(read).collect()
}

fn rows(stores: &Arc<Stores>, source: &Source) -> Result<Vec<String>, String> {
    splits(stores, source, None).map(|splits| splits.concat())
}

/// A directory of this build for what tests install.
fn build_directory() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}
