//! Results that outlive a run, on the volume that a cluster's executors share: looked up before a flow is planned, read as
//! sources, and kept as soon as they are whole.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use plan::cache::Part;
use plan::task::{Answer, Done, Failed, Fault, Found, Held, Size};
use plan::{InputFile, Op, Paths, Plan, Recipe, Source};

use super::{Exchange, Watch, WorkerOptions, failed};
use crate::Error;
use crate::cache::{Cache, CacheError, Flows, Inputs, Rows};

/// Of files that are digested: others need the cores, too.
const THREADS: usize = 1;

/// Whose results they are, and how long they live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Results {
    pub namespace: String,
    pub flow: String,
    pub ttl_seconds: Option<u32>,
}

impl Results {
    /// To be read from.
    pub(super) fn look(&self, base: &Path) -> Cache {
        Flows::below(base).look(&self.namespace, &self.flow, THREADS)
    }

    fn open(&self, base: &Path) -> Result<Cache, Failed> {
        Flows::below(base).open(&self.namespace, &self.flow, self.ttl_seconds, THREADS).map_err(|error| unusable(&error))
    }
}

/// Which version of its files each source has; what cannot be told is no failure, only nothing to be reused by.
pub(super) fn versions(
    sources: &[(String, Source)],
    results: Option<&Results>,
    options: &WorkerOptions,
) -> BTreeMap<String, Result<Vec<InputFile>, String>> {
    let Some(results) = results.filter(|_| !sources.is_empty()) else { return BTreeMap::new() };
    let cache = results.look(&options.base);
    let inputs = Inputs::new(&options.base, Arc::clone(&options.stores), &cache);
    let found = sources.iter().map(|(step, source)| (step.clone(), inputs.versions(step, source))).collect();
    inputs.remember(&cache);
    found
}

/// Looks results up. Those that are there count as used.
pub(super) fn look_up(recipes: &[Recipe], results: Option<&Results>, options: &WorkerOptions) -> Result<Done, Failed> {
    let cache = results.ok_or_else(not_told)?.open(&options.base)?;
    let found = |recipe: &Recipe| {
        let entry = cache.find(&recipe.fingerprint);
        if let Some(entry) = &entry {
            entry.touch();
        }
        let there = entry.map(|entry| Size { rows: entry.rows(), bytes: entry.bytes() });
        (recipe.collection.clone(), Found { there, former: cache.former(&recipe.collection) })
    };
    let found = recipes.iter().map(found).collect();
    Ok(Done { answer: Some(Answer::Found(found)), ..Done::default() })
}

/// A result that is to be kept.
pub(super) struct Keep<'a> {
    pub(super) plan: &'a Plan,
    pub(super) options: &'a WorkerOptions,
    pub(super) results: Option<&'a Results>,
    pub(super) recipe: &'a Recipe,
    pub(super) parts: &'a [Vec<Held>],
    pub(super) agents: &'a [String],
}

impl Keep<'_> {
    /// Keeps it: visible to others when it is whole, and not before.
    pub(super) fn run(&self, exchange: &dyn Exchange, watch: &Watch) -> Result<Done, Failed> {
        let cache = self.results.ok_or_else(not_told)?.open(&self.options.base)?;
        if cache.find(&self.recipe.fingerprint).is_none() {
            self.unchanged(&cache)?;
            cache.store_rows(self.recipe, self.parts.iter().map(|part| self.rows(part, exchange, watch))).map_err(|error| {
                match error {
                    CacheError::Rows(error) => failed(&error),
                    error => unusable(&error),
                }
            })?;
        }
        let entry = cache.find(&self.recipe.fingerprint).ok_or_else(|| refused("what was written is not there".to_owned()))?;
        entry.touch();
        let size = Size { rows: entry.rows(), bytes: entry.bytes() };
        Ok(Done { answer: Some(Answer::Kept(size)), ..Done::default() })
    }

    fn rows<'r>(&self, part: &[Held], exchange: &dyn Exchange, watch: &'r Watch) -> crate::Result<Rows<'r>> {
        let frames = exchange.fetch(part, self.agents)?;
        let going = |batch| if watch.stop.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { batch };
        Ok(Box::new(frames.map(move |batch| going(batch).map(Arc::new))))
    }

    /// What was read must still be what the recipe names: a file that changed meanwhile may have given its new rows.
    /// Sources that the plan does not read any more gave theirs to results that were there already.
    fn unchanged(&self, cache: &Cache) -> Result<(), Failed> {
        let inputs = Inputs::new(&self.options.base, Arc::clone(&self.options.stores), cache);
        for step in self.recipe.readers().collect::<BTreeSet<_>>() {
            let Some(source) = self.source(step) else { continue };
            let now = inputs.versions(step, source).map_err(refused)?;
            let before = self.recipe.ingredients.iter().filter_map(|one| match &one.part {
                Part::Input(name) if one.step == step => Some(InputFile { name: name.clone(), version: one.digest.clone() }),
                _ => None,
            });
            let before: Vec<InputFile> = before.collect();
            if let Some(changed) = before.iter().find(|file| !now.contains(file)) {
                return Err(refused(format!("input {} changed while the flow ran", changed.name)));
            }
            if now.len() != before.len() {
                return Err(refused(format!("the files of {step:?} changed while the flow ran")));
            }
        }
        inputs.remember(cache);
        Ok(())
    }

    fn source(&self, step: &str) -> Option<&Source> {
        self.plan.graph.nodes.values().find_map(|node| match &node.op {
            Op::Read(source @ Source::Files { paths: Paths::Listed(_), .. }) if node.step == step => Some(source),
            _ => None,
        })
    }
}

fn refused(message: String) -> Failed {
    Failed { step: None, message, fault: Fault::Storage }
}

fn unusable(error: &CacheError) -> Failed {
    refused(format!("persisted results cannot be kept on the flow's volume: {}", plan::in_full(error)))
}

fn not_told() -> Failed {
    let message = "a task about persisted results came without the place where they are".to_owned();
    Failed { step: None, message, fault: Fault::Hopeless }
}
