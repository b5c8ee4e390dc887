//! A master that pretends: work goes on while executors run; its truth about a run is shared by all leaders, as agents and record share it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use crds::status::{Output, StageStatus};
use proto::RunId;
use tokio::sync::broadcast;

use crate::master::api::{AgentState, KEPT, Progress, RESUMING, Recorder, RunPhase, RunSpec, Runs};
use crate::master::machine::event::OutputRequest;

/// What survives a leader.
#[derive(Clone, Debug, Default)]
pub(super) struct Truth {
    pub(super) done: u32,
    pub(super) committing: bool,
    pub(super) succeeded: bool,
    pub(super) failed: bool,
    /// How often what was done was lost again.
    pub(super) losses: u32,
    /// The steps that it was started with: a run never changes what it is.
    pub(super) steps: String,
}

/// Tasks of every run: the first half is of one stage, the others of another.
pub(super) const TASKS: u32 = 6;

/// How many executors a run has work for, once it is planned.
const USEFUL: u32 = 12;

pub(super) type Truths = Arc<Mutex<BTreeMap<String, Truth>>>;

/// What one leader's master knows of a run. Counts begin anew with each leader.
#[derive(Clone, Debug, Default)]
pub(super) struct Here {
    /// Looks until it has found out how far the run is.
    resuming: u32,
    /// Executors that are connected.
    pods: BTreeSet<String>,
    worked: u32,
}

/// One leader's master.
#[derive(Debug)]
pub(super) struct FakeMaster {
    pub(super) truths: Truths,
    pub(super) here: Mutex<BTreeMap<String, Here>>,
    pub(super) held: Mutex<BTreeMap<String, Option<OutputRequest>>>,
    changes: broadcast::Sender<RunId>,
}

impl FakeMaster {
    pub(super) fn new(truths: Truths) -> FakeMaster {
        FakeMaster { truths, here: Mutex::default(), held: Mutex::default(), changes: broadcast::channel(16).0 }
    }

    /// Executors of a run do a task.
    pub(super) fn work(&self, run: &str, pods: BTreeSet<String>, fails: bool) {
        let mut all = self.here.lock().unwrap();
        let Some(here) = all.get_mut(run) else { return };
        here.pods = pods;
        if here.resuming > 0 {
            here.resuming -= 1;
            return;
        }
        here.worked += 1;
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

    /// What a run has done is lost, in part.
    pub(super) fn lose(&self, run: &str) {
        let mut truths = self.truths.lock().unwrap();
        if let Some(truth) = truths.get_mut(run).filter(|truth| truth.done > 1 && !truth.committing && !truth.failed) {
            truth.done -= 1;
            truth.losses += 1;
        }
    }
}

/// Both stages of a run, as far as a master knows.
fn stages(done: u32, here: &Here) -> Vec<StageStatus> {
    let stage = |name: &str, done: u32| StageStatus {
        name: name.to_owned(),
        desired: TASKS / 2,
        succeeded: done,
        failed: here.worked / 3,
        retried: here.worked / 2,
        completed_partitions: if done > 0 { format!("0-{}", done - 1) } else { String::new() },
        ..StageStatus::default()
    };
    vec![stage("m1", done.min(TASKS / 2)), stage("m2", done.saturating_sub(TASKS / 2))]
}

impl Runs for FakeMaster {
    fn start(&self, run: RunSpec, _: Arc<dyn Recorder>) {
        let steps = serde_json::to_string(&run.spec.steps).unwrap();
        let mut truths = self.truths.lock().unwrap();
        let truth = truths.entry(run.id.to_string()).or_insert_with(|| Truth { steps: steps.clone(), ..Truth::default() });
        assert_eq!(truth.steps, steps, "run {} was taken up with other steps", run.id);
        let resuming = if truth.done > 0 && !truth.committing { 5 } else { 0 };
        drop(truths);
        self.here.lock().unwrap().entry(run.id.to_string()).or_insert_with(|| Here { resuming, ..Here::default() });
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
        let here = self.here.lock().unwrap().get(run.as_str())?.clone();
        let truths = self.truths.lock().unwrap();
        let truth = truths.get(run.as_str())?;
        let phase = match truth {
            Truth { succeeded: true, .. } => RunPhase::Succeeded,
            Truth { failed: true, .. } => RunPhase::Failed { reason: "UdfError".into(), message: "no".into() },
            Truth { committing: true, .. } => RunPhase::Committing,
            Truth { done: 0, .. } => RunPhase::Planning,
            Truth { .. } => RunPhase::Running,
        };
        let (slots, pods) = (u32::try_from(here.pods.len()).unwrap(), here.pods.iter().cloned().collect());
        let connected = Progress { phase, slots, pods, ..Progress::default() };
        if here.resuming > 0 {
            let waiting = Some((RESUMING.to_owned(), "a new leader looks around".to_owned()));
            return Some(Progress { waiting, known: TASKS, useful_slots: 1, ..connected });
        }
        let planned = truth.done > 0;
        let output =
            Output { step: "out".into(), location: KEPT.into(), preview: Some("row\n".repeat(1000)), ..Output::default() };
        Some(Progress {
            outputs: if truth.succeeded { vec![output] } else { Vec::new() },
            done: truth.done,
            known: TASKS,
            stages: if planned { stages(truth.done, &here) } else { Vec::new() },
            useful_slots: if planned { USEFUL } else { 1 },
            bytes_shuffled: u64::from(here.worked) * 100,
            set_aside: [("in".to_owned(), u64::from(here.worked))].into(),
            ..connected
        })
    }

    fn pod_gone(&self, run: &RunId, pod: &str, _: &str) {
        if let Some(here) = self.here.lock().unwrap().get_mut(run.as_str()) {
            here.pods.remove(pod);
        }
    }

    fn agents(&self) -> BTreeMap<String, AgentState> {
        let room = 1 << 30;
        let agent = AgentState { address: "a:1".into(), memory_used: 0, memory_limit: room, disk_used: 0, disk_limit: room };
        [("n".to_owned(), agent)].into()
    }

    fn changes(&self) -> broadcast::Receiver<RunId> {
        self.changes.subscribe()
    }
}
