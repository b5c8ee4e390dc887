//! One flow at a time: observe, decide, act, report. The same code runs against the API server and against the simulated one.

mod act;
mod anew;
mod fleet;
mod hanging;
mod outputs;
mod papers;
mod start;
mod status;
mod track;
mod upkeep;

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use proto::RunId;

use crate::authority::RunPapers;
use crate::cache::Cache;
use crate::config::Image;
use crate::decide::{Decision, Event, Surroundings, World, decide};
use crate::manifest;
use crate::master::api::Runs;
use crate::metrics::Metrics;
use crate::server::{ApiError, Kind, Ref, Server};
use crate::view::{FlowKey, FlowView};

pub use fleet::Fleet;
pub use outputs::Outputs;

use track::Tracked;

/// How long the cache may lag behind our own writes before it is read anew.
const LAG: i64 = 10;
/// The first and the longest wait after a request that got no answer.
const BACKOFF: Duration = Duration::from_millis(200);
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);
/// What goes wrong so many times, for some twelve seconds, is more than a bad moment: the flow's owner is told.
const TOLD_AFTER: u32 = 7;

/// An event to be told, best effort.
#[derive(Clone, Debug)]
pub struct Told {
    pub key: FlowKey,
    pub uid: String,
    pub run: String,
    pub event: Event,
}

/// When to look at a flow again, if nothing happens before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    Now,
    After(Duration),
    WhenSomethingHappens,
}

/// What executors of a run are known by, and whom they know; `None`: there is no authority.
pub type Trust = dyn Fn(&RunId) -> Option<RunPapers> + Send + Sync;
/// Milliseconds since 1970.
pub type Clock = dyn Fn() -> i64 + Send + Sync;

impl Again {
    /// Or earlier.
    fn at_most(self, other: Option<Duration>) -> Again {
        match (self, other) {
            (again, None) | (again @ Again::Now, Some(_)) => again,
            (Again::After(after), Some(other)) => Again::After(after.min(other)),
            (Again::WhenSomethingHappens, Some(other)) => Again::After(other),
        }
    }
}

/// What the controller needs.
pub struct Controller {
    pub server: Arc<dyn Server>,
    pub runs: Arc<dyn Runs>,
    pub cache: Arc<Mutex<Cache>>,
    pub trust: Box<Trust>,
    pub clock: Box<Clock>,
    /// Takes events; what it cannot take at once is dropped.
    pub tell: Box<dyn Fn(Told) + Send + Sync>,
    pub metrics: Arc<Metrics>,
    pub image: Image,
    /// The operator's own namespace, and where it is found (`host:port`).
    pub namespace: String,
    pub operator: String,
    /// This process in this term: tells our own record entries from those of other leaders.
    pub writer: String,
    pub flows: Mutex<HashMap<FlowKey, Tracked>>,
    pub outputs: Outputs,
    pub fleet: Fleet,
}

impl fmt::Debug for Controller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Controller").field("writer", &self.writer).finish_non_exhaustive()
    }
}

