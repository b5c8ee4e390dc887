//! What bounds a run's pods and what they are known by is made again where somebody deleted it while the run goes on.

use std::time::Duration;

use proto::RunId;
use serde_json::Value;

use super::act::is_ours;
use super::papers::Due;
use super::track::Tracked;
use super::{Controller, Told};
use crate::decide::Event;
use crate::manifest::policy::policy;
use crate::manifest::run::{RunFile, secret};
use crate::naming;
use crate::server::{ApiError, Kind, Ref};
use crate::view::FlowView;

/// How often it is looked at, in seconds: such objects are not watched, and few runs last as long as that.
const EVERY: i64 = 30;

impl Controller {
    /// Looks whether a run's NetworkPolicy and Secret are there; says when it is to be looked next.
    pub(super) async fn keep_up(&self, view: &FlowView, tracked: &mut Tracked) -> Option<Duration> {
        // Without a file the run is not taken up, or over.
        tracked.file.as_ref()?;
        let run = tracked.run.clone()?;
        let now = (self.clock)() / 1000;
        let mut due = tracked.memory.taken_up.max(tracked.kept_up) + EVERY;
        if due <= now {
            (tracked.kept_up, due) = (now, now + EVERY);
            let file = tracked.file.clone()?;
            if let Err(error) = self.make_again(view, tracked, &run, &file).await {
                tracing::warn!(%run, %error, "whether the run's NetworkPolicy and Secret are there cannot be known");
            }
        }
        Some(Duration::from_secs((due - now).unsigned_abs()))
    }

    async fn make_again(&self, view: &FlowView, tracked: &mut Tracked, run: &RunId, file: &RunFile) -> Result<(), ApiError> {
        let base = naming::run_base(&view.key.name, naming::run_number(run.as_str()).unwrap_or(0));
        let bounds = || Some(policy(view, run.as_str(), &base, &file.spec, &self.namespace));
        self.unless_there(view, tracked, run, (Kind::NetworkPolicy, &base), bounds).await?;
        let papers = || Some(secret(view, run.as_str(), &base, file, &(self.trust)(run)?));
        if let Some(made) = self.unless_there(view, tracked, run, (Kind::Secret, &naming::secret(&base)), papers).await? {
            tracked.due = Some(Due::of(&made));
        }
        Ok(())
    }

    /// Makes an object of a run unless it is there; `None`: it is, or it is not to be.
    async fn unless_there(
        &self,
        view: &FlowView,
        tracked: &mut Tracked,
        run: &RunId,
        (kind, name): (Kind, &str),
        object: impl FnOnce() -> Option<Value>,
    ) -> Result<Option<Value>, ApiError> {
        tracked.requests += 1;
        let place = Ref::new(kind, &view.key.namespace, name);
        match self.server.get(&place).await {
            Err(ApiError::NotFound(_)) => {}
            Ok(there) if !is_ours(&there, view, run) => {
                tracing::warn!(%run, object = %place, "it belongs to something else now");
                return Ok(None);
            }
            other => return other.map(|_| None),
        }
        // What is over needs nothing any more.
        let Some(object) = object().filter(|_| !view.deleting) else { return Ok(None) };
        if !self.still_wanted(view, tracked, run).await? {
            return Ok(None);
        }
        tracked.requests += 1;
        let made = self.server.create(kind, &view.key.namespace, &object).await?;
        let message = format!("{} {name:?} of the run was deleted while it goes on; it is made again", kind.names().2);
        tracing::warn!(%run, message);
        let event = Event { warning: true, place: 0x1802, reason: "MadeAgain".to_owned(), message };
        (self.tell)(Told { key: view.key.clone(), uid: view.uid.clone(), run: run.to_string(), event });
        Ok(Some(made))
    }
}
