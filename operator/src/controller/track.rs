//! What this process remembers of a flow between two looks at it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crds::status::Run;
use proto::RunId;

use super::Controller;
use super::hanging::Hanging;
use super::papers::Due;
use crate::accept::{Acceptance, Claim, Prelude, accept, claim_name};
use crate::cache::Expected;
use crate::decide::Memory;
use crate::manifest::run::RunFile;
use crate::server::{ApiError, Kind, Ref};
use crate::view::{FlowView, PodView};

/// How long what `luaFrom` refers to is believed.
const PRELUDE_SECONDS: i64 = 60;

/// What is remembered.
#[derive(Debug, Default)]
pub struct Tracked {
    pub(super) uid: String,
    /// Whether the flow is there.
    pub(super) live: bool,
    /// Nothing of what is remembered matters any more: ten thousand flows that are over take no room here.
    pub(super) rests: bool,
    /// The current run, and what it is to do.
    pub(super) run: Option<RunId>,
    pub(super) file: Option<RunFile>,
    /// When its executors need new papers.
    pub(super) due: Option<Due>,
    /// When it was last looked whether the run has all that it stands on, in seconds since 1970.
    pub(super) kept_up: i64,
    pub(super) memory: Memory,
    /// Our writes that the cache does not show yet, and since when.
    pub(super) expected: Vec<(Expected, i64)>,
    pub(super) checked: Option<Checked>,
    /// When a status was last written, in milliseconds.
    pub(super) written: i64,
    pub(super) errors: u32,
    /// Pods that the API server refused, one after the other.
    pub(super) refusals: usize,
    /// Pods of the run that were seen alive, by uid.
    pub(super) seen: BTreeMap<String, String>,
    /// Pods that the master knows to be gone, by name and why.
    pub(super) gone: BTreeMap<String, String>,
    /// Pods that have a node and do not start.
    pub(super) hanging: Hanging,
    /// The run that was to be cancelled and never was, as people were told.
    pub(super) no_such_run: Option<String>,
    /// The flow and its whole status are more than one object can be.
    pub(super) brief: bool,
    /// Whether this very look has made sure that the run goes on: by a status that was written, which nobody was before, or by asking.
    pub(super) sure: bool,
    /// Requests that the current run has taken.
    pub(super) requests: u32,
}

#[derive(Debug)]
pub(super) struct Checked {
    generation: i64,
    prelude: Prelude,
    claim: Claim,
    at: i64,
    acceptance: Arc<Acceptance>,
}

impl Tracked {
    pub(super) fn of(uid: &str) -> Tracked {
        Tracked { uid: uid.to_owned(), ..Tracked::default() }
    }

    /// The outcome of the check, which comes before every decision.
    pub(super) fn acceptance(&self) -> Arc<Acceptance> {
        let checked = self.checked.as_ref().map(|checked| Arc::clone(&checked.acceptance));
        checked.unwrap_or_else(|| Arc::default())
    }

    pub(super) fn prelude(&self) -> Prelude {
        self.checked.as_ref().map_or(Prelude::NotAsked, |checked| checked.prelude.clone())
    }

    /// Whether whatever is remembered of a flow can be found again, or is not needed: none of its runs goes on, all that was written
    /// shows, and no pod is left.
    pub(super) fn is_at_rest(&self, view: &FlowView) -> bool {
        let memory = &self.memory;
        let tidies = |run: &Run| !run.released && memory.tidied.contains(&run.id);
        let status = &view.status;
        status.current_run.as_ref().is_none_or(|run| run.completion_time.is_some())
            && !status.current_run.iter().chain(&status.history).any(tidies)
            && !view.deleting
            && self.expected.is_empty()
            && self.seen.is_empty()
            && self.hanging.is_empty()
            && self.no_such_run.is_none()
            && memory.refused.is_none()
            && !memory.terminating
            // Where agents still hold rows, the master is told when the flow goes.
            && !memory.forgotten.as_ref().is_some_and(|(_, kept)| *kept)
    }

    /// Tells the master of pods that were there and are not any more.
    pub(super) fn notice(&mut self, pods: &[Arc<PodView>], run: &str, gone: impl Fn(&RunId, &str)) {
        let now: BTreeMap<String, String> =
            pods.iter().filter(|pod| pod.run == run && !pod.finished()).map(|pod| (pod.uid.clone(), pod.name.clone())).collect();
        if let Some(run) = &self.run {
            for (uid, name) in &self.seen {
                let finished = pods.iter().any(|pod| pod.uid == *uid);
                if !now.contains_key(uid) && !finished {
                    gone(run, name);
                    self.gone.remove(name);
                }
            }
        }
        self.seen = now;
    }
}

