//! Carries a decision out: the status first, then the deeds, in order, up to the first that fails.

use std::time::Duration;

use proto::RunId;
use serde_json::Value;

use super::track::Tracked;
use super::{Again, Controller};
use crate::cache::Expected;
use crate::decide::{Action, Decision, Here, Refused, longer_each_time};
use crate::manifest::pod::{self, Shape};
use crate::master::api::Entry;
use crate::master::machine::event::OutputRequest;
use crate::naming;
use crate::server::{ApiError, Kind, Ref};
use crate::view::{self, FlowView, version};

/// What a deed asks for.
pub(super) enum After {
    Go,
    /// What was decided from has changed: look again at once.
    LookAgain,
}

impl Controller {
    pub(super) async fn carry_out(&self, view: &FlowView, tracked: &mut Tracked, decision: Decision) -> Result<Again, ApiError> {
        tracked.sure = false;
        let later = self.report(view, tracked, &decision.status).await?;
        let mut again = decision.again.map(|seconds| Duration::from_secs(seconds.unsigned_abs()));
        if let Some(later) = later.map(|millis| Duration::from_millis(millis.unsigned_abs())) {
            again = Some(again.map_or(later, |again| again.min(later)));
        }
        let mut look_again = false;
        for action in decision.actions {
            match self.act(view, tracked, action).await? {
                After::Go => {}
                After::LookAgain => {
                    look_again = true;
                    break;
                }
            }
        }
        Ok(match again {
            _ if look_again => Again::Now,
            Some(again) => Again::After(again),
            None => Again::WhenSomethingHappens,
        })
    }

    async fn act(&self, view: &FlowView, tracked: &mut Tracked, action: Action) -> Result<After, ApiError> {
        match action {
            Action::Start { run, new } => return self.start(view, tracked, &run, new).await,
            Action::CreatePod { run, index } => return self.create_pod(view, tracked, &run, index).await,
            Action::DeletePod { name, uid } => self.delete_pod(view, tracked, &name, &uid).await?,
            Action::PodGone { run, pod, why } => {
                if tracked.gone.get(&pod) != Some(&why) {
                    self.runs.pod_gone(&run, &pod, &why);
                    tracked.gone.insert(pod, why);
                }
            }
            Action::Stop { run, why } => {
                self.runs.stop(&run, &why);
                tracked.memory.here = Here::Stopped(run.to_string());
                return Ok(After::LookAgain);
            }
            Action::Forget { run, keep_output } => {
                if keep_output && self.runs.progress(&run).is_none() {
                    // An earlier leader ended it: the record says where its rows are.
                    let output = self.located(view, tracked, &run).await?;
                    self.runs.hold(&run, output);
                } else {
                    self.runs.forget(&run, keep_output);
                }
                tracked.memory.forgotten = Some((run.to_string(), keep_output));
            }
            Action::Tidy { run } => {
                self.tidy(view, tracked, &run).await?;
                return Ok(After::LookAgain);
            }
            Action::Surplus { since } => tracked.memory.surplus_since = since,
        }
        Ok(After::Go)
    }

    async fn located(&self, view: &FlowView, tracked: &mut Tracked, run: &RunId) -> Result<Option<OutputRequest>, ApiError> {
        let entries = match self.entries(view, tracked, run).await {
            // A record that cannot be read tells nothing: the rows are lost, and that is said to who asks for them.
            Err(ApiError::Invalid(why)) => {
                tracing::warn!(%run, why, "where the run's standard output is cannot be known any more");
                return Ok(None);
            }
            other => other?,
        };
        Ok(entries.into_iter().rev().find_map(|entry| if let Entry::Output { at } = entry { Some(at) } else { None }))
    }

