//! Where each field of a flow stands in its file.

use std::collections::BTreeMap;

use super::Place;
use super::tree::{Position, Style};

/// From the path of a field, such as `steps[3].map.lua`, to its place. Paths inside `spec` leave `spec.` out.
#[derive(Clone, Debug, Default)]
pub struct SourceMap {
    file: String,
    entries: BTreeMap<String, Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    key: Option<Position>,
    value: Position,
    style: Style,
}

impl SourceMap {
    pub(super) fn new(file: &str) -> Self {
        Self { file: file.to_owned(), entries: BTreeMap::new() }
    }

    pub(super) fn insert(&mut self, path: &str, key: Option<Position>, value: Position, style: Style) {
        self.entries.insert(path.to_owned(), Entry { key, value, style });
    }

    /// The file's name, as it stands in messages.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The place of a field's value; of what holds the field, where it is absent.
    #[must_use]
    pub fn place(&self, path: &str) -> Place {
        self.at(self.nearest(path).map(|(_, entry)| entry.value))
    }

    /// The place of a field's key (of its value in a list); of what holds the field, where it is absent.
    #[must_use]
    pub fn key_place(&self, path: &str) -> Place {
        self.at(self.nearest(path).map(|(_, entry)| entry.key.unwrap_or(entry.value)))
    }

    /// The place of a line (counted from 1) of a text, such as a function's.
    #[must_use]
    pub fn line_place(&self, path: &str, line: usize) -> Place {
        let Some((exact, entry)) = self.nearest(path) else { return self.at(None) };
        let position = entry.value;
        match (exact, entry.style) {
            (true, Style::Block { indent }) => Place::new(&self.file, position.line + line, indent + 1),
            (true, Style::Quoted) if line == 1 => Place::new(&self.file, position.line, position.column + 1),
            (_, Style::Block { .. } | Style::Quoted | Style::Plain | Style::Nested) => self.at(Some(position)),
        }
    }

    fn at(&self, position: Option<Position>) -> Place {
        let Position { line, column } = position.unwrap_or_default();
        Place::new(&self.file, line, column)
    }

    /// The entry of a path or of its nearest ancestor, and whether it is the path's own.
    fn nearest(&self, path: &str) -> Option<(bool, &Entry)> {
        let mut rest = path.strip_prefix("spec.").unwrap_or(path);
        let wanted = rest;
        loop {
            if let Some(entry) = self.entries.get(rest) {
                return Some((rest == wanted, entry));
            }
            match rest.rfind(['.', '[']) {
                Some(end) => rest = &rest[..end],
                None => return self.entries.get("spec").or_else(|| self.entries.get("")).map(|entry| (false, entry)),
            }
        }
    }
}
