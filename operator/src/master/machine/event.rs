//! What happens to a run, and what its machine wants done. Plain data.

use std::collections::BTreeMap;

use plan::task::{Attempt, Done, Failed, Held};
use proto::master::ToSlot;
use serde::{Deserialize, Serialize};

use crate::master::api::{Entry, KeepError, RecordError};

/// A connection of a slot. A slot that reconnects has a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SlotId(pub u64);

/// What a slot says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotHello {
    pub pod: String,
    pub node: String,
    /// Its number in the pod.
    pub number: u32,
    pub incarnation: u64,
    pub busy: Option<Attempt>,
}

/// What an agent says of itself, every two seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentBeat {
    pub address: String,
    pub node: String,
    pub incarnation: u64,
    /// Whether it holds anything of this run.
    pub holds: bool,
    /// Whether writers of this run wait for room.
    pub waiting: bool,
    /// Bytes used, of how many.
    pub used: u64,
    pub limit: u64,
}

/// An output that an agent holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    pub attempt: Attempt,
    pub named: bool,
    /// `None`: its trailer cannot be read.
    pub done: Option<Done>,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    SlotJoined {
        slot: SlotId,
        hello: SlotHello,
    },
    SlotLeft {
        slot: SlotId,
    },
    Progress {
        slot: SlotId,
        attempt: Attempt,
        rows: u64,
        bytes: u64,
    },
    Done {
        slot: SlotId,
        attempt: Attempt,
        agent: String,
        done: Box<Done>,
    },
    Failed {
        slot: SlotId,
        attempt: Attempt,
        failed: Box<Failed>,
    },
    Draining {
        slot: SlotId,
    },
    PodGone {
        pod: String,
        why: String,
    },
    Beat(AgentBeat),
    Recorded {
        at: usize,
        result: Result<(), RecordError>,
    },
    /// An agent answered: these are named now, but for those that it does not hold.
    Named {
        agent: String,
        winners: Vec<Attempt>,
        missing: Vec<Attempt>,
    },
    Inventory {
        agent: String,
        incarnation: u64,
        outputs: Vec<Found>,
    },
    OutputFetched {
        result: Result<BTreeMap<String, Vec<u8>>, Unfetched>,
    },
    OutputKept {
        result: Result<(), KeepError>,
    },
    /// Time went on.
    Tick,
    Stop {
        why: String,
    },
}

/// Why standard output could not be fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfetched {
    /// These attempts are gone.
    Lost(Vec<Attempt>),
    /// To be tried again.
    Unavailable(String),
}

/// Rows of `write.stdout` to be fetched, per step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputRequest {
    pub agents: Vec<String>,
    pub steps: BTreeMap<String, Vec<Held>>,
}

/// Something to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Nothing is sent to a slot that left.
    Send {
        slot: SlotId,
        message: ToSlot,
    },
    /// To be tried until the agent answers or is given up ([`Command::GiveUp`]).
    Name {
        agent: String,
        winners: Vec<Attempt>,
        fenced: Vec<Attempt>,
    },
    /// Best effort.
    Release {
        agent: String,
        attempts: Vec<Attempt>,
    },
    /// As for `Name`.
    Inventory {
        agent: String,
        incarnation: u64,
    },
    /// Nothing more is wanted of this agent, whose process is gone or silent.
    GiveUp {
        agent: String,
    },
    Record {
        at: usize,
        entry: Entry,
    },
    FetchOutput(OutputRequest),
    KeepOutput {
        output: BTreeMap<String, Vec<u8>>,
    },
    /// The run is over: its progress says how. Nothing follows.
    Finished,
    /// The record has more than we have read of it: the run is to be taken up again from all of it, by another machine
    /// ([`super::Machine::again`]). Nothing follows of this one.
    TakeUpAgain,
    /// Another leader has the run. Nothing follows, and nothing is to be said to anybody.
    Abandon,
}
