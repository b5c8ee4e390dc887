//! Results that outlive a run (`persist` with `spec.cache`): what they are made of, which are there, and keeping those that are not.
//!
//! ```text
//! facts and versions ─recipes─► LookUp ─► plan that reads what is there ─► ... ─► Keep, for each that is whole ─► sinks
//! ```
//!
//! What is kept is on the flow's volume, written by a task as soon as it is whole: a run that fails later has it all the same.
//! What cannot be kept is said in the status, and is no failure of the run.

use std::collections::BTreeMap;

use crds::status::{PersistState, Persisted};
use plan::task::{Facts, Failed, Fault, Found, PieceName, Size, TaskId, Work};
use plan::{CollectionId, Op, Plan, Recipe, Source};
use planner::cache::{self, Known, World};
use planner::{CheckOptions, Checked, FlowProblem, ParamValues};

use super::demand::Walk;
use super::ledger::Standing;
use super::retry::Verdict;
use super::tasks::is_part;
use super::{Machine, Stage};
use crate::master::api::Entry;

/// So much is told of why a result is not kept.
const TOLD: usize = 300;

/// What is known of results.
#[derive(Debug, Default)]
pub(super) struct Results {
    /// While they are looked up: what the sources are, and what each persisted collection is made of.
    facts: BTreeMap<String, Facts>,
    recipes: BTreeMap<String, Result<Recipe, String>>,
    /// What became of those that were to be kept.
    settled: BTreeMap<CollectionId, Result<Size, String>>,
}

impl Machine {
    /// Whether results of this flow outlive its runs.
    pub(super) fn keeps_results(&self) -> bool {
        let spec = &self.spec.spec;
        spec.cache.enabled && spec.steps.iter().any(|step| step.persist)
    }

    /// Where slots find them.
    pub(super) fn results_place(&self) -> Option<proto::master::Results> {
        self.keeps_results().then(|| proto::master::Results {
            namespace: self.spec.namespace.clone(),
            flow: self.spec.flow.clone(),
            ttl_seconds: self.spec.spec.cache.ttl_seconds,
        })
    }

    /// Sources of which it must be known which version of their files is there.
    pub(super) fn versioned_sources(&self) -> Vec<(String, Source)> {
        if !self.keeps_results() {
            return Vec::new();
        }
        let options = CheckOptions { lenient: true, ..CheckOptions::default() };
        // What is wrong with the flow is told when it is planned.
        self.checked(&BTreeMap::new(), &options).map(|checked| cache::sources(&checked.graph)).unwrap_or_default()
    }

    pub(super) fn checked(
        &self,
        facts: &BTreeMap<String, Facts>,
        options: &CheckOptions<'_>,
    ) -> Result<Checked, Vec<FlowProblem>> {
        let known = |(step, facts): (&String, &Facts)| {
            let known = planner::SourceFacts { fields: facts.fields.clone(), bytes: facts.bytes };
            (step.clone(), known)
        };
        planner::check_with(&self.object(), &facts.iter().map(known).collect(), &ParamValues::new(), options)
    }

    /// Goes on with what the sources are: looks results up, or plans at once.
    pub(super) fn inspected(&mut self, facts: BTreeMap<String, Facts>) {
        if !self.keeps_results() {
            return self.plan_with(&facts, BTreeMap::new());
        }
        let checked = match self.checked(&facts, &CheckOptions::default()) {
            Ok(checked) => checked,
            Err(problems) => return self.invalid(&problems),
        };
        let inputs = facts.iter().filter_map(|(step, facts)| Some((step.clone(), facts.versions.clone()?))).collect();
        let world = World { inputs, seed: self.spec.seed, deterministic: checked.deterministic };
        self.results.recipes = cache::recipes(&checked.graph, &checked.prelude, &world);
        self.results.facts = facts;
        if self.results.recipes.values().any(Result::is_ok) {
            self.stage = Stage::LookingUp;
        } else {
            self.looked_up(BTreeMap::new());
        }
    }

    pub(super) fn look_up_work(&self) -> Work {
        Work::LookUp { recipes: self.results.recipes.values().filter_map(|recipe| recipe.as_ref().ok()).cloned().collect() }
    }

    /// Plans with the results that are there.
    pub(super) fn looked_up(&mut self, mut found: BTreeMap<String, Found>) {
        let known = |(name, recipe): (String, Result<Recipe, String>)| {
            let found = found.remove(&name).unwrap_or_default();
            let known = match (recipe, found.there) {
                (Err(why), _) => Known::Never { why },
                (Ok(recipe), Some(size)) => Known::There { recipe, rows: size.rows, bytes: size.bytes },
                (Ok(recipe), None) => Known::Missing { why: cache::why_missing(&recipe, found.former.as_ref()), recipe },
            };
            (name, known)
        };
        let known = std::mem::take(&mut self.results.recipes).into_iter().map(known).collect();
        let facts = std::mem::take(&mut self.results.facts);
        self.plan_with(&facts, known);
    }

    /// Collections that are still to be kept.
    fn to_keep(&self) -> Vec<CollectionId> {
        let keep = self.flow.iter().flat_map(|flow| flow.plan.keep.keys());
        keep.copied().filter(|collection| !self.results.settled.contains_key(collection)).collect()
    }

