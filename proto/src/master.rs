//! What executors, agents and the command line say to the operator, and what it answers.

use serde::{Deserialize, Serialize};

use plan::task::{Attempt, Done, Failed, Task};

use crate::codec::Packable;
use crate::{RunId, Term};

/// From a slot of an executor. A slot is one task at a time; its stream begins with `Hello`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FromSlot {
    Hello {
        run: RunId,
        pod: String,
        node: String,
        slot: u32,
        /// Random per process of the slot: tells a restarted one from one that reconnects.
        incarnation: u64,
        /// What it still works on, or has finished and could not report, after a lost connection.
        busy: Option<Attempt>,
    },
    /// At most once a second while a task runs.
    Progress {
        attempt: Attempt,
        rows: u64,
        bytes: u64,
    },
    /// The attempt's output is whole at `agent` (an address), and invisible until it is named.
    Done {
        attempt: Attempt,
        agent: String,
        done: Box<Done>,
    },
    Failed {
        attempt: Attempt,
        failed: Box<Failed>,
    },
    /// The pod is being taken down: no more tasks; what runs is handed back by `Failed` with [`plan::task::Fault::Stopped`].
    Draining,
}

/// To a slot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToSlot {
    /// The first answer to `Hello`, by the leader.
    Welcome { term: Term, settings: Settings },
    /// Not the leader: connect there instead; `None`: ask again in a moment.
    NotLeader { leader: Option<String> },
    /// What the tasks from now on are of; sent before the first of them. MessagePack of [`plan::Plan`], zstd-compressed.
    Plan {
        #[serde(with = "serde_bytes")]
        plan: Vec<u8>,
    },
    /// To do next; its output goes to the agent at `output`.
    Run { task: Box<Task>, output: String },
    /// Stop this attempt, if it still runs; answered by `Failed` with [`plan::task::Fault::Stopped`].
    Cancel { attempt: Attempt },
    /// The run is over or does not need the executor any more: end. Nothing may be sent after it.
    Leave { reason: String },
}

/// What all tasks of a run are given beside the plan.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Seeds `math.random` with step and partition.
    pub seed: u64,
    /// Memory of one slot, in bytes.
    pub memory: u64,
    /// `taskDeadlineSeconds`.
    pub task_deadline: Option<u32>,
    /// `partitions` of the run.
    pub partitions: Option<u32>,
    /// Where results of earlier runs are, if they are kept.
    #[serde(default)]
    pub results: Option<Results>,
}

/// Where a flow's persisted results are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Results {
    /// Whose they are: results are kept per flow.
    pub namespace: String,
    pub flow: String,
    /// How long after their last use; `None`: until somebody removes them.
    pub ttl_seconds: Option<u32>,
}

/// An agent asks for a certificate. Its projected service-account token (audience `gleamflow`) is in the request's metadata.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Enroll {
    /// A certificate signing request, PEM.
    pub csr: String,
    pub node: String,
    /// Where it serves, `address:port`.
    pub address: String,
}

/// What an agent gets.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Enrolled {
    /// Its certificate chain, PEM.
    pub certificate: String,
    /// Until then, in seconds since 1970; to be renewed at two thirds of the time.
    pub expires: u64,
    /// The authority, PEM (several while it changes).
    pub authority: String,
    /// Public keys that tokens are signed with; more than one while they change.
    pub keys: Vec<crate::token::PublicKey>,
    /// Names the agent in its beats.
    pub token: String,
}

impl std::fmt::Debug for Enrolled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Enrolled").field("expires", &self.expires).finish_non_exhaustive()
    }
}

/// Every two seconds from each agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Beat {
    pub node: String,
    pub address: String,
    /// Random per process: a restarted agent may have lost what it held in memory.
    pub incarnation: u64,
    pub memory_used: u64,
    pub memory_limit: u64,
    pub disk_used: u64,
    pub disk_limit: u64,
    /// The runs that it holds something of.
    pub runs: Vec<RunId>,
    /// Runs whose writers wait for room.
    pub waiting: Vec<RunId>,
}

/// The answer to a beat.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Orders {
    Leader {
        term: Term,
        /// Every run that may still need its outputs, the oldest first; what is held of others can go. `None`: not known yet.
        runs: Option<Vec<RunId>>,
        keys: Vec<crate::token::PublicKey>,
    },
    NotLeader {
        leader: Option<String>,
    },
}

/// The command line asks for rows of `write.stdout`. The caller's Kubernetes token is in the metadata.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutputRequest {
    pub namespace: String,
    pub flow: String,
    /// A `write` step; `None`: the only one.
    pub step: Option<String>,
    /// `None`: the last run.
    pub run: Option<RunId>,
}

impl Packable for OutputRequest {}
