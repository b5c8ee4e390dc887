//! What must never be seen at the API server, whoever writes there: judged at every write, by what masters really did.

use std::collections::{BTreeMap, BTreeSet};

use crds::cluster::OnSpecChange;
use crds::status::{GleamFlowStatus, Phase, Run};
use serde_json::Value;

use super::fake_master::Truths;
use crate::accept::{Claim, Prelude, accept};
use crate::controller::Told;
use crate::naming;
use crate::view::{FlowView, marked, text};

/// What was seen so far, and the promises that were broken.
#[derive(Debug, Default)]
pub(super) struct Judge {
    pub(super) violations: Vec<String>,
    pub(super) truths: Truths,
    /// By UID: the most executors that the flow ever asked for, and its newest generation.
    flows: BTreeMap<String, (u32, i64)>,
    runs: BTreeMap<String, Seen>,
    /// Pods that were made by operators that do not lead any more: the leader may not know of them yet.
    by_others: BTreeSet<String>,
    /// Events by flow and reason: how often statuses gave reason for one, and how often it was told.
    happened: BTreeMap<(String, String), u32>,
    told: BTreeMap<(String, String), u32>,
}

/// A run.
#[derive(Debug, Default)]
struct Seen {
    generation: i64,
    result: Option<String>,
    /// Pods that leaders made, and those that were lost by nobody's wish.
    made: u32,
    lost: u32,
    /// Pods that ran at some time.
    ran: BTreeSet<String>,
    /// Losses of work when its status last told how much is done.
    losses: u32,
}

pub(super) fn is_over(pod: &Value) -> bool {
    matches!(text(pod, "/status/phase"), Some("Succeeded" | "Failed"))
}

fn is_leaving(pod: &Value) -> bool {
    text(pod, "/metadata/deletionTimestamp").is_some()
}

fn run_of(pod: &Value) -> &str {
    marked(pod, "labels", naming::RUN).unwrap_or_default()
}

/// Tasks that a status tells as done.
fn done(status: &GleamFlowStatus) -> u32 {
    let progress = status.progress.as_deref().and_then(|progress| progress.split_once('/'));
    progress.map_or(0, |(done, _)| done.parse().unwrap())
}

/// Whether a run is of another spec than the newest. (What `luaFrom` refers to is not known here.)
fn is_stale(flow: &FlowView, run: &Run) -> bool {
    let known = flow.spec.as_ref().is_ok_and(|spec| spec.lua_from.is_none());
    known && accept(&flow.spec, &Prelude::NotAsked, &Claim::NotAsked).hash != run.spec_hash
}

impl Judge {
    fn wrong(&mut self, what: String) {
        self.violations.push(what);
    }

    /// A user wrote a flow.
    pub(super) fn flow(&mut self, object: &Value) {
        let Ok(view) = FlowView::read(object) else { return };
        let asked = view.spec.as_ref().map_or(1, |spec| spec.executors.max_replicas.max(spec.executors.min_replicas));
        let known = self.flows.entry(view.uid.clone()).or_default();
        *known = (known.0.max(asked), view.generation);
    }

