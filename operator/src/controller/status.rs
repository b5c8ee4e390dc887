//! The status write: at most one per look, only what changed, and never over somebody else's newer word.

use std::borrow::Cow;

use crds::status::{GleamFlowStatus, Phase};
use serde::Deserialize;
use serde_json::{Value, json};

use super::track::Tracked;
use super::{Controller, Told};
use crate::cache::Expected;
use crate::decide::event::{Event, events};
use crate::naming;
use crate::server::{ApiError, Kind, Ref};
use crate::view::{FlowKey, FlowView, text, version};

/// Progress is told at most so often, in milliseconds.
const PROGRESS_EVERY: i64 = 1000;
/// Most runs are shorter than that, and are told of twice: when they begin and when they end. In milliseconds.
const SHORT_RUN: i64 = 4000;

impl Controller {
    /// Writes the status if it must be; `Some`: in so many milliseconds.
    pub(super) async fn report(
        &self,
        view: &FlowView,
        tracked: &mut Tracked,
        status: &GleamFlowStatus,
    ) -> Result<Option<i64>, ApiError> {
        let status = &*if tracked.brief { Cow::Owned(brief(status)) } else { Cow::Borrowed(status) };
        if *status == view.status {
            return Ok(None);
        }
        let now = (self.clock)();
        if !urgent(&view.status, status) {
            let start = view.status.current_run.as_ref().and_then(|run| run.start_time.as_ref());
            let start = start.map_or(0, |time| time.0.as_millisecond());
            let due = (tracked.written + PROGRESS_EVERY).max(start + SHORT_RUN);
            if due > now {
                return Ok(Some(due - now));
            }
        }
        tracked.requests += 1;
        let object = Ref::new(Kind::GleamFlow, &view.key.namespace, &view.key.name);
        let written = match self.server.apply(&object, true, &body(view, status)).await {
            Err(error) if !tracked.brief && error.is_too_large() => {
                tracing::warn!(flow = %view.key, %error, "the flow and its status are too large for one object: previews are left out");
                tracked.brief = true;
                return Ok(Some(0));
            }
            // Of what we leave out, somebody else holds a part, and such a part alone is no condition.
            Err(ApiError::Invalid(why)) => self.replace_status(view, tracked, &view.resource_version, status, &why).await?,
            written => written?,
        };
        let written = match stands(&written, status) {
            true => written,
            false => {
                let newest = text(&written, "/metadata/resourceVersion").unwrap_or_default();
                self.replace_status(view, tracked, newest, status, "more is there than was applied").await?
            }
        };
        tracked.written = now;
        tracked.sure = true;
        tracked.expected.push((Expected::Flow { version: version(&written) }, now / 1000));
        let run = status.current_run.as_ref().map_or("", |run| &run.id);
        for event in events(&view.status, status) {
            (self.tell)(Told { key: view.key.clone(), uid: view.uid.clone(), run: run.to_owned(), event });
        }
        if status.current_run.as_ref().is_some_and(|run| run.completion_time.is_some()) && view.status.phase != status.phase {
            self.metrics.run_ended(tracked.requests);
        }
        Ok(None)
    }
}

impl Controller {
    /// What another manager holds of a status stays where it is applied without, and may not stand alone: it goes with all there is.
    async fn replace_status(
        &self,
        view: &FlowView,
        tracked: &mut Tracked,
        version: &str,
        status: &GleamFlowStatus,
        why: &str,
    ) -> Result<Value, ApiError> {
        tracing::warn!(flow = %view.key, why, "somebody else manages a part of the status: it is replaced");
        tracked.requests += 1;
        let object = Ref::new(Kind::GleamFlow, &view.key.namespace, &view.key.name);
        self.server.replace_status(&object, version, &json!(status)).await
    }

    /// The status cannot say it: it is what could not be written, or not be worked out.
    pub(super) fn tell_of_trouble(&self, key: &FlowKey, tracked: &Tracked, error: &ApiError) {
        let message = format!("the operator cannot go on with the flow, and tries again: {error}");
        let event = Event { warning: true, place: 0x1801, reason: "ReconcileFailed".to_owned(), message };
        let run = tracked.run.as_ref().map_or(String::new(), ToString::to_string);
        (self.tell)(Told { key: key.clone(), uid: tracked.uid.clone(), run, event });
    }
}