impl Controller {
    /// Looks at a flow and does what is to be done. Never for the same flow twice at a time.
    pub async fn reconcile(&self, key: &FlowKey) -> Again {
        let mut tracked = self.lock().remove(key).unwrap_or_default();
        let started = (self.clock)();
        let result = self.once(key, &mut tracked).await;
        self.metrics.reconciled((self.clock)() - started, result.is_err());
        let again = match result {
            Ok(again) => {
                tracked.errors = 0;
                again
            }
            Err(ApiError::Conflict(_) | ApiError::NotFound(_)) => self.refreshed(key, &mut tracked).await,
            Err(error) => {
                tracing::warn!(flow = %key, %error, "the flow is looked at again later");
                tracked.errors += 1;
                if tracked.errors == TOLD_AFTER && error != ApiError::NotLeading {
                    self.tell_of_trouble(key, &tracked, &error);
                }
                Again::After(backoff(tracked.errors))
            }
        };
        if tracked.live && !tracked.rests {
            self.lock().insert(key.clone(), tracked);
        }
        again
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<FlowKey, Tracked>> {
        self.flows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The cache, for as long as no await.
    pub fn cached<T>(&self, look: impl FnOnce(&mut Cache) -> T) -> T {
        look(&mut self.cache.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn once(&self, key: &FlowKey, tracked: &mut Tracked) -> Result<Again, ApiError> {
        let now = (self.clock)() / 1000;
        let Some(object) = self.cached(|cache| cache.flow(key)) else {
            self.vanished(tracked);
            self.outputs.forget(key);
            return Ok(Again::WhenSomethingHappens);
        };
        let view = FlowView::read(&object).map_err(|error| ApiError::Invalid(format!("{key}: {error}")))?;
        if tracked.uid != view.uid {
            self.vanished(tracked);
            *tracked = Tracked::of(&view.uid);
        }
        tracked.live = true;
        tracked.rests = false;
        if let Some(again) = self.behind(key, tracked, now).await? {
            return Ok(again);
        }
        self.follow_run(&view, tracked);
        if view.status.current_run.as_ref().is_some_and(|run| run.completion_time.is_some()) {
            tracked.file = None;
        }
        self.check(&view, tracked, now).await?;
        self.tell_of_no_such_run(&view, tracked);
        let hanging = self.look_at_hanging(&view, tracked, now).await;
        let no_agents = self.no_agents(&view, tracked, now).await;
        let decision = self.decided(&view, tracked, now, no_agents);
        let again = self.carry_out(&view, tracked, decision).await?;
        let renewal = self.renew(&view, tracked).await;
        let upkeep = self.keep_up(&view, tracked).await;
        let goes_on = tracked.run.as_ref().is_some_and(|run| self.runs.progress(run).is_some());
        tracked.rests = !goes_on && tracked.is_at_rest(&view);
        Ok(again.at_most(hanging).at_most(renewal).at_most(upkeep))
    }

    fn decided(&self, view: &FlowView, tracked: &mut Tracked, now: i64, no_agents: Option<String>) -> Decision {
        let pods = tracked.hanging.explained(self.cached(|cache| cache.pods(&view.key, &view.uid)));
        let run = view.status.current_run.as_ref();
        tracked.notice(&pods, run.map_or("", |run| &run.id), |run, pod| self.runs.pod_gone(run, pod, "the pod was deleted"));
        let progress = tracked.run.as_ref().and_then(|run| self.runs.progress(run));
        let acceptance = tracked.acceptance();
        let shared = self.outputs.noted(view, &acceptance);
        let cluster = Surroundings { shared, no_agents, ..self.surroundings(view, &pods) };
        decide(&World {
            now,
            flow: view,
            acceptance: &acceptance,
            pods: &pods,
            progress,
            memory: &tracked.memory,
            cluster: &cluster,
        })
    }

    fn surroundings(&self, view: &FlowView, pods: &[Arc<crate::view::PodView>]) -> Surroundings {
        let nodes: BTreeSet<&String> = pods.iter().filter_map(|pod| pod.node.as_ref()).collect();
        let (free, lost) = self.cached(|cache| {
            let lost = nodes.into_iter().filter(|node| cache.is_lost(node)).cloned().collect();
            (cache.free(), lost)
        });
        let each = view.spec.as_ref().map(|spec| manifest::pod::room(&spec.executors)).unwrap_or_default();
        let operator = self.operator.parse().ok();
        Surroundings { agents: self.runs.agents().len(), free, lost, each, operator, ..Surroundings::default() }
    }

    /// Until the cache shows what we wrote, nothing is decided by it. After a while it is read anew instead.
    async fn behind(&self, key: &FlowKey, tracked: &mut Tracked, now: i64) -> Result<Option<Again>, ApiError> {
        self.cached(|cache| tracked.expected.retain(|(expected, _)| !cache.shows(key, expected)));
        let Some(oldest) = tracked.expected.iter().map(|(_, since)| *since).min() else { return Ok(None) };
        self.metrics.stale();
        if now - oldest < LAG {
            // Whatever it waits for comes with an event; this is for when that event is lost.
            return Ok(Some(Again::After(Duration::from_secs(1))));
        }
        self.refresh(key).await?;
        tracked.expected.clear();
        Ok(Some(Again::Now))
    }

    /// Reads a flow and its pods past the cache.
    async fn refresh(&self, key: &FlowKey) -> Result<(), ApiError> {
        let flow = match self.server.get(&Ref::new(Kind::GleamFlow, &key.namespace, &key.name)).await {
            Ok(flow) => Some(flow),
            Err(ApiError::NotFound(_)) => None,
            Err(error) => return Err(error),
        };
        let labels = format!("{}={}", crate::naming::FLOW, crate::naming::flow_part(&key.name));
        let pods = self.server.list(Kind::Pod, &key.namespace, &labels).await?;
        self.cached(|cache| cache.refresh(key, flow, pods));
        Ok(())
    }

    async fn refreshed(&self, key: &FlowKey, tracked: &mut Tracked) -> Again {
        tracked.errors += 1;
        match self.refresh(key).await {
            Ok(()) => {
                tracked.expected.clear();
                if tracked.errors < 3 { Again::Now } else { Again::After(backoff(tracked.errors)) }
            }
            Err(error) => {
                tracing::warn!(flow = %key, %error, "how the flow stands could not be read anew");
                Again::After(backoff(tracked.errors))
            }
        }
    }

    /// The flow is gone: so is its run.
    fn vanished(&self, tracked: &mut Tracked) {
        if let Some(run) = tracked.run.take() {
            self.runs.gone(&run);
        }
        tracked.live = false;
    }
}

fn backoff(errors: u32) -> Duration {
    BACKOFF.saturating_mul(2_u32.saturating_pow(errors.saturating_sub(1).min(16))).min(LONGEST_BACKOFF)
}
