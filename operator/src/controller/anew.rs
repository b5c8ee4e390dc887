//! A run that an earlier installation of Gleamflow began: its authority, lease and agents are gone with that, its executors know
//! nobody any more. It goes on from its record, with executors of its own.

use std::sync::Arc;

use proto::RunId;
use serde_json::Value;

use super::Controller;
use super::act::is_ours;
use super::papers::Due;
use super::track::Tracked;
use crate::manifest::run::{knows, new_papers};
use crate::master::api::{Entry, RecordError, Recorder};
use crate::naming;
use crate::record::{Place, RunRecorder, newest_term, raised};
use crate::server::{ApiError, Kind, Ref};
use crate::view::{FlowView, text};

/// More leaders than ever came and went without one word in a run's record: only the record tells of their terms.
const UNHEARD: u64 = 1024;

/// How many terms an earlier installation may have had.
pub(super) fn terms(record: &[Entry]) -> u64 {
    record.iter().rev().find_map(|entry| if let Entry::Anew { terms } = entry { Some(*terms) } else { None }).unwrap_or(0)
}

impl Controller {
    /// Where the run's executors know an authority that is no more: notes in the record that terms begin anew, has the executors go,
    /// and gives those that come papers of today. `false`: another leader is at it.
    pub(super) async fn begin_anew(
        &self,
        (view, run, base): (&FlowView, &RunId, &str),
        tracked: &mut Tracked,
        secret: &Value,
        record: &mut Vec<Entry>,
    ) -> Result<bool, ApiError> {
        let papers = (self.trust)(run).ok_or_else(|| ApiError::Unavailable("the authority is not ready".into()))?;
        if knows(secret, &papers.authority) {
            return Ok(true);
        }
        let namespace = &view.key.namespace;
        tracing::warn!(%run, "Gleamflow was installed anew while the run went on: its executors are replaced");
        // Where nothing is recorded, nothing was begun that could be taken for something else.
        if !record.is_empty() {
            tracked.requests += 2;
            let terms = newest_term(self.server.as_ref(), namespace, run).await?.max(terms(record)) + UNHEARD;
            let place = Place { flow: view.clone(), run: run.clone(), base: base.to_owned() };
            let recorder = RunRecorder::new(Arc::clone(&self.server), place, raised(&self.writer, terms));
            let entry = Entry::Anew { terms };
            match recorder.append(run, record.len(), &entry).await {
                Ok(()) => record.push(entry),
                Err(RecordError::Behind | RecordError::Superseded) => return Ok(false),
                Err(RecordError::Unavailable(why) | RecordError::Impossible(why)) => return Err(ApiError::Unavailable(why)),
            }
        }
        tracked.requests += 1;
        let labels = format!("{}={},{}={run}", naming::MANAGED_BY, naming::MANAGER, naming::RUN);
        let pods = self.server.list(Kind::Pod, namespace, &labels).await?;
        for pod in pods.iter().filter(|pod| is_ours(pod, view, run) && text(pod, "/metadata/deletionTimestamp").is_none()) {
            let part = |pointer| text(pod, pointer).unwrap_or_default();
            self.delete_pod(view, tracked, part("/metadata/name"), part("/metadata/uid")).await?;
        }
        // Last of all the papers: they tell that all of this is done.
        tracked.requests += 1;
        let object = new_papers(namespace, base, text(secret, "/metadata/uid").unwrap_or_default(), &papers);
        let renewed = self.server.apply(&Ref::new(Kind::Secret, namespace, &naming::secret(base)), false, &object).await?;
        tracked.due = Some(Due::of(&renewed));
        tracked.memory.anew = true;
        Ok(true)
    }
}
