//! Gates: a `pipe` that waits for a file on the shared volume, so that a flow stands still at a moment of the test's choosing.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::product::{self, until};

/// A gate of one flow. It is closed but for the first tasks that come. Every attempt that comes leaves its pod's name there.
pub(crate) struct Gate {
    /// As commands see it, whose directory is the volume.
    place: String,
    folder: PathBuf,
    through: usize,
}

impl Gate {
    /// A gate on a shared volume that lets so many tasks through, and no more until it is opened.
    pub(crate) fn new(shared: &Path, name: &str, through: usize) -> Result<Gate> {
        let place = format!("gate-{name}");
        let gate = Gate { folder: shared.join(&place), place, through };
        fs::create_dir(&gate.folder).with_context(|| format!("failed to make {}", gate.folder.display()))?;
        product::open_to_all(&gate.folder)?;
        Ok(gate)
    }

    /// A step that passes rows on unchanged, as soon as its task may.
    pub(crate) fn step(&self, name: &str) -> Value {
        json!({"name": name, "pipe": {"command": self.command("exec cat")}, "deterministic": true})
    }

    /// A command that does something else with the rows, as soon as its task may. Of those that take one of the first places each
    /// has one: a folder is made once.
    pub(crate) fn command(&self, then: &str) -> String {
        let (gate, through) = (&self.place, self.through);
        format!(
            "mktemp -d {gate}/came-$(uname -n)-XXXXXX >/dev/null || exit 1; \
             for at in $(seq {through}); do mkdir {gate}/place-$at 2>/dev/null && place=$at && break; done; \
             if [ -z \"$place\" ]; then mktemp -d {gate}/waits-$(uname -n)-XXXXXX >/dev/null || exit 1; \
             until [ -e {gate}/open ]; do sleep 0.1; done; fi; {then}"
        )
    }

    /// Waits until so many tasks have come that have to wait. (One that is killed and comes again counts again.)
    pub(crate) fn await_waiting(&self, count: usize) -> Result<()> {
        self.await_waiting_within(count, product::PATIENCE)
    }

    /// As `await_waiting`, of tasks that have more to do before.
    pub(crate) fn await_waiting_within(&self, count: usize, limit: Duration) -> Result<()> {
        let waits =
            until(limit, &format!("{count} tasks wait at {}", self.place), || Ok((self.waiting()?.len() >= count).then_some(())));
        waits.with_context(|| format!("there came {:?}, there wait {:?}", self.came(), self.waiting()))
    }

    /// The pods of all attempts that had to wait, of each as often as one of its did.
    pub(crate) fn waiting(&self) -> Result<Vec<String>> {
        self.pods("waits-")
    }

    /// The pods of all attempts that came.
    pub(crate) fn came(&self) -> Result<Vec<String>> {
        self.pods("came-")
    }

    fn pods(&self, mark: &str) -> Result<Vec<String>> {
        let entries = fs::read_dir(&self.folder).with_context(|| format!("failed to list {}", self.folder.display()))?;
        let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
        Ok(names.filter_map(|name| Some(name.strip_prefix(mark)?.rsplit_once('-')?.0.to_owned())).collect())
    }

    pub(crate) fn open(&self) -> Result<()> {
        let file = self.folder.join("open");
        fs::write(&file, "").with_context(|| format!("failed to make {}", file.display()))
    }
}
