//! What a pass did, or why it did not: the plan explains itself with these.

use serde::{Deserialize, Serialize};

/// One decision of one pass about one step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// The pass, by the name that `--without-pass` takes.
    pub pass: String,
    /// The step that it is about.
    pub step: String,
    /// Whether the pass changed the plan here.
    pub did: bool,
    /// Why, in words for a reader who does not know the pass.
    pub reason: String,
}
