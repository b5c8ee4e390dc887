//! The passes: each a function from draft to draft in a file of its own, with a name that `--without-pass` takes.

mod broadcast_join;
mod column_pushdown;
mod common_subexpressions;
mod dead_code;
mod exact;
mod facts;
mod filter_pushdown;
mod fusion;
mod fusion_blocks;
mod joined_groups;
mod legs;
mod lift_combine;
mod merge_flattens;
mod redundant_groups;
mod sink_flattens;
mod splice;

use std::{collections::BTreeSet, fmt, str::FromStr};

use plan::{Decision, Do, Function, Node, Op};

pub(crate) use fusion::root;

use crate::{Draft, Options};

/// A pass, or a choice made while stages are built. Up to [`PassName::SinkFlattens`] they change the graph; later ones only
/// note beside it what runs together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PassName {
    MergeFlattens,
    DeadCode,
    CommonSubexpressions,
    FilterPushdown,
    ColumnPushdown,
    BroadcastJoin,
    RedundantGroups,
    JoinedGroups,
    SinkFlattens,
    LiftCombine,
    PackCombines,
    FusionBlocks,
    ProducerConsumerFusion,
    SiblingFusion,
    MscrFusion,
    MapOnlyMerging,
    LocalChoice,
    SwitchJoins,
}

/// All passes, in the order in which they run.
pub const PASSES: [PassName; 18] = [
    PassName::MergeFlattens,
    PassName::DeadCode,
    PassName::CommonSubexpressions,
    PassName::FilterPushdown,
    PassName::ColumnPushdown,
    PassName::BroadcastJoin,
    PassName::RedundantGroups,
    PassName::JoinedGroups,
    PassName::SinkFlattens,
    PassName::LiftCombine,
    PassName::PackCombines,
    PassName::FusionBlocks,
    PassName::ProducerConsumerFusion,
    PassName::SiblingFusion,
    PassName::MscrFusion,
    PassName::MapOnlyMerging,
    PassName::LocalChoice,
    PassName::SwitchJoins,
];

/// A name that no pass has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no pass is called {given:?}; the passes are {}", names())]
pub struct UnknownPass {
    given: String,
}

fn names() -> String {
    PASSES.map(PassName::as_str).join(", ")
}

impl PassName {
    /// The name on the command line and in decisions.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MergeFlattens => "merge-flattens",
            Self::CommonSubexpressions => "common-subexpressions",
            Self::DeadCode => "dead-code",
            Self::FilterPushdown => "filter-pushdown",
            Self::ColumnPushdown => "column-pushdown",
            Self::BroadcastJoin => "broadcast-join",
            Self::RedundantGroups => "redundant-groups",
            Self::JoinedGroups => "joined-groups",
            Self::SinkFlattens => "sink-flattens",
            Self::LiftCombine => "lift-combine",
            Self::PackCombines => "pack-combines",
            Self::FusionBlocks => "fusion-blocks",
            Self::ProducerConsumerFusion => "producer-consumer-fusion",
            Self::SiblingFusion => "sibling-fusion",
            Self::MscrFusion => "mscr-fusion",
            Self::MapOnlyMerging => "map-only-merging",
            Self::LocalChoice => "local-choice",
            Self::SwitchJoins => "switch-joins",
        }
    }
}

impl fmt::Display for PassName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for PassName {
    type Err = UnknownPass;

    fn from_str(given: &str) -> Result<Self, UnknownPass> {
        PASSES.into_iter().find(|pass| pass.as_str() == given).ok_or_else(|| UnknownPass { given: given.into() })
    }
}

/// What is known of functions: which parameters they read, and whether they are plain expressions.
#[derive(Clone, Copy, Debug)]
pub struct Lua {
    /// The 0-based parameters that a function reads; `None` where it could read any.
    pub reads: fn(&str) -> Option<BTreeSet<usize>>,
    /// Whether a filter's result depends on nothing but its parameters, prelude given.
    pub is_plain_filter: fn(&str, &str) -> bool,
    /// Whether it raises no error, whatever its parameters are, prelude given, and which 0-based ones are strings.
    pub never_raises: fn(&str, &str, &BTreeSet<usize>) -> bool,
    /// For each place of a map's rows the 0-based parameter that stands there as it came, prelude given; `None` where nobody knows.
    pub passes_on: fn(&str, &str) -> Option<Vec<Option<usize>>>,
}

