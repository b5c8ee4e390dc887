//! A run is given to the master: made from the flow if it begins now, read from what is recorded if it goes on.

use std::sync::Arc;

use proto::RunId;
use serde_json::Value;

use super::act::{After, is_ours};
use super::papers::Due;
use super::track::Tracked;
use super::{Controller, anew};
use crate::accept::resolved;
use crate::decide::Here;
use crate::manifest::pod::{budget, slot_memory};
use crate::manifest::policy::policy;
use crate::manifest::run::{RunFile, read_secret, secret};
use crate::master::api::{Entry, RunSpec};
use crate::naming;
use crate::record::{Place, RunRecorder, raised, read_record};
use crate::server::{ApiError, Kind, Ref};
use crate::view::FlowView;

impl Controller {
    pub(super) async fn start(&self, view: &FlowView, tracked: &mut Tracked, run: &RunId, new: bool) -> Result<After, ApiError> {
        if !new && !self.still_wanted(view, tracked, run).await? {
            return Ok(After::LookAgain);
        }
        let base = naming::run_base(&view.key.name, naming::run_number(run.as_str()).unwrap_or(0));
        let found = if new { None } else { self.find(view, tracked, run, &base).await? };
        if tracked.memory.taken.is_some() || tracked.memory.lost {
            return Ok(After::LookAgain);
        }
        let (file, mut record, secret) = match found {
            Some((file, secret)) => match self.entries(view, tracked, run).await {
                Err(ApiError::Invalid(error)) => {
                    tracing::warn!(%run, error, "what was decided for the run cannot be read any more");
                    tracked.memory.lost = true;
                    return Ok(After::LookAgain);
                }
                entries => (file, entries?, Some(secret)),
            },
            None => match self.make(view, tracked, run, &base, new).await? {
                Some(file) => (file, Vec::new(), None),
                None => return Ok(After::LookAgain),
            },
        };
        if let Some(secret) = secret
            && !self.begin_anew((view, run, &base), tracked, &secret, &mut record).await?
        {
            return Ok(After::LookAgain);
        }
        let writer = raised(&self.writer, anew::terms(&record));
        let spec = RunSpec {
            id: run.clone(),
            namespace: view.key.namespace.clone(),
            flow: view.key.name.clone(),
            spec: file.spec.clone(),
            seed: file.seed,
            slot_memory: budget(file.slot_memory),
            record,
        };
        let place = Place { flow: view.clone(), run: run.clone(), base };
        let recorder = RunRecorder::new(Arc::clone(&self.server), place, writer);
        self.runs.start(spec, Arc::new(recorder));
        tracked.file = Some(file);
        tracked.run = Some(run.clone());
        tracked.memory.unmade = false;
        tracked.memory.here = Here::Started(run.to_string());
        tracked.memory.taken_up = (self.clock)() / 1000;
        Ok(After::Go)
    }

    /// Asks past the cache whether the run is still the one and not over: nothing is made for a run that is.
    pub(super) async fn still_wanted(&self, view: &FlowView, tracked: &mut Tracked, run: &RunId) -> Result<bool, ApiError> {
        tracked.requests += 1;
        let object = self.server.get(&Ref::new(Kind::GleamFlow, &view.key.namespace, &view.key.name)).await?;
        let now = FlowView::read(&object).map_err(|error| ApiError::Invalid(error.to_string()))?;
        let current = now.status.current_run.as_ref();
        let wanted = now.uid == view.uid
            && !now.deleting
            && current.is_some_and(|current| current.id == run.as_str() && current.completion_time.is_none());
        self.cached(|cache| cache.apply(Kind::GleamFlow, object));
        tracked.sure = wanted;
        Ok(wanted)
    }

    /// What the run is, from its Secret, and that; `None`: it has none that can be used.
    async fn find(
        &self,
        view: &FlowView,
        tracked: &mut Tracked,
        run: &RunId,
        base: &str,
    ) -> Result<Option<(RunFile, Value)>, ApiError> {
        tracked.requests += 1;
        match self.server.get(&Ref::new(Kind::Secret, &view.key.namespace, &naming::secret(base))).await {
            Ok(secret) if !is_ours(&secret, view, run) => {
                tracked.memory.taken = Some(taken("Secret", &naming::secret(base)));
                Ok(None)
            }
            Ok(secret) => {
                tracked.due = Some(Due::of(&secret));
                let file = read_secret(&secret);
                if let Err(error) = &file {
                    tracing::warn!(%run, error = plan::in_full(error), "what the run was to do cannot be read any more");
                    tracked.memory.lost = true;
                }
                Ok(file.ok().map(|file| (file, secret)))
            }
            Err(ApiError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn entries(&self, view: &FlowView, tracked: &mut Tracked, run: &RunId) -> Result<Vec<Entry>, ApiError> {
        tracked.requests += 1;
        read_record(self.server.as_ref(), &view.key.namespace, run).await
    }

    /// Makes the run's Secret and NetworkPolicy; `None`: it cannot be.
    async fn make(
        &self,
        view: &FlowView,
        tracked: &mut Tracked,
        run: &RunId,
        base: &str,
        new: bool,
    ) -> Result<Option<RunFile>, ApiError> {
        let hash = view.status.current_run.as_ref().map(|run| run.spec_hash.as_str());
        let acceptance = tracked.acceptance();
        let Some(spec) = view.spec.as_ref().ok().filter(|_| new || hash == Some(acceptance.hash.as_str())) else {
            // The run's leader went before it wrote down what the run is, and the flow has changed since.
            tracked.memory.lost = true;
            return Ok(None);
        };
        let now = (self.clock)() / 1000;
        let spec = resolved(spec, &tracked.prelude());
        let papers = (self.trust)(run).ok_or_else(|| ApiError::Unavailable("the authority is not ready".into()))?;
        let file = RunFile { seed: naming::seed(run.as_str()), slot_memory: slot_memory(&spec.executors), spec };
        let object = secret(view, run.as_str(), base, &file, &papers);
        tracked.requests += 2;
        // The policy comes first: where the Secret is there, so is what bounds the run's pods.
        let policy = policy(view, run.as_str(), base, &file.spec, &self.namespace);
        match self.server.create(Kind::NetworkPolicy, &view.key.namespace, &policy).await {
            Ok(_) => {}
            Err(ApiError::AlreadyExists(_)) => {
                let there = self.server.get(&Ref::new(Kind::NetworkPolicy, &view.key.namespace, base)).await?;
                if !is_ours(&there, view, run) {
                    tracked.memory.taken = Some(taken("NetworkPolicy", base));
                    return Ok(None);
                }
            }
            Err(error) => return self.unmade(tracked, error, now),
        }
        match self.server.create(Kind::Secret, &view.key.namespace, &object).await {
            Ok(made) => {
                tracked.due = Some(Due::of(&made));
                Ok(Some(file))
            }
            // Made by us, and the answer was lost; or by a leader before us.
            Err(ApiError::AlreadyExists(_)) => Ok(self.find(view, tracked, run, base).await?.map(|(file, _)| file)),
            Err(error) => self.unmade(tracked, error, now),
        }
    }

    /// What the run needs is refused: nothing of it was ever begun.
    fn unmade(&self, tracked: &mut Tracked, error: ApiError, now: i64) -> Result<Option<RunFile>, ApiError> {
        tracked.memory.unmade = true;
        self.refused(tracked, error, now).map(|_| None)
    }
}

fn taken(kind: &str, name: &str) -> String {
    format!(
        "{kind} {name:?} is there already and belongs to something else; delete or rename that, then run the flow again (gleamflow rerun)"
    )
}
