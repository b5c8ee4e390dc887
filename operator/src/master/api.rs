//! What the controller of objects and the master say to each other.

use std::collections::{BTreeMap, BTreeSet};

use plan::task::{Attempt, Manifest, MapTask, TaskId};
use proto::RunId;

use super::machine::event::OutputRequest;
use serde::{Deserialize, Serialize};

/// A run to be started or, by a new leader, taken up again.
#[derive(Clone, Debug)]
pub struct RunSpec {
    pub id: RunId,
    pub namespace: String,
    pub flow: String,
    /// The flow as it was when the run began, `luaFrom` resolved into `lua`.
    pub spec: crds::GleamFlowSpec,
    /// The seed of the run: the same for every attempt and leader.
    pub seed: u64,
    /// Memory of one slot in bytes: from the executors' limits, or the operator's default.
    pub slot_memory: u64,
    /// What was recorded so far, in order; empty for a new run.
    pub record: Vec<Entry>,
}

/// One entry of a run's record. Each is stored before it is acted on, and never changes: a new leader continues the same plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Entry {
    /// What the sources turned out to be, and the plan made from it (MessagePack, zstd).
    Planned {
        #[serde(with = "serde_bytes")]
        plan: Vec<u8>,
        partitions: Option<u32>,
        slots: u32,
    },
    /// The splits of a stage's sources.
    Split { stage: plan::MscrId, splits: BTreeMap<plan::NodeId, Vec<plan::task::Split>> },
    /// How the reduce tasks of a group were cut, and what there is to tell about it.
    Cut {
        group: plan::NodeId,
        cut: Cut,
        #[serde(default)]
        told: Option<plan::Decision>,
    },
    /// Whether a join that could switch to a broadcast does so, now that its small sides are measured, and why.
    Switch { group: plan::NodeId, told: plan::Decision },
    /// Rows that an indeterminate step made are gone, and others have been read: attempts of these tasks up to number `above`
    /// are void for ever, but for those in `except`. Voids the splits, cuts and switches of the tasks that are void, too.
    Redo { sets: BTreeSet<TaskSet>, above: u32, except: BTreeSet<Attempt> },
    /// What became of a persisted collection that was to outlive the run: how much was kept, or why it was not.
    Kept { collection: plan::CollectionId, outcome: Result<plan::task::Size, String> },
    /// Standard output is too much to be kept in a Secret: where it stays, on the agents. The last one counts.
    Output { at: OutputRequest },
    /// Gleamflow was installed anew while the run went on, so that terms begin anew: from here on a leader's term counts as so much
    /// higher, above all that there were before. The last one counts.
    Anew { terms: u64 },
    /// All sinks are staged: from here on the run only rolls forward.
    Committing { manifest: Manifest },
    /// The run ends without its output, and what it has staged is removed. Of this and `Committing` there is only one: whoever
    /// writes its place in the record first decides, and a leader that comes late with the other is superseded.
    Ended { reason: String, message: String },
}

/// Tasks that stand and fall together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TaskSet {
    /// The listing of a stage's sources.
    Split(plan::MscrId),
    /// All map tasks of a stage.
    Maps(plan::MscrId),
    /// All reduce tasks of a group.
    Reduces(plan::NodeId),
    Operate(plan::NodeId),
    /// A single task.
    One(TaskId),
}

/// How a shuffle is shared by its reduce tasks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cut {
    /// First bucket and end (exclusive) of each task.
    Buckets(Vec<(u32, u32)>),
    /// Bounds between the ranges: one fewer than tasks.
    Places(Vec<plan::task::Place>),
    /// What each task takes, where large buckets are split.
    Shares(Vec<Taken>),
}

/// What one reduce task takes of a shuffle in buckets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Taken {
    /// Whole buckets.
    Buckets { first: u32, end: u32 },
    /// The keys of a bucket that belong to one of its parts.
    ByKey { bucket: u32, part: u32, of: u32 },
    /// Of a bucket of a join: of the rows from these channels (one leg's) those that mappers from `first` on (up to `end`, exclusive)
    /// made; and all rows of the other legs.
    ByMaker { bucket: u32, channels: BTreeSet<usize>, first: MapTask, end: Option<MapTask> },
}

impl Taken {
    /// Whether a piece of a bucket is read.
    #[must_use]
    pub fn reads(&self, of: u32, from: &MapTask) -> bool {
        match self {
            Taken::Buckets { first, end } => (first..end).contains(&&of),
            Taken::ByKey { bucket, .. } => *bucket == of,
            Taken::ByMaker { bucket, channels, first, end } => {
                let ours = from >= first && end.as_ref().is_none_or(|end| from < end);
                *bucket == of && (ours || !channels.contains(&from.channel))
            }
        }
    }
}

/// Where a run's record is kept: an owned object in the flow's namespace.
#[tonic::async_trait]
pub trait Recorder: Send + Sync + std::fmt::Debug {
    /// Appends an entry; done when it is stored. `at` is the number of entries before it: a second writer of the same place
    /// is refused, unless it writes the very same entry (a write whose answer was lost is tried again).
    async fn append(&self, run: &RunId, at: usize, entry: &Entry) -> Result<(), RecordError>;
    /// All entries there are now, in order.
    async fn read(&self, run: &RunId) -> Result<Vec<Entry>, RecordError>;
    /// Keeps the rows of `write.stdout` (at most 1 MiB in all) where they survive any node, in place of what this leader or one
    /// before it has kept.
    async fn keep_output(&self, run: &RunId, output: &BTreeMap<String, Vec<u8>>) -> Result<(), KeepError>;
}

