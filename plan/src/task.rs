//! Tasks: what the master hands to a slot, and what comes back. The unit of retry, placement and recovery.
//!
//! ```text
//! Plan --Schedule--> units --sizes, splits--> Task --slot--> Done { pieces, rows, ... }
//! ```
//!
//! A task reads splits of sources or pieces that earlier tasks left, and leaves pieces of its own. What an attempt of a task
//! left counts only once the master named that attempt the task's winner. Tasks are data: nothing here does I/O.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{CollectionId, InputFile, MscrId, NodeId, Recipe, Source};

/// Names a task within its run; the same in every plan of the same flow, so that a new master finds what an old one began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TaskId {
    /// Looks at the sources before the flow can be planned.
    Inspect,
    /// Looks up which results of earlier runs are there, before the flow can be planned.
    LookUp,
    /// Lists the splits of a stage's sources.
    Split {
        stage: MscrId,
    },
    /// The `at`-th map task of a stage.
    Map {
        stage: MscrId,
        at: u32,
    },
    /// The `at`-th reduce task of a group.
    Reduce {
        stage: MscrId,
        group: NodeId,
        at: u32,
    },
    Operate {
        node: NodeId,
    },
    /// Keeps a persisted collection for later runs.
    Keep {
        collection: CollectionId,
    },
    /// Stages what all sinks get, and writes the manifest.
    Stage,
    /// Makes the staged output visible; can be run again at any time.
    Commit,
    /// Removes what an aborted run staged; can be run again at any time.
    Discard,
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TaskId::Inspect => f.write_str("inspect"),
            TaskId::LookUp => f.write_str("look-up"),
            TaskId::Keep { collection } => write!(f, "keep.{collection}"),
            TaskId::Split { stage } => write!(f, "{stage}.split"),
            TaskId::Map { stage, at } => write!(f, "{stage}.map.{at}"),
            TaskId::Reduce { stage, group, at } => write!(f, "{stage}.{group}.reduce.{at}"),
            TaskId::Operate { node } => write!(f, "operate.{node}"),
            TaskId::Stage => f.write_str("stage"),
            TaskId::Commit => f.write_str("commit"),
            TaskId::Discard => f.write_str("discard"),
        }
    }
}

/// Which mapper of a stage made something: the order in which reducers read (channel, read collection, split).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MapTask {
    pub channel: usize,
    pub read: usize,
    pub split: usize,
}

/// One attempt of a task. Attempts count from 1 and never repeat within a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Attempt {
    pub task: TaskId,
    pub number: u32,
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.task, self.number)
    }
}

/// What a slot is to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    pub attempt: Attempt,
    /// Its number among its siblings, and how many they are: seeds `math.random`, numbers what it writes.
    pub place: (u32, u32),
    pub work: Work,
    /// Addresses of agents; [`Held::agent`] counts in it.
    pub agents: Vec<String>,
    /// Every side input (and small side of a broadcast join) that its steps use, whole.
    pub sides: BTreeMap<CollectionId, Vec<Held>>,
    /// How many buckets each group has that it feeds; a sort's rows go into runs instead and need none.
    pub buckets: BTreeMap<NodeId, u32>,
    /// The widest row of each leg of the joins that it reduces, or whose tables it has, in value fields.
    pub widths: BTreeMap<NodeId, Vec<u32>>,
    /// Of the joins that have switched to a broadcast, and whose large side it makes: the shuffled rows of the small sides.
    #[serde(default)]
    pub tables: BTreeMap<NodeId, Vec<Held>>,
}