/// Whether an object's status is this one; the API server merges conditions by their types, in an order of its own.
fn stands(object: &Value, status: &GleamFlowStatus) -> bool {
    let sorted = |mut status: GleamFlowStatus| {
        status.conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
        status
    };
    let found = object.get("status").and_then(|found| GleamFlowStatus::deserialize(found).ok());
    found.is_some_and(|found| sorted(found) == sorted(status.clone()))
}

/// Without the rows of users in it, which can be had elsewhere.
fn brief(status: &GleamFlowStatus) -> GleamFlowStatus {
    let mut brief = status.clone();
    brief.outputs.iter_mut().for_each(|output| output.preview = None);
    brief
}

/// As much of an annotation as is told.
const NAMED: usize = 100;

impl Controller {
    /// Says once that the run that is to be cancelled never was; nothing else comes of it. One that is over needs no word.
    pub(super) fn tell_of_no_such_run(&self, view: &FlowView, tracked: &mut Tracked) {
        let named: Option<String> = view.cancel.as_ref().map(|named| named.chars().take(NAMED).collect());
        let current = view.status.current_run.as_ref().map_or("", |run| &run.id);
        let newest = naming::run_number(current).unwrap_or(0);
        let number = |named: &String| naming::run_number(named).filter(|_| naming::run_uid(named) == view.uid);
        let never_was = |named: &String| !named.is_empty() && number(named).is_none_or(|number| number == 0 || number > newest);
        let named = named.filter(never_was);
        if named == tracked.no_such_run {
            return;
        }
        tracked.no_such_run.clone_from(&named);
        let Some(named) = named else { return };
        let message =
            format!("nothing is cancelled: annotation {} names {named:?}, which is no run of this flow", naming::CANCEL);
        tracing::warn!(flow = %view.key, message);
        let event = Event { warning: true, place: 0x1800, reason: "CancelIgnored".to_owned(), message };
        (self.tell)(Told { key: view.key.clone(), uid: view.uid.clone(), run: current.to_owned(), event });
    }
}

/// The status with the version that it was decided from: whoever wrote in between wins, and we look again.
fn body(view: &FlowView, status: &GleamFlowStatus) -> Value {
    json!({
        "apiVersion": Kind::GleamFlow.api_version(), "kind": "GleamFlow",
        "metadata": {
            "name": view.key.name, "namespace": view.key.namespace, "uid": view.uid, "resourceVersion": view.resource_version,
        },
        "status": status,
    })
}

/// Whether people and programs wait for it: more than numbers changed.
fn urgent(before: &GleamFlowStatus, after: &GleamFlowStatus) -> bool {
    let run = |status: &GleamFlowStatus| {
        let run = status.current_run.as_ref();
        run.map(|run| (run.id.clone(), run.completion_time.clone(), run.released))
    };
    let blocked = |status: &GleamFlowStatus| {
        let condition = status.conditions.iter().find(|condition| condition.type_ == "ExecutorsReady");
        let bad = condition.filter(|condition| condition.status == "False" && condition.reason != "Starting");
        bad.map(|condition| condition.reason.clone())
    };
    let accepted = |status: &GleamFlowStatus| {
        let condition = status.conditions.iter().find(|condition| condition.type_ == "Accepted");
        condition.map(|condition| (condition.status.clone(), condition.reason.clone()))
    };
    let shared = |status: &GleamFlowStatus| status.conditions.iter().any(|condition| condition.type_ == "OutputShared");
    // That a run has got under way is seen in time.
    let calm = |phase: Option<Phase>| matches!(phase, Some(Phase::Starting | Phase::Running | Phase::Committing));
    let phase = before.phase != after.phase && !(calm(before.phase) && calm(after.phase));
    before.observed_generation != after.observed_generation
        || phase
        || run(before) != run(after)
        || blocked(after).is_some() && blocked(before) != blocked(after)
        || accepted(before) != accepted(after)
        || shared(before) != shared(after)
        || before.history.len() != after.history.len()
}