    /// Whether all that is to be kept has been, or cannot be.
    pub(super) fn results_settled(&self) -> bool {
        self.to_keep().is_empty()
    }

    /// Whether it is settled, or about to be.
    pub(super) fn is_kept(&self, collection: CollectionId) -> bool {
        let recording = |entry: &Entry| matches!(entry, Entry::Kept { collection: this, .. } if *this == collection);
        self.results.settled.contains_key(&collection) || self.is_recording(recording)
    }

    /// Asks for the rows of all that is to be kept: some of it may be needed for nothing else.
    pub(super) fn walk_results(&self, walk: &mut Walk) -> bool {
        self.to_keep().into_iter().fold(true, |ready, collection| self.need_kept(walk, collection) && ready)
    }

    fn need_kept(&self, walk: &mut Walk, collection: CollectionId) -> bool {
        let uses = |name: &PieceName| is_part(name, collection);
        let makers = self.flow().makers(collection);
        makers.into_iter().fold(true, |ready, set| self.need_set(walk, set, &uses) && ready)
    }

    /// Has kept what is whole.
    pub(super) fn keep_results(&mut self) {
        for collection in self.to_keep() {
            if self.rows_held(collection) {
                self.offer(TaskId::Keep { collection });
            }
        }
    }

    /// Whether some of what is whole is still being kept, or could be: worth a wait when the run fails.
    pub(super) fn keeping(&self) -> bool {
        self.to_keep().into_iter().any(|collection| self.rows_held(collection))
    }

    fn rows_held(&self, collection: CollectionId) -> bool {
        let held = |task: &TaskId| self.ledger.get(*task).is_some_and(|state| state.standing() == Some(Standing::Held));
        self.parts(collection).is_some_and(|parts| parts.iter().all(held))
    }

    pub(super) fn kept(&mut self, collection: CollectionId, size: Size) {
        self.settle(collection, Ok(size));
    }

    /// Another leader is to know it. Of a run that has failed nothing is recorded any more.
    fn settle(&mut self, collection: CollectionId, outcome: Result<Size, String>) {
        if matches!(self.stage, Stage::Winding { .. }) {
            self.result_settled(collection, outcome);
        } else if !self.is_kept(collection) {
            self.record(Entry::Kept { collection, outcome });
        }
    }

    pub(super) fn result_settled(&mut self, collection: CollectionId, outcome: Result<Size, String>) {
        self.results.settled.insert(collection, outcome);
        self.stale = true;
    }

    /// What follows where a result could not be kept; `None`: it is tried again.
    pub(super) fn not_kept(&mut self, task: TaskId, failed: &Failed, verdict: Verdict) -> Option<Verdict> {
        let TaskId::Keep { collection } = task else { return Some(verdict) };
        match (&failed.fault, &verdict) {
            // Its rows are made once more, or another slot takes it.
            (Fault::Lost(_) | Fault::Infrastructure | Fault::Stopped, Verdict::Retry(_)) => Some(verdict),
            _ => {
                self.settle(collection, Err(failed.message.chars().take(TOLD).collect()));
                None
            }
        }
    }

    /// What became of each persisted collection, for the status.
    pub(super) fn persisted(&self) -> Vec<Persisted> {
        let Some(flow) = self.flow.as_ref().filter(|_| self.keeps_results()) else { return Vec::new() };
        let mut found = reused(&flow.plan);
        for (collection, about) in flow.plan.graph.collections.iter().filter(|(_, about)| about.persist) {
            let step = flow.plan.graph.node(about.producer).step.clone();
            let planned = || why(&flow.plan, &step);
            let (state, size, message) = match self.results.settled.get(collection) {
                Some(Ok(size)) => (PersistState::Kept, Some(*size), planned()),
                Some(Err(why)) => (PersistState::NotKept, None, Some(why.clone())),
                None if !flow.plan.keep.contains_key(collection) => (PersistState::NotKept, None, planned()),
                None if self.is_over() => (PersistState::NotKept, None, Some("the run ended before it was whole".to_owned())),
                None => (PersistState::Making, None, planned()),
            };
            let count = |count: fn(&Size) -> u64| size.as_ref().and_then(|size| i64::try_from(count(size)).ok());
            let (rows, bytes) = (count(|size| size.rows), count(|size| size.bytes));
            found.push(Persisted { step: about.name.clone(), state, rows, bytes, message });
        }
        found
    }
}

/// What was there when the run began.
fn reused(plan: &Plan) -> Vec<Persisted> {
    let cached = plan.graph.nodes.values().filter_map(|node| match &node.op {
        Op::Read(Source::Cached { bytes, .. }) => Some((node, *bytes)),
        _ => None,
    });
    let told = cached.map(|(node, bytes)| Persisted {
        step: node.outputs.first().map_or_else(|| node.step.clone(), |made| plan.graph.collection(*made).name.clone()),
        state: PersistState::Reused,
        rows: None,
        bytes: i64::try_from(bytes).ok(),
        message: why(plan, &node.step),
    });
    told.collect()
}

/// The planner's own words.
fn why(plan: &Plan, step: &str) -> Option<String> {
    let about = plan.decisions.iter().find(|decision| decision.pass == cache::REUSE && decision.step == step);
    about.map(|decision| decision.reason.clone())
}
