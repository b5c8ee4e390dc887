//! What executors and the operator say to an agent. Every call carries a token in its metadata (see [`crate::token`]).
//!
//! `Put` is a stream of [`crate::chunk::Message`]s of one attempt, named by the metadata [`PUT_HEADER`]; its last chunk has the
//! piece [`crate::chunk::TRAILER`] and holds the encoded [`plan::task::Done`], which `Inventory` gives back to a new leader.

use serde::{Deserialize, Serialize};

use plan::task::Attempt;

use crate::codec::Packable;
use crate::{RunId, Term};

/// Binary metadata of `Put`: MessagePack of [`PutHeader`].
pub const PUT_HEADER: &str = "gleamflow-put-bin";

/// What a `Put` is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutHeader {
    pub run: RunId,
    pub attempt: Attempt,
}

/// The answer to a `Put`: all of it is held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// Frames per piece, by piece number.
    pub frames: Vec<u32>,
    pub bytes: u64,
}

/// Asks for frames of pieces, which come one piece after the other, in order. `Chunk::piece` of the answer counts in `items`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetch {
    pub run: RunId,
    pub items: Vec<FetchItem>,
}

/// Frames `first..end` of a piece of a named attempt. Whoever resumes asks from the first frame that did not arrive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchItem {
    pub attempt: Attempt,
    pub piece: u32,
    pub first: u32,
    pub end: u32,
}

/// The operator names winners: from now on they can be fetched, and other attempts of their tasks are refused and dropped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Name {
    pub run: RunId,
    pub term: Term,
    pub winners: Vec<Attempt>,
    /// Attempts that must not win any more: whatever is held or still comes of them goes.
    pub fenced: Vec<Attempt>,
}

/// Which winners are not held here (and so are lost).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    pub missing: Vec<Attempt>,
}

/// The operator lets go of outputs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    pub run: RunId,
    pub term: Term,
    /// `None`: everything of the run, which is over: nothing more is taken for it.
    pub attempts: Option<Vec<Attempt>>,
}

/// How many bytes became free.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Released {
    pub bytes: u64,
}

/// A new leader asks what there is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InventoryRequest {
    pub run: RunId,
    pub term: Term,
}

/// What an agent holds of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    pub outputs: Vec<HeldOutput>,
}

/// A whole output of an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldOutput {
    pub attempt: Attempt,
    pub named: bool,
    /// The trailer of its `Put`.
    #[serde(with = "serde_bytes")]
    pub done: Vec<u8>,
}

impl Packable for Stored {}
impl Packable for Fetch {}
