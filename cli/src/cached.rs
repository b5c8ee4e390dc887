//! `--cache DIR`: which persisted results of a flow an earlier run has left, and why others are not there.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use engine::Stores;
use engine::cache::{Cache, CacheError, Inputs};
use engine::run::Persistence;
use planner::cache::{self, Known, World};

use crate::flow::Flow;
use crate::machine;

/// A flow's results of earlier runs.
#[derive(Debug)]
pub(crate) struct Cached {
    pub(crate) persistence: Persistence,
    /// By the names of persisted collections.
    pub(crate) known: BTreeMap<String, Known>,
}

/// What a cache is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To read and keep results.
    Run,
    /// To tell what a run would find; nothing is written.
    Look,
}

impl Cached {
    /// Looks a flow's persisted results up.
    ///
    /// # Errors
    /// If results are to be kept, and the directory does not take any.
    pub(crate) fn of(flow: &Flow, dir: &Path, seed: u64, purpose: Purpose) -> Result<Cached, CacheError> {
        let threads = machine::default_threads();
        let cache = Arc::new(match purpose {
            Purpose::Run => Cache::open(dir, &flow.name, threads)?,
            Purpose::Look => Cache::look(dir, &flow.name, threads),
        });
        let inputs = Arc::new(Inputs::new(&flow.base, Stores::from_environment(), &cache));
        let files = cache::sources(flow.graph());
        let files = files.into_iter().map(|(step, source)| (step.clone(), inputs.versions(&step, &source)));
        let world = World { inputs: files.collect(), seed, deterministic: flow.deterministic().clone() };
        if purpose == Purpose::Run {
            inputs.remember(&cache);
        }
        let recipes = cache::recipes(flow.graph(), flow.prelude(), &world);
        let known = recipes.into_iter().map(|(name, recipe)| {
            let known = match recipe {
                Err(why) => Known::Never { why },
                Ok(recipe) => match cache.find(&recipe.fingerprint) {
                    Some(entry) => Known::There { recipe, rows: entry.rows(), bytes: entry.bytes() },
                    None => {
                        let why = cache::why_missing(&recipe, cache.former(&name).as_ref());
                        Known::Missing { recipe, why }
                    }
                },
            };
            (name, known)
        });
        let known = known.collect();
        Ok(Cached { persistence: Persistence { cache, inputs }, known })
    }
}