/// The kinds of work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Work {
    /// By read step; `versions`: those of which it must be known, too, which version of their files is there. Answered with
    /// [`Answer::Facts`].
    Inspect {
        sources: Vec<(String, Source)>,
        #[serde(default)]
        versions: Vec<(String, Source)>,
    },
    /// Whether these results of earlier runs are there. Answered with [`Answer::Found`].
    LookUp {
        recipes: Vec<Recipe>,
    },
    /// Keeps a result for later runs: its parts, in order. Answered with [`Answer::Kept`].
    Keep {
        recipe: Recipe,
        parts: Vec<Vec<Held>>,
    },
    /// Lists the splits of the read nodes that a stage reads; `paths`: the stored rows that name files, per node.
    /// Answered with [`Answer::Splits`].
    Split {
        stage: MscrId,
        wanted: Wanted,
        paths: BTreeMap<NodeId, Vec<Held>>,
    },
    Map {
        stage: MscrId,
        from: MapTask,
        collection: CollectionId,
        input: MapInput,
    },
    Reduce {
        stage: MscrId,
        group: NodeId,
        input: ReduceInput,
    },
    Operate {
        node: NodeId,
    },
    /// Per write step the pieces to be written, in order. Answered with [`Answer::Staged`].
    Stage {
        sinks: BTreeMap<String, Vec<Held>>,
    },
    Commit {
        manifest: Manifest,
    },
    Discard {
        manifest: Option<Manifest>,
    },
}

/// How sources are to be split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// `partitions` of the run, for sources that do not say themselves.
    pub partitions: Option<u32>,
    /// Slots that will read them.
    pub slots: u32,
}

/// What a map task reads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum MapInput {
    /// One split of a read node: its rows, or what it sets aside of them.
    Split { node: NodeId, split: Split, letters: bool },
    /// Rows that earlier tasks stored.
    Stored { pieces: Vec<Held> },
    /// A source without files still has one partition: a pipe runs for it.
    Nothing,
}

/// A part of a source, as the engine wrote it; opaque to all others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    #[serde(with = "serde_bytes")]
    pub encoded: Vec<u8>,
    /// Bytes of its files, as stored.
    pub bytes: u64,
}

/// What a reduce task reads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ReduceInput {
    /// Whole buckets, in bucket order, within a bucket in [`MapTask`] order.
    Buckets { pieces: Vec<Held> },
    /// One part of the keys of a bucket: of the rows of these pieces those that [`part_of`](crate::schedule::part_of) gives it.
    Part { pieces: Vec<Held>, part: u32, of: u32 },
    /// Rows of sorted runs from one place on (inclusive) to another (exclusive); `None`: from the first, to the last.
    Range { runs: Vec<Held>, lower: Option<Place>, upper: Option<Place> },
}

/// Where a row stands in a sort's order: the engine's encoding of its key, perhaps cut; compares bytewise.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Place(#[serde(with = "serde_bytes")] pub Vec<u8>);

/// A piece of a winner's output, and which agent holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Counts in [`Task::agents`].
    pub agent: u32,
    pub attempt: Attempt,
    /// Counts in [`Done::pieces`] of that attempt.
    pub piece: u32,
    /// Frames from `first` on, up to `end` (exclusive).
    pub first: u32,
    pub end: u32,
}

/// What a task did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Done {
    /// What it left at its agent, by piece number.
    pub pieces: Vec<Piece>,
    /// Rows of each collection that passed through it.
    pub rows: BTreeMap<CollectionId, u64>,
    /// What each step did.
    pub steps: BTreeMap<String, StepCount>,
    /// What it saw of each leg of the joins that it fed.
    #[serde(default)]
    pub legs: BTreeMap<NodeId, Vec<Leg>>,
    /// By piece number: the [`mark`](crate::schedule::mark)s of some of its rows' keys, where its bucket may be split by key.
    #[serde(default)]
    pub marks: BTreeMap<u32, Vec<u32>>,
    pub answer: Option<Answer>,
}

/// What a shuffle has seen of one leg of a join.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leg {
    pub rows: u64,
    /// Of encoded rows.
    pub bytes: u64,
    /// Value fields of the widest row.
    pub width: u32,
    /// Whether some key could be shown in another way by an equal one (4.0 by 4).
    pub odd: bool,
}

