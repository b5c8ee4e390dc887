//! What to do about a flow: all rules about objects, without I/O, clock or randomness.
//!
//! ```text
//! World { flow, pods, progress, memory, cluster, now } --decide--> Decision { status, actions, when to look again }
//! ```
//!
//! Truth is in the object's status, its pods and the run's record. [`Memory`] only saves requests and says what this process did;
//! a new leader begins with an empty one.

mod condition;
mod end;
pub mod event;
mod executors;
mod idle;
mod report;
mod running;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use crds::status::{GleamFlowStatus, Run};
use proto::RunId;

use crate::accept::Acceptance;
use crate::master::api::Progress;
use crate::naming;
use crate::view::{FlowKey, FlowView, PodView, Room};

pub use event::Event;
pub(crate) use executors::longer_each_time;

/// Everything that a decision looks at.
#[derive(Debug)]
pub struct World<'a> {
    /// Seconds since 1970.
    pub now: i64,
    pub flow: &'a FlowView,
    pub acceptance: &'a Acceptance,
    /// Pods that carry the flow's label and are controlled by this very object, of any run.
    pub pods: &'a [Arc<PodView>],
    /// How the current run stands; `None`: not taken up by this process.
    pub progress: Option<Progress>,
    pub memory: &'a Memory,
    pub cluster: &'a Surroundings,
}

/// What the cluster around a flow offers.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Agents that are connected.
    pub agents: usize,
    /// Why none is, in the cluster's own words, where that was asked.
    pub no_agents: Option<String>,
    /// What every node that takes executors has left, where nodes can be read.
    pub free: Option<Vec<Room>>,
    /// Nodes that are gone or do not answer.
    pub lost: std::collections::BTreeSet<String>,
    /// What an executor of this flow asks for.
    pub each: Room,
    /// Where executors find the operator, if that is no name.
    pub operator: Option<std::net::SocketAddr>,
    /// Another flow whose run writes where this one's does.
    pub shared: Option<Shared>,
}

/// Two runs that go on write to one place: what the one commits is replaced by the other, or lost in part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shared {
    pub step: String,
    pub path: String,
    pub flow: FlowKey,
    /// The other flow's step.
    pub its_step: String,
}

/// What this process did about a flow and cannot be read from the cluster (or not cheaply).
#[derive(Clone, Debug, Default)]
pub struct Memory {
    pub here: Here,
    /// When the run was taken up.
    pub taken_up: i64,
    /// The run's own Secret is gone, so that nobody can know what it was to do.
    pub lost: bool,
    /// An object of the run's name that is somebody else's, so that the run cannot be: what to do about it.
    pub taken: Option<String>,
    /// An earlier installation of Gleamflow began the run: its executors are replaced.
    pub anew: bool,
    /// What the run needs could not be made, so nothing of it was ever begun.
    pub unmade: bool,
    /// Since when there are more executors than the run has work for.
    pub surplus_since: Option<i64>,
    /// The API server refused a pod, or what a run needs.
    pub refused: Option<Refused>,
    /// The flow's namespace is being deleted: nothing can be made in it.
    pub terminating: bool,
    /// The last run that the master was told to forget, and whether it keeps the output.
    pub forgotten: Option<(String, bool)>,
    /// Runs whose leftovers are removed.
    pub tidied: Vec<String>,
}

/// What this process did about the current run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Here {
    #[default]
    Nothing,
    Started(String),
    Stopped(String),
}

/// Something that the API server would not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub reason: &'static str,
    /// The API server's own words.
    pub message: String,
    /// No sooner than then again.
    pub until: i64,
}

/// What is to be done. The status is written before any action is taken, and no action is taken if that fails.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    pub status: GleamFlowStatus,
    pub actions: Vec<Action>,
    /// Look again after so many seconds, whatever happens.
    pub again: Option<i64>,
}

/// A deed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Makes what the run needs (or reads what it has) and lets the master run it. `new`: this very decision begins it.
    Start {
        run: RunId,
        new: bool,
    },
    CreatePod {
        run: RunId,
        index: u32,
    },
    /// Deletes that very pod, not a later one of its name.
    DeletePod {
        name: String,
        uid: String,
    },
    /// A pod will never work again.
    PodGone {
        run: RunId,
        pod: String,
        why: String,
    },
    Stop {
        run: RunId,
        why: String,
    },
    Forget {
        run: RunId,
        keep_output: bool,
    },
    /// Removes what the run left: its Secret, NetworkPolicy, record, output.
    Tidy {
        run: RunId,
    },
    /// Starts to count, or stops to count, how long there are too many executors.
    Surplus {
        since: Option<i64>,
    },
}

/// Decides.
#[must_use]
pub fn decide(world: &World<'_>) -> Decision {
    let mut draft = Draft::new(world);
    match world.flow.status.current_run.clone() {
        _ if world.flow.deleting => draft.deleted(),
        // A copy of another object may come with that one's status: its run is not ours.
        Some(run) if run.completion_time.is_none() && naming::run_uid(&run.id) == world.flow.uid => draft.running(&run),
        _ => draft.idle(),
    }
    draft.finish()
}

/// A decision in the making.
struct Draft<'a> {
    world: &'a World<'a>,
    status: GleamFlowStatus,
    actions: Vec<Action>,
    again: Option<i64>,
}

impl<'a> Draft<'a> {
    fn new(world: &'a World<'a>) -> Draft<'a> {
        let mut draft = Draft { world, status: world.flow.status.clone(), actions: Vec::new(), again: None };
        if !world.flow.deleting {
            draft.status.observed_generation = world.flow.generation;
            draft.accepted();
        }
        draft
    }

    fn finish(mut self) -> Decision {
        self.status.failures.truncate(10);
        Decision { status: self.status, actions: self.actions, again: self.again }
    }

    /// Looks again in so many seconds, or sooner where that was said already.
    fn again(&mut self, seconds: i64) {
        let seconds = seconds.max(1);
        self.again = Some(self.again.map_or(seconds, |before| before.min(seconds)));
    }

    /// Looks again at a time.
    fn again_at(&mut self, time: i64) {
        self.again(time - self.world.now);
    }

    /// The object is going: its children go by their owner, the master is told, nothing is written.
    fn deleted(&mut self) {
        let Some(run) = self.world.flow.status.current_run.as_ref().and_then(|run| id(&run.id)) else { return };
        if self.world.progress.is_some() && self.world.memory.here != Here::Stopped(run.to_string()) {
            self.actions.push(Action::Stop { run, why: "the flow is deleted".to_owned() });
        }
    }

    /// The pods of a run, controlled by this object.
    fn pods(&self, run: &str) -> Vec<&'a PodView> {
        self.world.pods.iter().map(Arc::as_ref).filter(|pod| pod.run == run).collect()
    }

    /// Whether a pod's node is gone, so that nothing will come from it any more.
    fn is_lost(&self, pod: &PodView) -> bool {
        pod.node.as_ref().is_some_and(|node| self.world.cluster.lost.contains(node))
    }

    fn base(&self, run: &Run) -> String {
        naming::run_base(&self.world.flow.key.name, naming::run_number(&run.id).unwrap_or(0))
    }
}

/// The run's id as a checked type; an id in the status is our own.
fn id(run: &str) -> Option<RunId> {
    RunId::try_from(run.to_owned()).ok()
}
