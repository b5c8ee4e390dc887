//! Names of things inside a plan. Ids are stable through passes; a copy gets a new one.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($name:ident, $prefix:literal, $doc:literal) => {
        #[doc = $doc]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u32);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    };
}

id!(NodeId, "n", "An elementary operation of a graph.");
id!(CollectionId, "c", "A collection: one output of one node.");
/// A map-shuffle-combine-reduce stage; numbered from 1 in the order in which stages may run. Stages that only store sources have
/// numbers of their own (`l1`, `l2`): in them no operation of the flow runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MscrId(pub u32);

impl MscrId {
    /// Stages that only store sources are numbered from here.
    const LOADS: u32 = 1 << 31;

    /// The id of the `number`-th stage that only stores sources.
    #[must_use]
    pub const fn load(number: u32) -> Self {
        Self(Self::LOADS | number)
    }
}

impl fmt::Display for MscrId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.checked_sub(Self::LOADS) {
            Some(number) => write!(f, "l{number}"),
            None => write!(f, "m{}", self.0),
        }
    }
}
