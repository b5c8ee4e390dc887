//! Keeps persisted collections for later runs, each as soon as it is whole, while the run goes on: a run that fails later has
//! them all the same. What cannot be kept is a warning, never a failure of the run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;

use plan::{CollectionId, OutputChannel, Pass, Plan, Recipe};

use crate::BatchLog;
use crate::cache::{Cache, Inputs};

use super::job::Job;
use plan::schedule::{Unit, stage_nodes};

/// A cache, and what is known of the inputs that its entries depend on.
#[derive(Clone, Debug)]
pub struct Persistence {
    pub cache: Arc<Cache>,
    pub inputs: Arc<Inputs>,
}

/// What is still to be kept, and what is being written.
pub(super) struct Keeper {
    persistence: Option<Persistence>,
    open: BTreeMap<CollectionId, Recipe>,
    /// Each gives the name of a collection, if it could be kept.
    writers: Vec<JoinHandle<Option<String>>>,
}

impl Keeper {
    pub(super) fn new(plan: &Plan, persistence: Option<&Persistence>) -> Keeper {
        let open = if persistence.is_some() { plan.keep.clone() } else { BTreeMap::new() };
        Keeper { persistence: persistence.cloned(), open, writers: Vec::new() }
    }

    /// Begins to write what a unit, now done, has made.
    pub(super) fn unit_done(&mut self, job: &Job, unit: &Unit<'_>) {
        let Some(persistence) = &self.persistence else { return };
        for collection in made(&job.plan, unit) {
            let Some(recipe) = self.open.remove(&collection) else { continue };
            let (persistence, parts) = (persistence.clone(), job.parts(collection));
            let write = move || keep(&persistence, &recipe, &parts);
            match std::thread::Builder::new().name("cache".to_owned()).spawn(write) {
                Ok(writer) => self.writers.push(writer),
                Err(error) => tracing::warn!("nothing is kept in the cache: {error}"),
            }
        }
    }

    /// Waits for the writers; the names of what was kept.
    pub(super) fn finish(mut self) -> Vec<String> {
        self.join()
    }

    fn join(&mut self) -> Vec<String> {
        // A writer that panicked has said so, and kept nothing.
        self.writers.drain(..).filter_map(|writer| writer.join().ok().flatten()).collect()
    }
}

/// A run that fails waits, too: what was whole by then is for the next one.
impl Drop for Keeper {
    fn drop(&mut self) {
        self.join();
    }
}

fn keep(persistence: &Persistence, recipe: &Recipe, parts: &[Arc<BatchLog>]) -> Option<String> {
    let name = &recipe.collection;
    if let Err(why) = persistence.inputs.unchanged(recipe) {
        tracing::warn!("{name:?} is not kept in the cache: {why}");
        return None;
    }
    if let Err(error) = persistence.cache.store(recipe, parts) {
        tracing::warn!("{name:?} is not kept in the cache: {}", plan::in_full(&error));
        return None;
    }
    Some(name.clone())
}

/// The collections that are whole when a unit is done.
fn made(plan: &Plan, unit: &Unit<'_>) -> Vec<CollectionId> {
    let stage = match unit {
        Unit::Operate(node) => return plan.graph.node(*node).outputs.clone(),
        Unit::Stage(stage) => stage,
    };
    // A persisted source is passed on by the stage that stores it.
    let passed = stage.outputs.iter().filter_map(|output| match output {
        OutputChannel::Pass { what: Pass::Collection(id) } => Some(*id),
        OutputChannel::Pass { what: Pass::Write(_) } | OutputChannel::Group { .. } => None,
    });
    stage_nodes(stage).into_iter().flat_map(|node| plan.graph.node(node).outputs.clone()).chain(passed).collect()
}
