//! Whether a flow can run here, and the hash of what defines its runs. Pure; the same check as `gleamflow validate`, and what only a
//! cluster knows.

mod storage;
mod written;

pub(crate) use storage::{MOUNT, claim_name};
pub use written::Written;

#[cfg(test)]
mod tests;

use crds::{GleamFlow, GleamFlowSpec};
use planner::{CheckOptions, FlowProblem};
use serde_json::json;

use crate::naming;

/// At most so many problems are told at once: a condition's message is read by people.
const PROBLEMS_TOLD: usize = 10;

/// What `luaFrom` refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prelude {
    /// The flow has no `luaFrom`.
    NotAsked,
    Found(String),
    /// Why it could not be had.
    Missing(String),
}

/// How many may mount the claim that `storage.volume` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The flow names none, or writes nothing to it.
    NotAsked,
    /// It is not there (yet), or nobody may look at it: its pods will say so.
    Unknown,
    /// Its access modes.
    Modes(Vec<String>),
}

/// The outcome of the check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acceptance {
    /// Of the fields that define a run; those that only say how it runs here are not in it.
    pub hash: String,
    pub refusal: Option<Refusal>,
    /// Where the flow writes, if it can run.
    pub writes: Vec<Written>,
}

/// Why a flow is not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Reason of the condition `Accepted`.
    pub reason: &'static str,
    pub message: String,
}

/// Checks a flow.
#[must_use]
pub fn accept(spec: &Result<GleamFlowSpec, String>, prelude: &Prelude, claim: &Claim) -> Acceptance {
    match spec {
        Ok(spec) => {
            let (refusal, writes) = match checked(spec, prelude, claim) {
                Ok(writes) => (None, writes),
                Err(refusal) => (Some(refusal), Vec::new()),
            };
            Acceptance { hash: run_hash(spec, prelude), refusal, writes }
        }
        Err(message) => {
            let message = format!("the spec is not understood: {message}");
            let hash = naming::hash(message.as_bytes());
            Acceptance { hash, refusal: Some(Refusal { reason: "Invalid", message }), writes: Vec::new() }
        }
    }
}

/// The flow with `luaFrom` resolved into `lua`: what a run is made from.
#[must_use]
pub fn resolved(spec: &GleamFlowSpec, prelude: &Prelude) -> GleamFlowSpec {
    let mut spec = spec.clone();
    if let Prelude::Found(lua) = prelude {
        spec.lua = Some(lua.clone());
        spec.lua_from = None;
    }
    spec
}

/// Suspending, deadlines, retention and the number of executors change nothing about what a run makes.
fn run_hash(spec: &GleamFlowSpec, prelude: &Prelude) -> String {
    let resolved = resolved(spec, prelude);
    let defining = json!({
        "steps": resolved.steps, "params": resolved.params, "lua": resolved.lua, "luaFrom": resolved.lua_from,
        "storage": resolved.storage, "image": resolved.executors.image,
    });
    naming::hash(defining.to_string().as_bytes())[..32].to_owned()
}

/// Where the flow writes, or why it cannot run.
fn checked(spec: &GleamFlowSpec, prelude: &Prelude, claim: &Claim) -> Result<Vec<Written>, Refusal> {
    if let Prelude::Missing(message) = prelude {
        return Err(Refusal { reason: "ConfigMapNotFound", message: message.clone() });
    }
    let flow = GleamFlow::new("flow", resolved(spec, prelude));
    let options = CheckOptions { lenient: true, ..CheckOptions::default() };
    match planner::check_with(&flow, &planner::Facts::new(), &planner::ParamValues::new(), &options) {
        Err(problems) => Err(Refusal { reason: reason(&problems), message: told(&problems) }),
        Ok(checked) => match storage::refusal(spec, &checked.graph, claim) {
            Some(refusal) => Err(refusal),
            None => Ok(written::written(spec, &checked.graph)),
        },
    }
}

fn reason(problems: &[FlowProblem]) -> &'static str {
    let class = |problem: &FlowProblem| match problem.path.as_str() {
        _ if problem.of_flow => "InvalidGraph",
        "managedBy" | "scheduling" => "Unsupported",
        path if path.starts_with("executors.template") => "TemplateRejected",
        path if path.starts_with("storage.volume") => "VolumeRejected",
        path if path.ends_with("lua") || path == "luaFrom" => "UdfCompileError",
        path if path.contains(".from") || path.ends_with("pathsFrom") => "UnknownInput",
        _ => "InvalidGraph",
    };
    problems.first().map_or("InvalidGraph", class)
}

fn told(problems: &[FlowProblem]) -> String {
    let mut lines: Vec<String> = problems.iter().take(PROBLEMS_TOLD).map(ToString::to_string).collect();
    if problems.len() > PROBLEMS_TOLD {
        lines.push(format!("and {} more", problems.len() - PROBLEMS_TOLD));
    }
    lines.join("; ")
}
