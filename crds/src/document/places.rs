//! Where each field of a flow stands in its file.

use std::collections::{BTreeMap, BTreeSet};

use super::Place;
use super::tree::{Node, Position, Style};

/// From the path of a field, such as `steps[3].map.lua`, to its place. Paths inside `spec` leave `spec.` out.
#[derive(Clone, Debug, Default)]
pub struct SourceMap {
    file: String,
    entries: BTreeMap<String, Entry>,
    /// Fields that have a problem, the fields that are missing by what should hold them.
    doubts: BTreeSet<String>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    key: Option<Position>,
    value: Position,
    style: Style,
    cut: bool,
}

impl SourceMap {
    pub(super) fn new(file: &str) -> Self {
        Self { file: file.to_owned(), ..Self::default() }
    }

    pub(super) fn insert(&mut self, path: &str, key: Option<Position>, value: &Node) {
        let entry = Entry { key, value: value.position, style: value.style(), cut: value.cut };
        self.entries.insert(path.to_owned(), entry);
    }

    pub(super) fn doubt(&mut self, path: &str) {
        self.doubts.insert(path.to_owned());
    }

    /// Whether anything of the file was found to be wrong: what stands in the flow there is made up.
    #[must_use]
    pub fn is_mended(&self) -> bool {
        !self.doubts.is_empty()
    }

    /// Whether something in or below a field was found to be wrong.
    #[must_use]
    pub fn has_doubts_in(&self, path: &str) -> bool {
        let below = |doubt: &String| doubt[path.len()..].starts_with(['.', '[']) || doubt.len() == path.len();
        self.doubts.range(path.to_owned()..).take_while(|doubt| doubt.starts_with(path)).any(below)
    }

    /// Whether a problem with a field may be but a consequence of one that was found before: with that field itself, with a
    /// field in it, or, where it is absent, with one beside it, which may be what was meant.
    #[must_use]
    pub fn is_doubtful(&self, path: &str) -> bool {
        let found = self.nearest_path(path);
        let holder = if found == "spec" { "" } else { found };
        self.doubts.contains(found) || self.doubts.iter().any(|doubt| parent(doubt) == holder)
    }

    /// Whether a field is text without quotes that ends where a comment begins, which may have been meant as a part of it.
    #[must_use]
    pub fn is_cut(&self, path: &str) -> bool {
        self.entries.get(path).is_some_and(|entry| entry.cut)
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
        let wanted = path.strip_prefix("spec.").unwrap_or(path);
        let found = self.nearest_path(path);
        self.entries.get(found).map(|entry| (found == wanted, entry))
    }

    /// A path, or where there is nothing, the one of its nearest ancestor.
    fn nearest_path<'a>(&self, path: &'a str) -> &'a str {
        let mut rest = path.strip_prefix("spec.").unwrap_or(path);
        loop {
            if self.entries.contains_key(rest) {
                return rest;
            }
            match rest.rfind(['.', '[']) {
                Some(end) => rest = &rest[..end],
                None if self.entries.contains_key("spec") => return "spec",
                None => return "",
            }
        }
    }
}

/// The path of what holds a field or item; empty for the fields of `spec`.
fn parent(path: &str) -> &str {
    path.rfind(['.', '[']).map_or("", |end| &path[..end])
}