/// Standard output could not be kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeepError {
    /// Somebody else leads now.
    #[error("another leader has kept the output of this run")]
    Superseded,
    /// To be tried again.
    #[error("the output of the run could not be written: {0}")]
    Unavailable(String),
    /// It cannot be stored, ever (namespace going away, forbidden).
    #[error("the output of the run cannot be kept: {0}")]
    Impossible(String),
}

/// An entry could not be stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Somebody else leads now.
    #[error("another leader has written this record")]
    Superseded,
    /// A leader before us has written this place after we read the record: it is to be read again.
    #[error("an earlier leader's entry came late")]
    Behind,
    /// To be tried again.
    #[error("the run record could not be written: {0}")]
    Unavailable(String),
    /// It cannot be stored, ever (too large, namespace going away, forbidden).
    #[error("the run record cannot be kept: {0}")]
    Impossible(String),
}

/// How a run stands, for its object's status. Complete: nothing of an earlier one needs to be kept.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    pub phase: RunPhase,
    /// Tasks done and tasks known so far.
    pub done: u32,
    pub known: u32,
    pub stages: Vec<crds::status::StageStatus>,
    /// How many slots could work now; the controller makes executors for them within the flow's bounds and the nodes' room.
    pub useful_slots: u32,
    /// Slots that are connected, and the executors (pods) that they belong to.
    pub slots: u32,
    pub pods: Vec<String>,
    pub bytes_shuffled: u64,
    /// At most 10, the newest first.
    pub failures: Vec<crds::status::Failure>,
    pub outputs: Vec<crds::status::Output>,
    /// Rows set aside by `onError`, per step, where any.
    pub set_aside: BTreeMap<String, u64>,
    /// What became of results that outlive the run.
    pub persisted: Vec<crds::status::Persisted>,
    /// What was decided when sizes were known.
    pub decisions: Vec<crds::status::Decided>,
    /// Why nothing moves, where nothing does: a condition's reason and message (no agents, no room for shuffles, ...).
    pub waiting: Option<(String, String)>,
}

/// [`crds::status::Output::location`] of standard output that [`Recorder::keep_output`] keeps; the controller puts the Secret's name
/// in its place.
pub const KEPT: &str = "Secret";
/// The same, of standard output that is too large for that and stays on the agents.
pub const NODE_LOCAL: &str = "NodeLocal";
/// So much standard output of a run is kept in all, in bytes.
pub const OUTPUT_LIMIT: u64 = 1 << 20;

/// The reason of [`Progress::waiting`] while a new leader's master finds out how far a run is.
pub const RESUMING: &str = "Resuming";

/// Where a run is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RunPhase {
    /// Looks at sources, plans.
    #[default]
    Planning,
    Running,
    /// Only rolls forward.
    Committing,
    Succeeded,
    /// Reason (as of the condition `Failed`: UdfError, BackoffLimitExceeded (what a flow reads or writes cannot be had, or executors
    /// were lost again and again), DataLost, Invalid, Stalled, ...) and message.
    Failed {
        reason: String,
        message: String,
    },
}

impl RunPhase {
    /// Whether nothing can change it any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self, RunPhase::Succeeded | RunPhase::Failed { .. })
    }
}

/// The master as the controller sees it. All calls return at once.
pub trait Runs: Send + Sync + std::fmt::Debug {
    /// Starts a run, or takes it up again from its record; does nothing if it goes on already.
    fn start(&self, run: RunSpec, recorder: std::sync::Arc<dyn Recorder>);
    /// Stops a run (cancelled, deleted, suspended, past a deadline): its slots leave, its pieces and staged files go.
    /// A run that is `Committing` goes on to its end instead.
    fn stop(&self, run: &RunId, why: &str);
    /// The flow of a run is deleted: the run is stopped, and forgotten once it is over (or a minute later): what it has begun to
    /// commit is committed, what it has staged goes.
    fn gone(&self, run: &RunId);
    /// Forgets a run whose end is recorded; its pieces go, unless `keep_output` says that agents still hold its stdout.
    fn forget(&self, run: &RunId, keep_output: bool);
    /// A run that is over, and not started here, has standard output on the agents, which is to stay there; `None`: it is not known
    /// where.
    fn hold(&self, run: &RunId, output: Option<OutputRequest>);
    /// How a run stands; `None`: not started here.
    fn progress(&self, run: &RunId) -> Option<Progress>;
    /// A pod of a run is gone (deleted, failed, its node lost), for this reason: its slots are too.
    fn pod_gone(&self, run: &RunId, pod: &str, why: &str);
    /// Agents that are connected now, by node, with how much they can take.
    fn agents(&self) -> BTreeMap<String, AgentState>;
    /// Told whenever the progress of any run changed (at most once a second per run, at once at its end).
    fn changes(&self) -> tokio::sync::broadcast::Receiver<RunId>;
}

/// An agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentState {
    pub address: String,
    pub memory_used: u64,
    pub memory_limit: u64,
    pub disk_used: u64,
    pub disk_limit: u64,
}