    /// A pod was made, and is one of `there`.
    pub(super) fn pod_made<'a>(&mut self, pod: &Value, there: impl Iterator<Item = &'a Value>, leads: bool) {
        let run = run_of(pod).to_owned();
        let Some((most, generation)) = self.flows.get(naming::run_uid(&run)).copied() else { return };
        if self.runs.get(&run).is_some_and(|seen| seen.result.is_some()) {
            self.wrong(format!("a pod was made for run {run}, which is over"));
        }
        if !leads {
            self.by_others.insert(text(pod, "/metadata/uid").unwrap().to_owned());
            return;
        }
        let others = &self.by_others;
        let counts = |pod: &&Value| run_of(pod) == run && !is_over(pod) && !is_leaving(pod);
        let own = |pod: &&Value| !others.contains(text(pod, "/metadata/uid").unwrap());
        let at_once = there.filter(|pod| counts(pod) && own(pod)).count();
        let seen = self.runs.entry(run.clone()).or_default();
        seen.made += 1;
        let changes = u32::try_from((generation - seen.generation).max(0)).unwrap();
        let (made, lost) = (seen.made, seen.lost);
        if at_once > most as usize {
            self.wrong(format!("run {run} has {at_once} pods at once, and may have {most}"));
        }
        if made > most * (1 + changes) + lost {
            self.wrong(format!("run {run}: {made} pods were made, {lost} lost, and it may have {most} at once"));
        }
    }

    /// A pod changed by itself.
    pub(super) fn pod_changed(&mut self, before: &Value, after: &Value) {
        let seen = self.runs.entry(run_of(after).to_owned()).or_default();
        if text(after, "/status/phase") == Some("Running") {
            seen.ran.insert(text(after, "/metadata/uid").unwrap().to_owned());
        }
        seen.lost += u32::from(is_over(after) && !is_over(before));
    }

    /// A pod went, or goes, and the leader did not ask for it.
    pub(super) fn pod_lost(&mut self, pod: &Value) {
        self.runs.entry(run_of(pod).to_owned()).or_default().lost += u32::from(!is_over(pod) && !is_leaving(pod));
    }

    /// A status was written.
    pub(super) fn status(&mut self, before: &Value, after: &Value) {
        let (Ok(old), Ok(new)) = (FlowView::read(before), FlowView::read(after)) else {
            return self.wrong(format!("a status that nobody understands: {}", after["status"]));
        };
        let limit = new.spec.as_ref().map_or(5, |spec| spec.retention.history_limit);
        self.runs_follow(&old.status, &new.status, limit as usize);
        if let Some(run) = &new.status.current_run {
            self.run_ends(run);
            if old.status.current_run.as_ref().is_some_and(|before| before.id == run.id) {
                self.counters(&old.status, &new.status, &run.id);
            }
            let truth = self.truths.lock().unwrap().get(&run.id).cloned().unwrap_or_default();
            let seen = self.runs.entry(run.id.clone()).or_default();
            seen.generation = run.generation;
            // A new leader keeps to what was told until it knows better.
            if done(&new.status) == truth.done {
                seen.losses = truth.losses;
            }
            self.executors(&new.status, &run.id);
        }
        self.generations(&new);
        self.health(&new.status);
        self.count_reasons(&new.uid, &old.status, &new.status);
    }

    fn runs_follow(&mut self, old: &GleamFlowStatus, new: &GleamFlowStatus, limit: usize) {
        let ids = |runs: &[Run]| runs.iter().map(|run| run.id.clone()).collect::<Vec<_>>();
        let (had, has) = (ids(&old.history), ids(&new.history));
        let Some(last) = &old.current_run else { return };
        let Some(run) = &new.current_run else { return self.wrong(format!("run {} is forgotten", last.id)) };
        if last.id == run.id {
            if last.result.is_some() && last.result != run.result {
                self.wrong(format!("run {} ended as {:?} and then as {:?}", run.id, last.result, run.result));
            }
            if last.completion_time.is_some() && last.completion_time != run.completion_time {
                self.wrong(format!("run {} ended twice", run.id));
            }
            if had != has {
                self.wrong(format!("the history was {had:?} and is {has:?}"));
            }
            return;
        }
        if last.completion_time.is_none() {
            self.wrong(format!("run {} was followed by {} before it was over", last.id, run.id));
        }
        if naming::run_number(&run.id) != naming::run_number(&last.id).map(|number| number + 1) {
            self.wrong(format!("run {} after {}", run.id, last.id));
        }
        let all: Vec<String> = std::iter::once(last.id.clone()).chain(had).collect();
        if !all.starts_with(&has) || has.len() != all.len().min(limit) {
            self.wrong(format!("the history was {all:?} and is {has:?}"));
        }
    }

    /// How a run is said to have ended is how it ended.
    fn run_ends(&mut self, run: &Run) {
        let Some(result) = run.result.clone() else { return };
        let truth = self.truths.lock().unwrap().get(&run.id).cloned().unwrap_or_default();
        let seen = self.runs.entry(run.id.clone()).or_default();
        if seen.result.replace(result.clone()).is_some() {
            return;
        }
        let right = match result.as_str() {
            "Succeeded" => truth.succeeded,
            "UdfError" => truth.failed,
            _ => !truth.committing && !truth.succeeded,
        };
        if !right {
            self.wrong(format!("run {} is told as {result}, and was {truth:?}", run.id));
        }
    }

    /// What only grows, as long as a run goes on.
    fn counters(&mut self, old: &GleamFlowStatus, new: &GleamFlowStatus, run: &str) {
        let mut falls = Vec::new();
        if new.bytes_shuffled < old.bytes_shuffled {
            falls.push(format!("bytesShuffled went from {:?} to {:?}", old.bytes_shuffled, new.bytes_shuffled));
        }
        for was in &old.set_aside {
            let is = new.set_aside.iter().find(|is| is.step == was.step).map_or(0, |is| is.rows);
            if is < was.rows {
                falls.push(format!("setAside of {} went from {} to {is}", was.step, was.rows));
            }
        }
        let lost = self.truths.lock().unwrap().get(run).map_or(0, |truth| truth.losses) > self.runs[run].losses;
        for was in &old.stages {
            let Some(is) = new.stages.iter().find(|is| is.name == was.name) else {
                falls.push(format!("stage {} is gone", was.name));
                continue;
            };
            if is.failed < was.failed || is.retried < was.retried || is.succeeded < was.succeeded && !lost {
                falls.push(format!("stages: {was:?} became {is:?}"));
            }
        }
        if done(new) < done(old) && !lost {
            falls.push(format!("progress went from {:?} to {:?}", old.progress, new.progress));
        }
        self.violations.extend(falls.into_iter().map(|fall| format!("run {run}: {fall}")));
    }

    /// Executors that are told as ready were there.
    fn executors(&mut self, status: &GleamFlowStatus, run: &str) {
        let Some(counts) = status.executors.clone() else { return };
        let ran = self.runs.get(run).map_or(0, |seen| seen.ran.len());
        if counts.ready as usize > ran || counts.summary != format!("{}/{}", counts.ready, counts.desired) {
            self.wrong(format!("run {run}: {counts:?}, and {ran} pods ever ran"));
        }
        let Some(said) = status.conditions.iter().find(|condition| condition.type_ == "ExecutorsReady") else { return };
        let all = said.message == "all executors are connected";
        if (said.status == "True") != (counts.ready > 0) || all && counts.ready < counts.desired {
            self.wrong(format!("run {run}: ExecutorsReady says {:?} {:?} with {counts:?}", said.status, said.message));
        }
    }

    /// All is about the newest generation, and what is said to be done of it was done for it.
    fn generations(&mut self, flow: &FlowView) {
        let newest = flow.generation;
        if flow.status.observed_generation != newest {
            self.wrong(format!("observedGeneration is {}, and the flow's {newest}", flow.status.observed_generation));
        }
        let says = |kind: &str| {
            let found = flow.status.conditions.iter().find(|condition| condition.type_ == kind && condition.status == "True");
            found.is_some_and(|found| found.observed_generation == Some(newest))
        };
        let Some(run) = &flow.status.current_run else { return };
        for condition in &flow.status.conditions {
            if condition.observed_generation.is_none_or(|seen| seen > newest || seen < run.generation.min(newest)) {
                self.wrong(format!("{} is about generation {:?} of {newest}", condition.type_, condition.observed_generation));
            }
        }
        if (says("Complete") || says("Failed")) && run.generation != newest {
            if is_stale(flow, run) {
                self.wrong(format!("run {} is told as that of generation {newest}, and was of {}", run.id, run.generation));
            }
        }
        if says("Ready") {
            self.ready(flow, run);
        }
    }

    /// Ready is what the newest generation asks for, not what an older one did.
    fn ready(&mut self, flow: &FlowView, run: &Run) {
        let Ok(spec) = &flow.spec else { return self.wrong("Ready, though the spec is not understood".to_owned()) };
        let stale = is_stale(flow, run) && spec.on_spec_change != OnSpecChange::Ignore;
        let nonce = spec.rerun_nonce.as_ref().filter(|nonce| !nonce.is_empty());
        if stale || nonce.is_some() && nonce != flow.status.last_rerun_nonce.as_ref() {
            self.wrong(format!("Ready at generation {}, which has not run", flow.generation));
        }
        if run.result.as_deref() != Some("Succeeded") {
            self.wrong(format!("Ready, and run {} has ended as {:?}", run.id, run.result));
        }
    }

    /// Phase and conditions say the same.
    fn health(&mut self, status: &GleamFlowStatus) {
        let is = |kind: &str| status.conditions.iter().any(|it| it.type_ == kind && it.status == "True");
        let found = (is("Ready"), is("Stalled"), is("Suspended"), is("Reconciling"));
        let expected = match status.phase {
            Some(Phase::Succeeded) => (true, false, false, false),
            Some(Phase::Failed) => (false, true, false, false),
            Some(Phase::Suspended) => (false, false, true, false),
            _ => (false, false, false, true),
        };
        if found != expected {
            self.wrong(format!("phase {:?}, but Ready, Stalled, Suspended, Reconciling are {found:?}", status.phase));
        }
        let result = status.current_run.as_ref().and_then(|run| run.result.as_deref());
        let failed = result.is_some_and(|result| !["Succeeded", "Suspended", "Superseded"].contains(&result));
        if is("Complete") != (result == Some("Succeeded")) || is("Failed") != failed {
            self.wrong(format!("Complete {}, Failed {}, and the run's result is {result:?}", is("Complete"), is("Failed")));
        }
    }

    /// What people are to be told of, found in another way than the operator does.
    fn count_reasons(&mut self, uid: &str, old: &GleamFlowStatus, new: &GleamFlowStatus) {
        let mut count = |reason: &str| *self.happened.entry((uid.to_owned(), reason.to_owned())).or_default() += 1;
        let run = |status: &GleamFlowStatus| status.current_run.clone().unwrap_or_default();
        let (was, is) = (run(old), run(new));
        let same = was.id == is.id;
        if !same {
            count("RunStarted");
        }
        if is.result.is_some() && (!same || was.result.is_none()) {
            count(match is.result.as_deref() {
                Some("Succeeded") => "RunSucceeded",
                Some("Superseded") => "RunSuperseded",
                Some("Suspended") => "RunSuspended",
                _ => "RunFailed",
            });
        }
        if same && is.released && !was.released {
            count("BuffersReleased");
        }
        if old.reason != new.reason && new.reason.as_deref() == Some("Queued") {
            count("Queued");
        }
        if old.phase != new.phase && new.phase == Some(Phase::Committing) {
            count("Committing");
        }
        if old.executors.as_ref().is_none_or(|counts| counts.ready + counts.pending == 0) {
            count("ExecutorsCreated");
        }
        for condition in &new.conditions {
            let before = old.conditions.iter().find(|before| before.type_ == condition.type_);
            if before.is_some_and(|before| (&before.status, &before.reason) == (&condition.status, &condition.reason)) {
                continue;
            }
            match (condition.type_.as_str(), condition.status.as_str()) {
                ("Accepted", "False") | ("ExecutorsReady", "False") => count(&condition.reason),
                ("ExecutorsReady" | "OutputShared", "True") => count(&condition.type_),
                _ => {}
            }
        }
        let empty = Vec::new();
        let known = if same { &old.stages } else { &empty };
        if known.is_empty() && !new.stages.is_empty() {
            count("Planned");
        }
        for stage in &new.stages {
            let before = known.iter().find(|before| before.name == stage.name).cloned().unwrap_or_default();
            if stage.succeeded == stage.desired && (before.desired == 0 || before.succeeded < before.desired) {
                count("StageSucceeded");
            }
            if before.active + before.succeeded + before.failed == 0 {
                count("StageStarted");
            }
            if stage.retried > before.retried {
                count("TaskRetried");
            }
        }
    }

    /// An event was told.
    pub(super) fn told(&mut self, told: &Told) {
        let place = (told.uid.clone(), told.event.reason.clone());
        let times = self.told.entry(place.clone()).or_default();
        *times += 1;
        let (times, happened) = (*times, self.happened.get(&place).copied().unwrap_or(0));
        // What a user asked for in vain is in no status, nor is what keeps it from being written, or what somebody deletes.
        let unwritten = ["CancelIgnored", "ReconcileFailed", "MadeAgain"].contains(&told.event.reason.as_str());
        if times > happened && !unwritten {
            self.wrong(format!("event {:?} was told {times} times, and it happened {happened} times", told.event.reason));
        }
        let result = self.runs.get(&told.run).and_then(|seen| seen.result.clone());
        let right = match told.event.reason.as_str() {
            "RunSucceeded" => self.truths.lock().unwrap().get(&told.run).is_some_and(|truth| truth.succeeded),
            "RunFailed" => result.is_some_and(|result| result != "Succeeded"),
            _ => true,
        };
        if !right {
            self.wrong(format!("event {:?} of run {}", told.event, told.run));
        }
    }
}
