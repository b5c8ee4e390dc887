//! What a run's executors are known by is renewed for as long as the run goes on, and never after.

use std::time::Duration;

use serde_json::Value;

use super::Controller;
use super::track::Tracked;
use crate::manifest::run::{new_papers, renewal};
use crate::naming;
use crate::server::{ApiError, Kind, Ref};
use crate::view::{FlowView, text};

/// After a renewal that failed.
const PAUSE: i64 = 5;

/// When the papers in a run's Secret are to be renewed, in seconds since 1970, and whose Secret it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Due {
    uid: String,
    at: i64,
}

impl Due {
    /// As a run's Secret says.
    pub(super) fn of(secret: &Value) -> Due {
        Due { uid: text(secret, "/metadata/uid").unwrap_or_default().to_owned(), at: renewal(secret) }
    }
}

impl Controller {
    /// Renews them if it is time; says when it is next.
    pub(super) async fn renew(&self, view: &FlowView, tracked: &mut Tracked) -> Option<Duration> {
        // Without a file the run is not taken up, or over.
        let (run, due) = match (&tracked.run, &tracked.file, &tracked.due) {
            (Some(run), Some(_), Some(due)) => (run.clone(), due.clone()),
            _ => return None,
        };
        let now = (self.clock)() / 1000;
        if due.at > now {
            return Some(Duration::from_secs((due.at - now).unsigned_abs()));
        }
        let next = match (self.trust)(&run) {
            None => now + PAUSE,
            Some(papers) => {
                let base = naming::run_base(&view.key.name, naming::run_number(run.as_str()).unwrap_or(0));
                let object = new_papers(&view.key.namespace, &base, &due.uid, &papers);
                tracked.requests += 1;
                let place = Ref::new(Kind::Secret, &view.key.namespace, &naming::secret(&base));
                match self.server.apply(&place, false, &object).await {
                    Ok(_) => papers.renew,
                    // The Secret is gone, and the run with it.
                    Err(ApiError::Conflict(_) | ApiError::NotFound(_)) => {
                        tracked.due = None;
                        return None;
                    }
                    Err(error) => {
                        tracing::warn!(%run, %error, "what the run's executors are known by could not be renewed");
                        now + PAUSE
                    }
                }
            }
        };
        tracked.due = Some(Due { at: next, ..due });
        Some(Duration::from_secs((next - now).max(1).unsigned_abs()))
    }
}
