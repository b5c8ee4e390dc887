//! Where the master of tasks meets the process: what it is given, and what it gives.

use std::collections::BTreeMap;
use std::sync::Arc;

use proto::RunId;
use tokio::sync::broadcast;
use tonic::transport::server::{Router, Server};

use super::Process;
use crate::authority::Authority;
use crate::master::api::{AgentState, Progress, Recorder, RunPhase, RunSpec, Runs};
use crate::review::Reviewer;

/// The master, as the process holds it.
pub(crate) trait Master: Send + Sync + std::fmt::Debug {
    fn runs(&self) -> Arc<dyn Runs>;
    /// Adds the gRPC service; called once, when there is an authority.
    fn serve(&self, server: Server, trust: Arc<Authority>, reviewer: Arc<Reviewer>) -> Router;
}

/// Makes it.
pub(crate) fn master(_process: &Process) -> Arc<dyn Master> {
    Arc::new(Unmastered { changes: broadcast::channel(16).0 })
}

/// Stands where the master of tasks will: every run fails, and says why. Never part of an image.
#[derive(Debug)]
struct Unmastered {
    changes: broadcast::Sender<RunId>,
}

impl Master for Unmastered {
    fn runs(&self) -> Arc<dyn Runs> {
        Arc::new(Unmastered { changes: self.changes.clone() })
    }

    fn serve(&self, mut server: Server, _trust: Arc<Authority>, _reviewer: Arc<Reviewer>) -> Router {
        server.add_routes(tonic::service::Routes::default())
    }
}

impl Runs for Unmastered {
    fn start(&self, run: RunSpec, _recorder: Arc<dyn Recorder>) {
        let _ = self.changes.send(run.id);
    }

    fn stop(&self, _run: &RunId, _why: &str) {}

    fn forget(&self, _run: &RunId, _keep_output: bool) {}

    fn progress(&self, _run: &RunId) -> Option<Progress> {
        let message = "this operator was built without the master of tasks".to_owned();
        Some(Progress { phase: RunPhase::Failed { reason: "Invalid".to_owned(), message }, ..Progress::default() })
    }

    fn pod_gone(&self, _run: &RunId, _pod: &str, _why: &str) {}

    fn agents(&self) -> BTreeMap<String, AgentState> {
        BTreeMap::new()
    }

    fn changes(&self) -> broadcast::Receiver<RunId> {
        self.changes.subscribe()
    }
}
