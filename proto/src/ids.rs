//! Names that cross the wire; checked where they enter, so that no other code has to.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A run: the object's UID and the run's number, as `<uid>-<number>`. Unique for ever: a deleted and re-applied flow has new ones.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RunId(String);

/// A text that cannot be an id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is no run id: 1 to 63 of a-z, 0-9 and '-', no '-' at an end")]
pub struct BadId {
    given: String,
}

impl RunId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for RunId {
    type Error = BadId;

    fn try_from(given: String) -> Result<RunId, BadId> {
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let sound =
            (1..=63).contains(&given.len()) && given.bytes().all(fits) && !given.starts_with('-') && !given.ends_with('-');
        if sound { Ok(RunId(given)) } else { Err(BadId { given: given.chars().take(80).collect() }) }
    }
}

impl From<RunId> for String {
    fn from(id: RunId) -> String {
        id.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The term of a leader: how often the lease changed hands. Who has seen a newer one refuses an older one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Term(pub u64);
