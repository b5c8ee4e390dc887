//! A flow as it changes, whatever becomes of the connection: versions of it until it is deleted.

use std::time::Duration;

use anyhow::anyhow;
use crds::GleamFlow;
use futures::StreamExt;
use futures::stream::BoxStream;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt, watcher};

use super::Cluster;
use super::patience::{self, LONGEST, Patience, SHORTEST};
use crate::failure::Failure;

/// After so long without a word the flow is read: a watch whose connection died says nothing either.
const SILENCE: Duration = Duration::from_secs(30);

/// Pauses between attempts, each longer.
struct Pauses(Option<Duration>);

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = self.0.map_or(SHORTEST, |last| (last * 2).min(LONGEST));
        self.0 = Some(pause);
        Some(pause)
    }
}

impl Backoff for Pauses {
    fn reset(&mut self) {
        self.0 = None;
    }
}

fn changes<'c>(cluster: &Cluster, name: &str) -> BoxStream<'c, watcher::Result<Event<GleamFlow>>> {
    let options = watcher::Config::default().fields(&format!("metadata.name={name}"));
    watcher(cluster.flows(), options).backoff(Pauses(None)).boxed()
}

/// Follows a flow.
pub(crate) struct Following<'c> {
    cluster: &'c Cluster,
    name: String,
    events: BoxStream<'c, watcher::Result<Event<GleamFlow>>>,
    patience: Patience,
    /// Whether the list that is being read has it.
    is_listed: bool,
}

impl<'c> Following<'c> {
    pub(crate) fn new(cluster: &'c Cluster, name: &str) -> Following<'c> {
        let events = changes(cluster, name);
        let patience = Patience::new(patience::FOLLOWING, &format!("follow flow {name:?}"));
        Following { cluster, name: name.to_owned(), events, patience, is_listed: false }
    }

    /// The next version.
    pub(crate) async fn next(&mut self) -> Result<GleamFlow, Failure> {
        loop {
            let event = match tokio::time::timeout(SILENCE, self.events.next()).await {
                Ok(Some(event)) => event,
                // A flow that is gone is said here too.
                Err(_) => return self.cluster.flow(&self.name).await,
                Ok(None) => return Err(Failure::System(anyhow!("the watch of flow {:?} has ended", self.name))),
            };
            match event {
                Ok(event) => {
                    self.patience.renew();
                    if let Some(flow) = self.take(event)? {
                        return Ok(flow);
                    }
                }
                Err(error) => self.bear(error)?,
            }
        }
    }

    fn take(&mut self, event: Event<GleamFlow>) -> Result<Option<GleamFlow>, Failure> {
        match event {
            Event::Init => self.is_listed = false,
            Event::InitApply(flow) | Event::Apply(flow) => {
                self.is_listed = true;
                return Ok(Some(flow));
            }
            Event::InitDone if self.is_listed => {}
            Event::InitDone | Event::Delete(_) => {
                return Err(Failure::System(anyhow!("flow {:?} was deleted", self.name)));
            }
        }
        Ok(None)
    }

    /// The stream begins again by itself after any error, later each time.
    fn bear(&mut self, error: watcher::Error) -> Result<(), Failure> {
        let error = match error {
            watcher::Error::InitialListFailed(error)
            | watcher::Error::WatchStartFailed(error)
            | watcher::Error::WatchFailed(error) => error,
            // The server ends a watch, mostly because it has forgotten where we are: that is why it is begun anew.
            watcher::Error::WatchError(status) if !matches!(status.code, 401 | 403 | 404) => {
                return self.passing(kube::Error::Api(status));
            }
            watcher::Error::WatchError(status) => kube::Error::Api(status),
            error @ watcher::Error::NoResourceVersion => return Err(super::system(error, "follow the flow")),
        };
        let expired = matches!(&error, kube::Error::Api(status) if status.code == 410);
        if expired {
            // The stream would ask for the same version again.
            self.events = changes(self.cluster, &self.name);
        }
        if expired || patience::passes(&error) {
            return self.passing(error);
        }
        Err(self.cluster.told(error, &format!("follow flow {:?}", self.name)))
    }

    fn passing(&mut self, error: kube::Error) -> Result<(), Failure> {
        if self.patience.lasts(&patience::words(&error)) {
            return Ok(());
        }
        Err(self.cluster.told(error, &format!("follow flow {:?}", self.name)))
    }
}
