//! Walks a pattern down a tree of named levels, be it directories or the prefixes of a store.

use std::collections::{BTreeMap, BTreeSet};

use glob::{MatchOptions, Pattern};

use super::super::SourceError;

/// Names below one place.
pub(super) struct Level<F> {
    pub(super) files: BTreeMap<String, F>,
    pub(super) directories: BTreeSet<String>,
    /// Those of the directories that are links: `**` does not follow them, as they may lead back.
    pub(super) links: BTreeSet<String>,
    /// Names that are not UTF-8, as well as they can be shown.
    pub(super) nameless: Vec<String>,
}

impl<F> Default for Level<F> {
    fn default() -> Level<F> {
        Level { files: BTreeMap::new(), directories: BTreeSet::new(), links: BTreeSet::new(), nameless: Vec::new() }
    }
}

/// Something that has levels. Places are paths of names joined by `/`; the root is empty.
pub(super) trait Tree {
    type File;

    /// What is directly below a place; nothing where the place is no directory.
    fn level(&self, place: &str) -> Result<Level<Self::File>, SourceError>;
}

/// A path, taken apart at its slashes.
pub(super) struct Walk {
    /// Components before the first wildcard.
    pub(super) literal: String,
    components: Vec<Component>,
}

enum Component {
    /// `**`: any number of levels, none among them.
    Any,
    Named(Pattern),
}

/// Whether a path has wildcards.
pub(super) fn is_pattern(path: &str) -> bool {
    path.contains(['*', '?', '['])
}

/// Whether a name is passed over unless it is asked for.
pub(super) fn is_hidden(name: &str) -> bool {
    name.starts_with(['.', '_'])
}

impl Walk {
    pub(super) fn parse(path: &str) -> Result<Walk, SourceError> {
        let wild =
            path.split('/').take_while(|component| !is_pattern(component)).map(|component| component.len() + 1).sum::<usize>();
        let (literal, rest) = path.split_at(wild.min(path.len()));
        let component = |text: &str| match text {
            "**" => Ok(Component::Any),
            _ => {
                Pattern::new(text).map(Component::Named).map_err(|source| SourceError::Pattern { path: path.to_owned(), source })
            }
        };
        let components = rest.split('/').filter(|text| !text.is_empty()).map(component).collect::<Result<_, _>>()?;
        Ok(Walk { literal: literal.strip_suffix('/').unwrap_or(literal).to_owned(), components })
    }

    /// Whether it looks into any depth.
    pub(super) fn is_deep(&self) -> bool {
        self.components.iter().any(|component| matches!(component, Component::Any))
    }

    /// The files that the pattern names below `place`, by their paths; directories that it names stand for their files.
    pub(super) fn files<T: Tree>(&self, tree: &T, place: &str) -> Result<BTreeMap<String, T::File>, SourceError> {
        let mut found = BTreeMap::new();
        walk(tree, place, &self.components, &mut found)?;
        Ok(found)
    }
}

fn walk<T: Tree>(
    tree: &T,
    place: &str,
    components: &[Component],
    found: &mut BTreeMap<String, T::File>,
) -> Result<(), SourceError> {
    let level = tree.level(place)?;
    let below = |name: &str| join(place, name);
    match components {
        // The pattern named this directory: its files.
        [] => found.extend(level.files.into_iter().filter(|(name, _)| !is_hidden(name)).map(|(name, file)| (below(&name), file))),
        [Component::Any, rest @ ..] => {
            for directory in level.directories.iter().filter(|name| !is_hidden(name) && !level.links.contains(*name)) {
                walk(tree, &below(directory), components, found)?;
            }
            walk(tree, place, rest, found)?;
        }
        [Component::Named(pattern), rest @ ..] => {
            if let Some(name) = level.nameless.iter().find(|name| names(pattern, name)) {
                return Err(SourceError::Nameless { path: below(name) });
            }
            for directory in level.directories.iter().filter(|name| names(pattern, name)) {
                walk(tree, &below(directory), rest, found)?;
            }
            if rest.is_empty() {
                let named = level.files.into_iter().filter(|(name, _)| names(pattern, name));
                found.extend(named.map(|(name, file)| (below(&name), file)));
            }
        }
    }
    Ok(())
}

/// Hidden names are matched only by a pattern that begins like them.
fn names(pattern: &Pattern, name: &str) -> bool {
    let options = MatchOptions { case_sensitive: true, require_literal_separator: false, require_literal_leading_dot: false };
    (!is_hidden(name) || pattern.as_str().starts_with(&name[..1])) && pattern.matches_with(name, options)
}

pub(super) fn join(place: &str, name: &str) -> String {
    if place.is_empty() || place.ends_with('/') { format!("{place}{name}") } else { format!("{place}/{name}") }
}
