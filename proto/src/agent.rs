//! What executors and the operator say to an agent. Every call carries a token in its metadata (see [`crate::token`]).
//!
//! `Put` is a stream of [`crate::chunk::Message`]s of one attempt, named by the metadata [`PUT_HEADER`]; its last chunk has the
//! piece [`crate::chunk::TRAILER`] and holds the encoded [`plan::task::Done`], which `Inventory` gives back to a new leader.

use plan::task::Attempt;
use serde::{Deserialize, Serialize};
use tonic::{Code, Status};

use crate::codec::{Packable, whole};
use crate::{RunId, Term};

/// Binary metadata of `Put`: MessagePack of [`PutHeader`].
pub const PUT_HEADER: &str = "gleamflow-put-bin";

/// Metadata of `Fetch`: how large its messages may be, in bytes; a reader of many streams at a time asks for small ones.
pub const MESSAGE_HEADER: &str = "gleamflow-message-bytes";

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

/// The operator names winners: from now on they can be fetched. Other attempts of their tasks that are here are dropped, and lower
/// numbers refused; a higher one may still come (a master may take this agent for dead, and then hear of it again), and is dropped
/// unless it is named in time.
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

/// The most attempts that one answer names: they travel in a header.
const MISSING_LIMIT: usize = 1000;

/// The answer to a `Fetch` of what is not held here (any more): these attempts are lost. Names at most a thousand of them.
#[must_use]
pub fn missing(attempts: &[Attempt]) -> Status {
    let named = &attempts[..attempts.len().min(MISSING_LIMIT)];
    let details = rmp_serde::to_vec(named).expect("attempts are plain data");
    let first: Vec<String> = named.iter().take(3).map(ToString::to_string).collect();
    let text = format!("{} outputs are not held here: {}", attempts.len(), first.join(", "));
    Status::with_details(Code::NotFound, text, details.into())
}

/// The attempts of such an answer; `None` for any other.
#[must_use]
pub fn missing_of(status: &Status) -> Option<Vec<Attempt>> {
    (status.code() == Code::NotFound).then(|| whole(status.details()).ok()).flatten()
}

impl Packable for Stored {}
impl Packable for Fetch {}

#[cfg(test)]
mod tests {
    use plan::task::TaskId;

    use super::*;

    #[test]
    fn what_is_missing_travels_in_the_status() {
        let attempts = [Attempt { task: TaskId::Inspect, number: 1 }, Attempt { task: TaskId::Stage, number: 4 }];
        let status = missing(&attempts);
        assert_eq!(missing_of(&status).unwrap(), attempts);
        assert!(status.message().contains("stage#4"), "{status}");
        assert_eq!(missing_of(&Status::not_found("no such thing")), None);
        assert_eq!(missing_of(&missing(&[attempts[0]; 5000])).unwrap().len(), MISSING_LIMIT);
    }
}
