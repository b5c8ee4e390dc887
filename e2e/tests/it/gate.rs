//! Gates: a `pipe` that waits for a file on the shared volume, so that a flow stands still at a moment of the test's choosing.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::product::{self, Shared, until};

/// A gate of one flow. It is closed but for the first tasks that come.
pub(crate) struct Gate {
    name: String,
    folder: PathBuf,
    through: u32,
}

impl Gate {
    /// A gate that lets so many tasks through, and no more until it is opened.
    pub(crate) fn new(shared: &Shared<'_>, name: &str, through: u32) -> Result<Gate> {
        let gate = Gate { name: name.to_owned(), folder: shared.path().join(format!("gate-{name}")), through };
        fs::create_dir(&gate.folder).with_context(|| format!("failed to make {}", gate.folder.display()))?;
        product::open_to_all(&gate.folder)?;
        Ok(gate)
    }

    /// A step that passes rows on unchanged, as soon as its task may.
    pub(crate) fn step(&self, name: &str) -> Value {
        json!({"name": name, "pipe": {"command": self.command()}, "deterministic": true})
    }

    /// What that step runs: a task takes one of the first places (a folder is made once), or waits.
    fn command(&self) -> String {
        let (gate, places) = (format!("gate-{}", self.name), self.through);
        format!(
            "for place in $(seq {places}); do mkdir {gate}/place-$place 2>/dev/null && exec cat; done; \
             mktemp -d {gate}/waits-XXXXXX >/dev/null; until [ -e {gate}/open ]; do sleep 0.1; done; exec cat"
        )
    }

    /// Waits until so many tasks have come that have to wait. (One that is killed and comes again counts again.)
    pub(crate) fn await_waiting(&self, count: usize) -> Result<()> {
        until(product::PATIENCE, &format!("{count} tasks at gate {}", self.name), || Ok((self.waiting()? >= count).then_some(())))
    }

    fn waiting(&self) -> Result<usize> {
        let entries = fs::read_dir(&self.folder).with_context(|| format!("failed to list {}", self.folder.display()))?;
        Ok(entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with("waits-")).count())
    }

    pub(crate) fn open(&self) -> Result<()> {
        let file = self.folder.join("open");
        fs::write(&file, "").with_context(|| format!("failed to make {}", file.display()))
    }
}