impl Controller {
    /// What is remembered of a run goes with it.
    pub(super) fn follow_run(&self, view: &FlowView, tracked: &mut Tracked) {
        let run = view.status.current_run.as_ref().and_then(|run| RunId::try_from(run.id.clone()).ok());
        if run == tracked.run {
            return;
        }
        if let Some(old) = tracked.run.take() {
            self.runs.forget(&old, false);
        }
        let tidied = std::mem::take(&mut tracked.memory.tidied);
        tracked.memory = Memory { tidied, terminating: tracked.memory.terminating, ..Memory::default() };
        tracked.run = run;
        tracked.file = None;
        tracked.due = None;
        tracked.requests = 0;
        tracked.refusals = 0;
        tracked.gone.clear();
    }

    /// Checks the flow, once per generation and content of what `luaFrom` refers to.
    pub(super) async fn check(&self, view: &FlowView, tracked: &mut Tracked, now: i64) -> Result<(), ApiError> {
        let fresh = |checked: &Checked| checked.generation == view.generation && now - checked.at < PRELUDE_SECONDS;
        let from = view.spec.as_ref().ok().and_then(|spec| spec.lua_from.as_ref());
        let known = tracked.checked.as_ref().filter(|checked| checked.generation == view.generation);
        // Access modes never change; a claim that is not there may come.
        let settled = |checked: &Checked| from.is_none() && checked.claim != Claim::Unknown;
        if known.is_some_and(|checked| fresh(checked) || settled(checked)) {
            return Ok(());
        }
        let claim = match known.map(|checked| &checked.claim) {
            Some(claim) if *claim != Claim::Unknown => claim.clone(),
            _ => self.claim(view, tracked).await?,
        };
        let prelude = match from {
            None => Prelude::NotAsked,
            Some(from) => {
                let reference = &from.config_map_key_ref;
                let object = Ref::new(Kind::ConfigMap, &view.key.namespace, &reference.name);
                tracked.requests += 1;
                match self.server.get(&object).await {
                    Ok(object) => {
                        match object.get("data").and_then(|data| data.get(&reference.key)).and_then(|text| text.as_str()) {
                            Some(text) => Prelude::Found(text.to_owned()),
                            None => Prelude::Missing(format!("ConfigMap {:?} has no key {:?}", reference.name, reference.key)),
                        }
                    }
                    Err(ApiError::NotFound(_)) => Prelude::Missing(format!(
                        "ConfigMap {:?} (luaFrom) is not in namespace {:?}",
                        reference.name, view.key.namespace
                    )),
                    Err(error) => return Err(error),
                }
            }
        };
        match &mut tracked.checked {
            Some(checked)
                if checked.generation == view.generation && (&checked.prelude, &checked.claim) == (&prelude, &claim) =>
            {
                checked.at = now;
            }
            _ => {
                let acceptance = Arc::new(accept(&view.spec, &prelude, &claim));
                tracked.checked = Some(Checked { generation: view.generation, prelude, claim, at: now, acceptance });
            }
        }
        Ok(())
    }

    /// Who can share the claim that a flow writes to. Not asked of a flow that was accepted and has run.
    async fn claim(&self, view: &FlowView, tracked: &mut Tracked) -> Result<Claim, ApiError> {
        let over = view.status.current_run.as_ref().is_some_and(|run| run.completion_time.is_some());
        let accepted = view.status.conditions.iter().any(|condition| {
            let now = condition.observed_generation == Some(view.generation);
            condition.type_ == "Accepted" && condition.status == "True" && now
        });
        let Some(name) = view.spec.as_ref().ok().and_then(claim_name).filter(|_| !(over && accepted)) else {
            return Ok(Claim::NotAsked);
        };
        tracked.requests += 1;
        match self.server.get(&Ref::new(Kind::PersistentVolumeClaim, &view.key.namespace, name)).await {
            Ok(claim) => {
                let modes = crate::view::list(&claim, "/spec/accessModes").iter().filter_map(|mode| mode.as_str());
                Ok(Claim::Modes(modes.map(str::to_owned).collect()))
            }
            // Pods that mount it say so in the scheduler's words; it may be made later than the flow.
            Err(ApiError::NotFound(_)) => Ok(Claim::Unknown),
            Err(error @ ApiError::Forbidden(_)) => {
                tracing::warn!(flow = %view.key, %error, "whether other nodes can share what the flow writes to cannot be known");
                Ok(Claim::Unknown)
            }
            Err(error) => Err(error),
        }
    }
}
