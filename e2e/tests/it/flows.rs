//! The product at work: what users do with flows, and what can happen to them, under one release for all.

mod agents;
mod big;
mod burst;
mod commands;
mod deadlines;
pub(crate) mod examples;
mod failures;
mod figures;
mod kept;
mod kills;
mod meddling;
mod mistakes;
mod policies;
mod secrets;
mod shown;
mod tables;

use crate::ClusterTest;

/// These share one release; each has a namespace of its own. Figures of an idle product come first.
pub(crate) fn all() -> Vec<(&'static str, ClusterTest)> {
    [
        figures::all(),
        examples::all(),
        commands::all(),
        shown::all(),
        deadlines::all(),
        meddling::all(),
        failures::all(),
        burst::all(),
        kept::all(),
        mistakes::all(),
        policies::all(),
        big::all(),
        tables::all(),
        secrets::all(),
        kills::all(),
        agents::all(),
    ]
    .concat()
}
