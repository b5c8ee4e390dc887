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
id!(MscrId, "m", "A map-shuffle-combine-reduce stage; numbered from 1 in the order in which stages may run.");
