//! A master that pretends: work goes on while executors run; its truth about a run is shared by all leaders, as agents and record share it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use proto::RunId;
use tokio::sync::broadcast;

use crate::master::api::{AgentState, Progress, Recorder, RunPhase, RunSpec, Runs};
use crate::master::machine::event::OutputRequest;

/// What survives a leader.
#[derive(Clone, Debug, Default)]
pub(super) struct Truth {
    pub(super) done: u32,
    pub(super) committing: bool,
    pub(super) succeeded: bool,
    pub(super) failed: bool,
    /// The steps that it was started with: a run never changes what it is.
    pub(super) steps: String,
}

/// Tasks of every run.
pub(super) const TASKS: u32 = 6;

pub(super) type Truths = Arc<Mutex<BTreeMap<String, Truth>>>;

/// One leader's master.
#[derive(Debug)]
pub(super) struct FakeMaster {
    pub(super) truths: Truths,
    pub(super) here: Mutex<BTreeSet<String>>,
    pub(super) held: Mutex<BTreeMap<String, Option<OutputRequest>>>,
    changes: broadcast::Sender<RunId>,
}

impl FakeMaster {
    pub(super) fn new(truths: Truths) -> FakeMaster {
        FakeMaster { truths, here: Mutex::default(), held: Mutex::default(), changes: broadcast::channel(16).0 }
    }

    /// Executors of a run do a task.
    pub(super) fn work(&self, run: &str, fails: bool) {
        if !self.here.lock().unwrap().contains(run) {
            return;
        }
        let mut truths = self.truths.lock().unwrap();
        let Some(truth) = truths.get_mut(run) else { return };
        if truth.succeeded || truth.failed {
            return;
        }
        if fails && !truth.committing {
            truth.failed = true;
        } else if truth.done < TASKS {
            truth.done += 1;
        } else if !truth.committing {
            truth.committing = true;
        } else {
            truth.succeeded = true;
        }
    }
}

impl Runs for FakeMaster {
    fn start(&self, run: RunSpec, _: Arc<dyn Recorder>) {
        let steps = serde_json::to_string(&run.spec.steps).unwrap();
        let mut truths = self.truths.lock().unwrap();
        let truth = truths.entry(run.id.to_string()).or_insert_with(|| Truth { steps: steps.clone(), ..Truth::default() });
        assert_eq!(truth.steps, steps, "run {} was taken up with other steps", run.id);
        drop(truths);
        self.here.lock().unwrap().insert(run.id.to_string());
    }

    fn stop(&self, run: &RunId, _: &str) {
        let committing = self.truths.lock().unwrap().get(run.as_str()).is_some_and(|truth| truth.committing);
        if !committing {
            self.here.lock().unwrap().remove(run.as_str());
        }
    }

    fn gone(&self, run: &RunId) {
        self.forget(run, false);
    }

    fn forget(&self, run: &RunId, _: bool) {
        self.here.lock().unwrap().remove(run.as_str());
    }

    fn hold(&self, run: &RunId, output: Option<OutputRequest>) {
        self.held.lock().unwrap().insert(run.to_string(), output);
    }

    fn progress(&self, run: &RunId) -> Option<Progress> {
        if !self.here.lock().unwrap().contains(run.as_str()) {
            return None;
        }
        let truths = self.truths.lock().unwrap();
        let truth = truths.get(run.as_str())?;
        let phase = match truth {
            Truth { succeeded: true, .. } => RunPhase::Succeeded,
            Truth { failed: true, .. } => RunPhase::Failed { reason: "UdfError".into(), message: "no".into() },
            Truth { committing: true, .. } => RunPhase::Committing,
            Truth { done: 0, .. } => RunPhase::Planning,
            Truth { .. } => RunPhase::Running,
        };
        Some(Progress {
            phase,
            done: truth.done,
            known: TASKS,
            useful_slots: if truth.done == 0 { 1 } else { 4 },
            bytes_shuffled: u64::from(truth.done) * 100,
            ..Progress::default()
        })
    }

    fn pod_gone(&self, _: &RunId, _: &str, _: &str) {}

    fn agents(&self) -> BTreeMap<String, AgentState> {
        let room = 1 << 30;
        let agent = AgentState { address: "a:1".into(), memory_used: 0, memory_limit: room, disk_used: 0, disk_limit: room };
        [("n".to_owned(), agent)].into()
    }

    fn changes(&self) -> broadcast::Receiver<RunId> {
        self.changes.subscribe()
    }
}
