//! Walks a pattern down a tree of named levels, be it directories or the prefixes of a store.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use glob::{MatchOptions, Pattern};

use super::super::SourceError;

/// Names below one place.
pub(super) struct Level<F> {
    pub(super) files: BTreeMap<String, F>,
    pub(super) directories: BTreeSet<String>,
    /// Those of the directories that are links, which may lead back or to what another path leads to.
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

    /// The same for all places that are one directory.
    fn identity(&self, place: &str) -> String;
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
        walk(tree, place, &self.components, &mut found, &mut BTreeSet::new())?;
        Ok(found)
    }
}

/// Directories that a `**` has been at, each with how many components of the pattern were left there.
type Visited = BTreeSet<(usize, String)>;

/// A `**`: the directory and all below it, each once. Links come last, so that what has a path without them is found by it, and of what
/// only links lead to, as in the volumes of a cluster, nothing is missing. A link up leads out of what is asked for.
fn deep<T: Tree>(
    tree: &T,
    place: &str,
    components: &[Component],
    found: &mut BTreeMap<String, T::File>,
    visited: &mut Visited,
) -> Result<(), SourceError> {
    let top = tree.identity(place);
    let mut next = vec![place.to_owned()];
    let mut links = BTreeSet::new();
    while let Some(place) = next.pop().or_else(|| links.pop_first()) {
        let identity = tree.identity(&place);
        let leads_up = identity != top && Path::new(&top).starts_with(&identity);
        if leads_up || !visited.insert((components.len(), identity)) {
            continue;
        }
        let level = tree.level(&place)?;
        for directory in level.directories.iter().filter(|name| !is_hidden(name)) {
            let below = join(&place, directory);
            if level.links.contains(directory) {
                links.insert(below);
            } else {
                next.push(below);
            }
        }
        walk(tree, &place, &components[1..], found, visited)?;
    }
    Ok(())
}

fn walk<T: Tree>(
    tree: &T,
    place: &str,
    components: &[Component],
    found: &mut BTreeMap<String, T::File>,
    visited: &mut Visited,
) -> Result<(), SourceError> {
    let below = |name: &str| join(place, name);
    match components {
        // The pattern named this directory: its files.
        [] => {
            let files = tree.level(place)?.files.into_iter().filter(|(name, _)| !is_hidden(name));
            found.extend(files.map(|(name, file)| (below(&name), file)));
        }
        [Component::Any, ..] => deep(tree, place, components, found, visited)?,
        [Component::Named(pattern), rest @ ..] => {
            let level = tree.level(place)?;
            if let Some(name) = level.nameless.iter().find(|name| names(pattern, name)) {
                return Err(SourceError::Nameless { path: below(name) });
            }
            for directory in level.directories.iter().filter(|name| names(pattern, name)) {
                walk(tree, &below(directory), rest, found, visited)?;
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