    async fn create_pod(&self, view: &FlowView, tracked: &mut Tracked, run: &RunId, index: u32) -> Result<After, ApiError> {
        let Some(file) = tracked.file.clone() else {
            return Err(ApiError::Unavailable(format!("run {run} has not been taken up")));
        };
        // Whoever leads no more, or has yet to hear how the run ended, makes nothing for it.
        if !tracked.sure && !self.still_wanted(view, tracked, run).await? {
            return Ok(After::LookAgain);
        }
        let base = naming::run_base(&view.key.name, naming::run_number(run.as_str()).unwrap_or(0));
        let shape =
            Shape { flow: view, spec: &file.spec, run: run.as_str(), base: &base, image: &self.image, operator: &self.operator };
        let object = pod::pod(&shape, index);
        tracked.requests += 1;
        let made = self.server.create(Kind::Pod, &view.key.namespace, &object).await;
        let now = (self.clock)() / 1000;
        match made {
            Ok(made) => {
                tracked.refusals = 0;
                tracked.memory.refused = None;
                tracked.gone.remove(&naming::pod(&base, index));
                tracked.expected.push((Expected::Pod { version: version(&made) }, now));
                Ok(After::Go)
            }
            Err(ApiError::AlreadyExists(_)) => self.met_pod(view, tracked, run, &naming::pod(&base, index)).await,
            Err(error) => self.refused(tracked, error, now),
        }
    }

    /// A pod of that name is there. It is ours if this very flow controls it for this very run; then the cache has yet to show it.
    async fn met_pod(&self, view: &FlowView, tracked: &mut Tracked, run: &RunId, name: &str) -> Result<After, ApiError> {
        tracked.requests += 1;
        let there = match self.server.get(&Ref::new(Kind::Pod, &view.key.namespace, name)).await {
            Ok(there) => there,
            Err(ApiError::NotFound(_)) => return Ok(After::LookAgain),
            Err(error) => return Err(error),
        };
        let now = (self.clock)() / 1000;
        if is_ours(&there, view, run) {
            self.cached(|cache| cache.apply(Kind::Pod, there));
            return Ok(After::LookAgain);
        }
        let message = format!("pod {name:?} is there already and belongs to something else; delete or rename that");
        Ok(self.refuse(tracked, "AdmissionDenied", message, now))
    }

    /// The API server would not take it: that goes into a condition, and is tried again later and later.
    pub(super) fn refused(&self, tracked: &mut Tracked, error: ApiError, now: i64) -> Result<After, ApiError> {
        match error {
            ApiError::Quota(message) => Ok(self.refuse(tracked, "QuotaExceeded", message, now)),
            ApiError::Forbidden(message) | ApiError::Invalid(message) => {
                Ok(self.refuse(tracked, "AdmissionDenied", message, now))
            }
            ApiError::Terminating(_) => {
                tracked.memory.terminating = true;
                Ok(After::LookAgain)
            }
            ApiError::NotFound(_)
            | ApiError::AlreadyExists(_)
            | ApiError::Conflict(_)
            | ApiError::Unavailable(_)
            | ApiError::NotLeading => Err(error),
        }
    }

    fn refuse(&self, tracked: &mut Tracked, reason: &'static str, message: String, now: i64) -> After {
        tracked.refusals += 1;
        tracked.memory.refused = Some(Refused { reason, message, until: now + longer_each_time(tracked.refusals) });
        After::LookAgain
    }

    pub(super) async fn delete_pod(&self, view: &FlowView, tracked: &mut Tracked, name: &str, uid: &str) -> Result<(), ApiError> {
        tracked.requests += 1;
        let object = Ref::new(Kind::Pod, &view.key.namespace, name);
        match self.server.delete(&object, Some(uid)).await {
            // A conflict: another pod has that name by now.
            Ok(()) | Err(ApiError::NotFound(_) | ApiError::Conflict(_)) => {
                let now = (self.clock)() / 1000;
                tracked.expected.push((Expected::Leaving { name: name.to_owned(), uid: uid.to_owned() }, now));
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Removes what a run left.
    async fn tidy(&self, view: &FlowView, tracked: &mut Tracked, run: &RunId) -> Result<(), ApiError> {
        let labels = format!("{}={},{}={run}", naming::MANAGED_BY, naming::MANAGER, naming::RUN);
        for kind in [Kind::ConfigMap, Kind::Secret, Kind::NetworkPolicy] {
            tracked.requests += 1;
            self.server.delete_all(kind, &view.key.namespace, &labels).await?;
        }
        tracked.memory.tidied.push(run.to_string());
        Ok(())
    }
}

/// Whether this very flow controls an object, for this very run.
pub(super) fn is_ours(object: &Value, view: &FlowView, run: &RunId) -> bool {
    view::controller(object) == view.uid && view::marked(object, "labels", naming::RUN) == Some(run.as_str())
}