impl Default for Lua {
    fn default() -> Self {
        Self {
            reads: |source| lua::parse(source).ok().and_then(|function| lua::reads(&function)),
            is_plain_filter: |source, prelude| lua::tier(source, lua::Role::Filter, prelude) == lua::Tier::Native,
            never_raises: |source, prelude, texts| lua::never_raises(source, lua::Role::Filter, prelude, texts),
            passes_on: lua::passed_results,
        }
    }
}

/// What passes may look at beside the draft.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    pub options: &'a Options,
    pub prelude: &'a str,
    pub lua: Lua,
}

impl Context<'_> {
    fn reads(&self, function: &Function) -> Option<BTreeSet<usize>> {
        (self.lua.reads)(&function.source)
    }

    /// For each place of a node's rows the column of its input that stands there as it came; `None` where that is not known, or a row
    /// could become several.
    fn passes_on(&self, node: &Node) -> Option<Vec<Option<u32>>> {
        match &node.op {
            Op::ParallelDo(Do::Select(columns)) => Some(columns.iter().map(|column| Some(*column)).collect()),
            Op::ParallelDo(Do::Map(function)) => {
                let places = (self.lua.passes_on)(&function.source, self.prelude)?;
                Some(places.into_iter().map(|place| place.map(facts::width)).collect())
            }
            _ => None,
        }
    }

    fn is_plain_filter(&self, function: &Function) -> bool {
        (self.lua.is_plain_filter)(&function.source, self.prelude)
    }

    fn never_raises(&self, function: &Function, texts: &BTreeSet<usize>) -> bool {
        (self.lua.never_raises)(&function.source, self.prelude, texts)
    }
}

/// What a pass tells, in the order in which it happened, nothing twice (copies of a step tell the same).
#[derive(Debug)]
pub(crate) struct Log {
    pass: &'static str,
    said: BTreeSet<(String, bool, String)>,
    decisions: Vec<Decision>,
}

impl Log {
    pub(crate) fn new(pass: &'static str) -> Self {
        Self { pass, said: BTreeSet::new(), decisions: Vec::new() }
    }

    pub(crate) fn did(&mut self, step: &str, reason: impl Into<String>) {
        self.say(step, true, reason.into());
    }

    pub(crate) fn declined(&mut self, step: &str, reason: impl Into<String>) {
        self.say(step, false, reason.into());
    }

    fn say(&mut self, step: &str, did: bool, reason: String) {
        if self.said.insert((step.into(), did, reason.clone())) {
            self.decisions.push(Decision { pass: self.pass.into(), step: step.into(), did, reason });
        }
    }

    pub(crate) fn into_decisions(self) -> Vec<Decision> {
        self.decisions
    }
}

/// Runs one pass; those that are choices of stage building (from `mscr-fusion` on) leave the draft as it is.
#[must_use]
pub fn run(pass: PassName, draft: Draft, context: &Context<'_>) -> (Draft, Vec<Decision>) {
    let mut draft = draft;
    let mut log = Log::new(pass.as_str());
    match pass {
        PassName::MergeFlattens => merge_flattens::run(&mut draft.graph, &mut log),
        PassName::CommonSubexpressions => common_subexpressions::run(&mut draft.graph, context, &mut log),
        PassName::DeadCode => dead_code::run(&mut draft.graph, &mut log),
        PassName::FilterPushdown => filter_pushdown::run(&mut draft.graph, context, &mut log),
        PassName::ColumnPushdown => column_pushdown::run(&mut draft.graph, context, &mut log),
        PassName::BroadcastJoin => broadcast_join::run(&mut draft.graph, context, &mut log),
        PassName::RedundantGroups => redundant_groups::run(&mut draft.graph, context, &mut log),
        PassName::JoinedGroups => joined_groups::run(&mut draft.graph, context, &mut log),
        PassName::SinkFlattens => sink_flattens::run(&mut draft.graph, &mut log),
        PassName::LiftCombine => lift_combine::lift(&mut draft, &mut log),
        PassName::PackCombines => lift_combine::pack(&mut draft, &mut log),
        PassName::FusionBlocks => fusion_blocks::run(&mut draft, &mut log),
        PassName::ProducerConsumerFusion => fusion::producers_and_consumers(&mut draft, &mut log),
        PassName::SiblingFusion => fusion::siblings(&mut draft, &mut log),
        PassName::MscrFusion | PassName::MapOnlyMerging | PassName::LocalChoice | PassName::SwitchJoins => {}
    }
    (draft, log.into_decisions())
}
