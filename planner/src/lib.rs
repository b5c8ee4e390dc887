//! From a flow to its plan: check, expand to a graph, rewrite by passes, build MSCRs. Pure: no I/O, no clock.
//!
//! ```text
//! GleamFlow + Facts --check--> Checked { graph, prelude, warnings } --plan--> plan::Plan
//! ```

mod build;
pub mod cache;
mod canonical;
pub mod check;
mod draft;
pub mod estimate;
mod expand;
mod invariants;
mod names;
mod params;
pub mod passes;
mod planning;
mod quotient;
mod tiers;

use std::collections::BTreeMap;

pub use canonical::canonical;
pub use check::{CheckOptions, Checked, FlowProblem, ParamValues, check, check_with, locate, sources, sources_with};
pub use draft::Draft;
pub use passes::{PASSES, PassName, UnknownPass};
pub use planning::{InMaking, Options, Watch, plan, plan_checked, plan_watched, prepared};

/// What was found out about a flow's sources before planning, per read step; a source that could not be looked at has no entry.
pub type Facts = BTreeMap<String, SourceFacts>;

/// What is known of one source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceFacts {
    /// Names of the fields: a csv header, a file's schema. `None` where the format has none.
    pub fields: Option<Vec<String>>,
    /// Bytes of all files, as they are stored.
    pub bytes: Option<u64>,
}