impl Leg {
    /// Both together.
    pub fn add(&mut self, other: Leg) {
        self.rows = self.rows.saturating_add(other.rows);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.width = self.width.max(other.width);
        self.odd |= other.odd;
    }

    /// Adds what was seen elsewhere, leg by leg.
    pub fn add_all(legs: &mut Vec<Leg>, others: &[Leg]) {
        legs.resize(legs.len().max(others.len()), Leg::default());
        legs.iter_mut().zip(others).for_each(|(leg, other)| leg.add(*other));
    }
}

/// What a step did in a task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepCount {
    /// Bytes read, written or shuffled.
    pub bytes: u64,
    pub spilled: u64,
    /// Rows that `onError` set aside.
    pub set_aside: u64,
}

/// A piece of an output: a sequence of frames (batches).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    pub name: PieceName,
    pub rows: u64,
    /// Encoded rows, before compression.
    pub bytes: u64,
    pub frames: u32,
}

/// What a piece is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum PieceName {
    /// Rows of a group's shuffle.
    Bucket { group: NodeId, bucket: u32, from: MapTask },
    /// A sorted run of a sort's shuffle; `marks`: the places of the first rows of some of its frames, ascending, frame 0 first.
    Run { group: NodeId, run: u32, from: MapTask, marks: Vec<Mark> },
    /// Rows of a stored collection.
    Part { collection: CollectionId, from: MapTask },
    /// What a write node gets from this task: encoded rows for a file, lines of text for stdout. `number` orders the parts
    /// where the rows are a sequence.
    Write { node: NodeId, number: u32 },
}

/// The first row of a frame of a sorted run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Mark {
    pub frame: u32,
    pub place: Place,
}

/// What some tasks find out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Answer {
    /// Per read step: names of its fields and its size, where it could be looked at.
    Facts(BTreeMap<String, Facts>),
    /// By the names of collections that were looked up.
    Found(BTreeMap<String, Found>),
    Kept(Size),
    /// Per read node; a source with nothing to read has no splits.
    Splits(BTreeMap<NodeId, Vec<Split>>),
    Staged(Manifest),
}

/// What is known of a source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    pub fields: Option<Vec<String>>,
    pub bytes: Option<u64>,
    /// Which version of its files is there, where that was asked; or why it cannot be told.
    #[serde(default)]
    pub versions: Option<Result<Vec<InputFile>, String>>,
}

/// What a look-up of a result found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// `None`: it is not there.
    pub there: Option<Size>,
    /// What was last kept under that name.
    pub former: Option<Recipe>,
}

/// How much a result is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    pub rows: u64,
    /// Encoded, before compression.
    pub bytes: u64,
}

/// Everything that a commit needs, whoever runs it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Per write step that makes files.
    pub sinks: BTreeMap<String, StagedSink>,
}

/// The staged files of one sink.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StagedSink {
    /// As the engine wrote it; opaque to all others.
    #[serde(with = "serde_bytes")]
    pub encoded: Vec<u8>,
    /// Where the files will be, for people.
    pub location: String,
    pub files: u32,
    pub rows: u64,
    pub bytes: u64,
}

/// Why a task failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    pub step: Option<String>,
    /// The whole message: what was attempted, where, the row, the causes.
    pub message: String,
    /// Whether the flow itself is at fault (its functions, pipes, files), which counts against `retry.limit`.
    pub fault: Fault,
}

/// Whose fault a failure is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    /// A function, a pipe, a row that a sink cannot hold: counts against `retry.limit`.
    #[default]
    Flow,
    /// A source cannot be read, a sink cannot be written: counts against `retry.limit`.
    Storage,
    /// Trying again cannot help: a plan that the engine refuses, output that is in the way.
    Hopeless,
    /// The slot was killed, an agent did not answer: does not count.
    Infrastructure,
    /// Pieces that it reads are gone: their makers must run again.
    Lost(Vec<Attempt>),
    /// It was told to stop.
    Stopped,
}
