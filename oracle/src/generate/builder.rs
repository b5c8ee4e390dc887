//! The flow under construction: its YAML text, and what is known of each collection.

use super::GeneratedFlow;
use super::shape::Shape;
use crate::Random;

/// A collection that steps may read.
#[derive(Clone, Debug)]
pub(super) struct Made {
    pub(super) name: String,
    pub(super) shape: Shape,
    read: bool,
}

/// Text and knowledge.
#[derive(Debug)]
pub(super) struct Builder {
    pub(super) random: Random,
    steps: Vec<String>,
    made: Vec<Made>,
    files: Vec<(String, String)>,
    headers: Vec<(String, Vec<String>)>,
    /// The step that `from` may leave out: the one before, if it has one output.
    previous: Option<String>,
    pub(super) has_prelude: bool,
    /// The inputs and key columns of the last join or coGroup.
    pub(super) legs: Option<(Vec<Made>, Vec<usize>)>,
    /// Row visits that are still allowed, so that the naive interpreter stays quick.
    work: u64,
}

/// Fields of a step beside its operator, each a line of YAML.
pub(super) type Extras = Vec<String>;

impl Builder {
    pub(super) fn new(mut random: Random) -> Builder {
        let has_prelude = random.chance(40);
        Builder {
            random,
            steps: Vec::new(),
            made: Vec::new(),
            files: Vec::new(),
            headers: Vec::new(),
            previous: None,
            has_prelude,
            legs: None,
            work: 60_000,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.steps.len()
    }

    /// How many collections nobody reads yet; each will cost a write.
    pub(super) fn unread(&self) -> usize {
        self.made.iter().filter(|made| !made.read).count()
    }

    /// What was made last.
    pub(super) fn last(&self) -> Option<Made> {
        self.made.last().cloned()
    }

    /// Adds a source that names its input itself, and gives its name.
    pub(super) fn add_named_read(&mut self, read: &str) -> String {
        let name = self.fresh();
        self.add_named(&name, &[], read, &Extras::new());
        self.previous = Some(name.clone());
        name
    }

    /// A name for a step that comes next.
    pub(super) fn fresh(&self) -> String {
        format!("s{}", self.steps.len() + 1)
    }

    /// A collection that satisfies a condition, rather a late one or one that nobody reads.
    pub(super) fn choose(&mut self, condition: impl Fn(&Shape) -> bool) -> Option<Made> {
        let work = self.work;
        let fits = |made: &&Made| made.shape.rows <= work && condition(&made.shape);
        let all: Vec<Made> = self.made.iter().filter(fits).cloned().collect();
        if all.is_empty() {
            return None;
        }
        let late = &all[all.len().saturating_sub(4)..];
        let unread: Vec<Made> = all.iter().filter(|made| !made.read).cloned().collect();
        let from = match self.random.below(10) {
            0..=4 => late,
            5..=7 if !unread.is_empty() => &unread,
            _ => &all,
        };
        Some(self.random.pick(from).clone())
    }

    /// Adds a step with one output and gives its name.
    pub(super) fn add(&mut self, from: &[&str], operator: &str, extras: &Extras, shape: Shape) -> String {
        let name = self.add_hidden(from, operator, extras);
        self.register(&name, shape);
        name
    }

    /// Adds a step whose output only the next lines may read.
    pub(super) fn add_hidden(&mut self, from: &[&str], operator: &str, extras: &Extras) -> String {
        let name = self.fresh();
        self.add_named(&name, from, operator, extras);
        self.previous = Some(name.clone());
        name
    }

    /// Adds a step under a name, without saying what it makes.
    pub(super) fn add_named(&mut self, name: &str, from: &[&str], operator: &str, extras: &Extras) {
        let mut text = format!("    - name: {name}\n");
        let is_previous = matches!((from, &self.previous), ([only], Some(previous)) if only == previous);
        // A union has to be told its inputs.
        if !from.is_empty() && (operator.starts_with("union") || !is_previous || self.random.chance(40)) {
            text.push_str(&format!("      from: [{}]\n", from.join(", ")));
        }
        text.push_str(&format!("      {operator}\n"));
        for extra in extras {
            text.push_str(&format!("      {extra}\n"));
        }
        self.steps.push(text);
        self.previous = None;
        for read in from {
            self.mark_read(read);
        }
    }

    /// Makes a collection known to later steps.
    pub(super) fn register(&mut self, name: &str, shape: Shape) {
        self.work = self.work.saturating_sub(shape.rows);
        self.made.push(Made { name: name.to_owned(), shape, read: false });
    }

    pub(super) fn mark_read(&mut self, name: &str) {
        for made in self.made.iter_mut().filter(|made| made.name == name) {
            made.read = true;
        }
    }

    /// An input file; gives its path.
    pub(super) fn file(&mut self, ending: &str, content: String) -> String {
        let path = format!("in/f{}.{ending}", self.files.len() + 1);
        self.files.push((path.clone(), content));
        path
    }

    /// The header of a source's files.
    pub(super) fn header(&mut self, step: &str, names: &[String]) {
        self.headers.push((step.to_owned(), names.to_vec()));
    }

    /// Maybe `partitions`, which makes the count of an output exact.
    pub(super) fn partitions(&mut self, percent: usize) -> Extras {
        if self.random.chance(percent) { vec![format!("partitions: {}", self.random.pick(&[1, 2, 3, 5, 8]))] } else { Vec::new() }
    }

    /// Maybe `persist`, a hint, or that a step may make other rows another time (which none does).
    pub(super) fn marks(&mut self) -> Extras {
        match self.random.below(100) {
            0..=6 => vec!["persist: true".to_owned()],
            7..=12 => vec![format!("hints: {{sizeRatio: {}}}", self.random.pick(&["0.1", "0.5", "2", "10"]))],
            13..=16 => vec!["deterministic: false".to_owned()],
            17..=18 => vec!["hints: {memory: 64Mi}".to_owned()],
            19..=20 => vec!["deterministic: false".to_owned(), "persist: true".to_owned()],
            _ => Vec::new(),
        }
    }

    /// Writes a collection that others read or may still read.
    pub(super) fn write_some(&mut self) {
        if let Some(made) = self.choose(|_| true) {
            self.write(&made.name, &made.shape);
        }
    }

    /// Writes what nobody reads; now and then leaves one to be dropped with a warning.
    pub(super) fn write_leaves(&mut self) {
        let leaves: Vec<Made> = self.made.iter().filter(|made| !made.read).cloned().collect();
        for (at, made) in leaves.iter().enumerate() {
            if at == 0 || self.random.chance(95) {
                self.write(&made.name, &made.shape);
            }
        }
        if !self.steps.iter().any(|step| step.contains("      write: ")) {
            let last = self.made.last().expect("a flow has collections").clone();
            self.write(&last.name, &last.shape);
        }
    }

    pub(super) fn write(&mut self, from: &str, shape: &Shape) {
        let path = format!("out/{}", self.fresh());
        let plain = shape.exact && shape.width() > 0 && !shape.columns.iter().any(|kind| kind.is_list());
        let format = match self.random.below(10) {
            0 if plain => "text",
            1 if plain && shape.width() > 1 => "csv",
            2 if plain && shape.width() > 1 => "tsv",
            _ => "json",
        };
        self.add_hidden(&[from], &format!("write: {{{format}: {{path: {path}}}}}"), &Vec::new());
        self.previous = None;
    }

    /// A write of the rows that a step could not handle: it names its reader, not the other way round.
    pub(super) fn add_dead_letters(&mut self, name: &str) {
        let write = format!("write: {{json: {{path: out/{name}}}}}");
        self.add_named(name, &[], &write, &Vec::new());
    }

    pub(super) fn finish(self, seed: u64) -> GeneratedFlow {
        let mut text = String::from("apiVersion: gleamflow.io/v1alpha1\nkind: GleamFlow\nmetadata: {name: random}\nspec:\n");
        text.push_str("  params:\n    - {name: seven, value: \"7\"}\n");
        if self.has_prelude {
            text.push_str("  lua: |\n    local bumps = 3\n    function bump(x) return x + bumps end\n");
        }
        text.push_str("  steps:\n");
        text.extend(self.steps);
        GeneratedFlow { seed, yaml: text, files: self.files, headers: self.headers }
    }
}
