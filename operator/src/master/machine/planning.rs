//! From the flow to its plan: sources looked at, checked with what they are, planned, recorded.

use std::collections::BTreeMap;

use crds::GleamFlow;
use plan::Plan;
use plan::task::Facts;
use planner::cache::Known;
use planner::{CheckOptions, FlowProblem, Options, ParamValues, PassName};
use proto::codec::whole_within;

use super::flow::Flow;
use super::{Machine, Stage};
use crate::master::api::Entry;

/// Plans are a few KB to a few MB of text; more is no plan.
const PLAN_LIMIT: usize = 64 << 20;
/// Rows within a flow file may hold lists within lists, as deep as JSON may be.
const PLAN_DEPTH: usize = 320;
const COMPRESSION: i32 = 3;

impl Machine {
    /// The file sources of the flow, by step; `None`: the flow has problems.
    pub(super) fn sources(&self) -> Option<Vec<(String, plan::Source)>> {
        planner::sources_with(&self.object(), &ParamValues::new(), &CheckOptions::default()).ok()
    }

    pub(super) fn object(&self) -> GleamFlow {
        let mut spec = self.spec.spec.clone();
        if spec.lua.is_some() {
            // What it refers to is in `lua` already.
            spec.lua_from = None;
        }
        GleamFlow::new(&self.spec.flow, spec)
    }

    /// Plans at once where there is nothing to look at before.
    pub(super) fn begin_planning(&mut self) {
        match planner::sources_with(&self.object(), &ParamValues::new(), &CheckOptions::default()) {
            Ok(sources) if sources.is_empty() => self.inspected(BTreeMap::new()),
            Ok(_) => self.stage = Stage::Inspecting,
            Err(problems) => self.invalid(&problems),
        }
    }

    /// Plans with what the sources are, and the results that are there.
    pub(super) fn plan_with(&mut self, facts: &BTreeMap<String, Facts>, cache: BTreeMap<String, Known>) {
        let checked = match self.checked(facts, &CheckOptions::default()) {
            Ok(checked) => checked,
            Err(problems) => return self.invalid(&problems),
        };
        let plan = planner::plan(checked.graph, checked.prelude, &Options { cache, ..Options::default() });
        let slots = self.wanted_slots(&plan);
        match encode(&plan) {
            Ok(plan) => {
                self.stage = Stage::Planning;
                self.record(Entry::Planned { plan, partitions: None, slots });
            }
            Err(why) => self.fail("Invalid", why),
        }
    }

    pub(super) fn invalid(&mut self, problems: &[FlowProblem]) {
        let told: Vec<String> = problems.iter().map(|problem| format!("{}: {}", problem.path, problem.message)).collect();
        self.fail("Invalid", told.join("\n"));
    }

    /// A small flow runs in one executor.
    fn wanted_slots(&self, plan: &Plan) -> u32 {
        let executors = &self.spec.spec.executors;
        let mut choices = plan.decisions.iter().filter(|decision| decision.pass == PassName::LocalChoice.as_str()).peekable();
        let small = choices.peek().is_some() && choices.all(|decision| decision.did);
        let replicas = if small { 1 } else { executors.max_replicas.max(1) };
        replicas.saturating_mul(executors.slots.max(1))
    }

    /// Goes on with a recorded plan.
    pub(super) fn planned(&mut self, encoded: Vec<u8>, partitions: Option<u32>, slots: u32) {
        let flow = decode(&encoded).and_then(|plan| Flow::new(plan).map_err(|cyclic| cyclic.to_string()));
        match flow {
            Ok(flow) => {
                (self.recorded.partitions, self.recorded.slots) = (partitions, slots);
                self.flow = Some(flow);
                self.encoded_plan = encoded;
                if matches!(self.stage, Stage::Planning) {
                    self.stage = Stage::Running;
                }
            }
            Err(why) => self.fail("Invalid", format!("the recorded plan cannot be used: {why}")),
        }
    }
}

/// MessagePack, zstd.
fn encode(plan: &Plan) -> Result<Vec<u8>, String> {
    let packed = rmp_serde::to_vec_named(plan).map_err(|error| format!("the plan cannot be encoded: {error}"))?;
    zstd::bulk::compress(&packed, COMPRESSION).map_err(|error| format!("the plan cannot be compressed: {error}"))
}

pub(super) fn decode(encoded: &[u8]) -> Result<Plan, String> {
    let packed = zstd::bulk::decompress(encoded, PLAN_LIMIT).map_err(|error| format!("it cannot be decompressed: {error}"))?;
    whole_within(&packed, PLAN_DEPTH).map_err(|error| format!("it cannot be decoded: {error}"))
}
