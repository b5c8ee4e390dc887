//! No run goes on: what the last one left is cleaned up, and another begins where one is wanted.

use crds::cluster::{OnSpecChange, Retention};
use crds::status::{EXPIRED, Output, Phase, Run};

use super::condition::time;
use super::executors::GOING;
use super::report::Stand;
use super::running::IGNORED;
use super::{Action, Draft, id};
use crate::master::api::{KEPT, NODE_LOCAL};
use crate::naming;
use crate::view::PodView;

/// How long executors of a run that is over may take to leave by themselves; their logs go with those that do not.
const LEAVING: i64 = 60;
/// How soon a ConfigMap that was not there is asked for again, and one that was may have changed.
const MISSING_AGAIN: i64 = 15;
const CHANGED_AGAIN: i64 = 300;

impl Draft<'_> {
    pub(super) fn idle(&mut self) {
        let last = self.world.flow.status.current_run.clone();
        if let Some(run) = &last {
            self.after(run);
        }
        self.earlier_pods();
        self.leftovers();
        let last = self.status.current_run.clone();
        let Ok(spec) = &self.world.flow.spec else { return self.stand(&Stand::Refused) };
        if spec.lua_from.is_some() {
            let missing = self.world.acceptance.refusal.as_ref().is_some_and(|refusal| refusal.reason == "ConfigMapNotFound");
            self.again(if missing { MISSING_AGAIN } else { CHANGED_AGAIN });
        }
        if self.world.acceptance.refusal.is_some() {
            return self.stand(&Stand::Refused);
        }
        match self.wanted(last.as_ref()) {
            false => self.rest(last.as_ref()),
            true if spec.suspend => self.suspended(),
            true => self.next(last.as_ref()),
        }
    }

    /// Whether another run is wanted, suspended or not.
    pub(super) fn wanted(&self, last: Option<&Run>) -> bool {
        let Ok(spec) = &self.world.flow.spec else { return false };
        let Some(last) = last else { return true };
        let unfinished = matches!(last.result.as_deref(), Some("Suspended" | "Superseded"));
        let changed = last.spec_hash != self.world.acceptance.hash && spec.on_spec_change != OnSpecChange::Ignore;
        // A copy of another object came with that one's status.
        let foreign = naming::run_uid(&last.id) != self.world.flow.uid;
        unfinished || changed || self.asked_again() || foreign
    }

    /// Whether `rerunNonce` asks for a run that has not begun.
    pub(super) fn asked_again(&self) -> bool {
        let nonce = self.world.flow.spec.as_ref().ok().and_then(|spec| spec.rerun_nonce.as_deref());
        nonce.is_some_and(|nonce| !nonce.is_empty() && self.world.flow.status.last_rerun_nonce.as_deref() != Some(nonce))
    }

    /// Nothing to do: the status says how the last run ended.
    fn rest(&mut self, last: Option<&Run>) {
        let Some(run) = last else { return };
        if run.result.as_deref() == Some("Succeeded") {
            self.terminal("Complete", run, "Succeeded", "the run succeeded");
            self.stand(&Stand::Succeeded);
            if run.spec_hash != self.world.acceptance.hash {
                let message = format!("the run succeeded; {IGNORED}");
                self.say("Ready", true, "Succeeded", &message);
                self.status.message = Some(message);
            }
            return;
        }
        let failed = super::condition::find(&self.status, "Failed").map(|failed| (failed.reason.clone(), failed.message.clone()));
        let (reason, message) = failed.unwrap_or_else(|| (run.result.clone().unwrap_or_else(|| "Failed".into()), String::new()));
        self.terminal("Failed", run, &reason, &message);
        self.stand(&Stand::Failed { reason: &reason, message: &message });
    }

    /// Suspended is a flow none of whose pods is there any more, whatever became of it: but for those on nodes that are gone.
    fn suspended(&mut self) {
        let left: Vec<_> = self.world.pods.iter().filter(|pod| !self.is_lost(pod)).cloned().collect();
        if left.is_empty() {
            return self.stand(&Stand::Suspended);
        }
        for pod in left.iter().filter(|pod| !pod.deleting) {
            self.delete(&pod.name, &pod.uid);
        }
        self.again(5);
        let message = format!("waits until {} pods are gone", left.len());
        self.stand(&Stand::Busy { phase: Phase::Suspending, reason: "Suspended", message: &message });
    }

    /// Begins the next run, once nothing of an earlier one is at work.
    fn next(&mut self, last: Option<&Run>) {
        let working = self.world.pods.iter().filter(|pod| !pod.finished() && !self.is_lost(pod)).count();
        if working > 0 {
            let message = format!("waits until {working} pods of the run before are gone");
            for pod in self.world.pods.iter().filter(|pod| !pod.finished() && !pod.deleting) {
                self.delete(&pod.name, &pod.uid);
            }
            self.again(5);
            return self.stand(&Stand::Busy { phase: Phase::Pending, reason: "Queued", message: &message });
        }
        if self.world.memory.terminating {
            self.again(30);
            return self.stand(&Stand::Busy { phase: Phase::Pending, reason: "NamespaceTerminating", message: GOING });
        }
        self.begin(last);
    }

    fn begin(&mut self, last: Option<&Run>) {
        let flow = self.world.flow;
        let number = last.and_then(|run| naming::run_number(&run.id)).unwrap_or(0) + 1;
        let Some(run_id) = naming::run_id(&flow.uid, number) else {
            let message = format!("the object's uid {:?} cannot be part of a run's id", flow.uid);
            return self.stand(&Stand::Failed { reason: "Invalid", message: &message });
        };
        let resumes =
            last.filter(|run| run.result.as_deref() == Some("Suspended") && run.spec_hash == self.world.acceptance.hash);
        let run = Run {
            id: run_id.to_string(),
            spec_hash: self.world.acceptance.hash.clone(),
            generation: flow.generation,
            attempt: resumes.map_or(1, |run| run.attempt + 1),
            start_time: Some(time(self.world.now)),
            ..Run::default()
        };
        self.remember(last);
        self.status.last_rerun_nonce = self.nonce();
        self.status.progress = None;
        self.status.stages = Vec::new();
        self.status.failures = Vec::new();
        self.status.outputs = Vec::new();
        self.status.persisted = Vec::new();
        self.status.decisions = Vec::new();
        self.status.set_aside = Vec::new();
        self.status.bytes_shuffled = None;
        self.unsay("Complete");
        self.unsay("Failed");
        self.status.current_run = Some(run.clone());
        self.actions.push(Action::Start { run: run_id, new: true });
        self.executors(&run);
        let condition = super::condition::find(&self.status, "ExecutorsReady").cloned();
        let (reason, message) = condition.map_or_else(Default::default, |condition| (condition.reason, condition.message));
        self.stand(&Stand::Busy { phase: Phase::Starting, reason: &reason, message: &message });
    }

    /// The nonce that the run answers; an empty one asks for nothing and changes nothing.
    fn nonce(&self) -> Option<String> {
        let asked = self.world.flow.spec.as_ref().ok().and_then(|spec| spec.rerun_nonce.clone());
        asked.filter(|nonce| !nonce.is_empty()).or_else(|| self.world.flow.status.last_rerun_nonce.clone())
    }

    /// The last run goes into the history; what falls out of it leaves nothing behind.
    fn remember(&mut self, last: Option<&Run>) {
        let limit = self.world.flow.spec.as_ref().map_or(5, |spec| spec.retention.history_limit) as usize;
        if let Some(last) = last.filter(|run| naming::run_uid(&run.id) == self.world.flow.uid) {
            self.status.history.insert(0, last.clone());
        }
        for dropped in self.status.history.split_off(limit.min(self.status.history.len())) {
            if !dropped.released
                && let Some(run) = id(&dropped.id)
            {
                self.actions.push(Action::Tidy { run });
            }
        }
    }

    /// The pods of a run that is over, and the master's memory of it.
    fn after(&mut self, run: &Run) {
        let ended = run.completion_time.as_ref().map_or(self.world.now, |time| time.0.as_second());
        let until = self.kept_until(run);
        for pod in self.pods(&run.id) {
            let until = if pod.finished() { until } else { until.min(ended + LEAVING) };
            if pod.deleting {
                continue;
            }
            if self.world.now >= until {
                self.delete(&pod.name, &pod.uid);
            } else {
                self.again_at(until);
            }
        }
        self.forget(run, ended + i64::from(self.retention().output_seconds));
    }

    fn retention(&self) -> Retention {
        self.world.flow.spec.as_ref().map(|spec| spec.retention.clone()).unwrap_or_default()
    }

    /// How long the pods of a run that is over are kept, for their logs.
    fn kept_until(&self, run: &Run) -> i64 {
        let retention = self.retention();
        let kept_for = match run.result.as_deref() {
            Some("Succeeded") => retention.pods_seconds,
            Some("Suspended" | "Superseded") => 0,
            _ => retention.failed_pods_seconds,
        };
        run.completion_time.as_ref().map_or(self.world.now, |time| time.0.as_second()) + i64::from(kept_for)
    }

    /// Pods of runs before the current one go in time too; those of runs that are in no history any more, at once.
    pub(super) fn earlier_pods(&mut self) {
        let current = self.world.flow.status.current_run.as_ref().map_or("", |run| &run.id);
        let ended = |pod: &&PodView| pod.run != current && pod.finished() && !pod.deleting;
        let pods: Vec<&PodView> = self.world.pods.iter().map(|pod| &**pod).filter(ended).collect();
        for pod in pods {
            let run = self.world.flow.status.history.iter().find(|run| run.id == pod.run);
            let until = run.map_or(self.world.now, |run| self.kept_until(run));
            if self.world.now >= until {
                self.delete(&pod.name, &pod.uid);
            } else {
                self.again_at(until);
            }
        }
    }

    /// The pieces of a run that is over go; agents keep rows of `write.stdout` that were too many for a Secret.
    fn forget(&mut self, run: &Run, until: i64) {
        let Some(run_id) = id(&run.id) else { return };
        let local = self.world.flow.status.outputs.iter().any(|output| output.location == NODE_LOCAL);
        let keep_output = local && self.world.now < until && !run.released;
        let told = self.world.memory.forgotten.as_ref();
        let needed = keep_output || self.world.progress.is_some() || told.is_some_and(|(_, kept)| *kept);
        if needed && told != Some(&(run.id.clone(), keep_output)) {
            self.actions.push(Action::Forget { run: run_id, keep_output });
        }
        if keep_output {
            self.again_at(until);
        }
    }

    /// What runs left is removed in time, and the status says that it is.
    fn leftovers(&mut self) {
        let Ok(spec) = &self.world.flow.spec else { return };
        let kept_for = i64::from(spec.retention.output_seconds);
        let mut runs: Vec<Run> = self.status.current_run.iter().chain(&self.status.history).cloned().collect();
        for run in runs.iter_mut().filter(|run| !run.released && naming::run_uid(&run.id) == self.world.flow.uid) {
            let ended = run.completion_time.as_ref().map_or(self.world.now, |time| time.0.as_second());
            if self.world.memory.tidied.contains(&run.id) {
                run.released = true;
            } else if self.world.now < ended + kept_for {
                self.again_at(ended + kept_for);
            } else if let Some(run) = id(&run.id) {
                self.actions.push(Action::Tidy { run });
            }
        }
        let mut runs = runs.into_iter();
        if self.status.current_run.is_some() {
            self.status.current_run = runs.next();
        }
        self.status.history = runs.collect();
        self.expired();
    }

    /// What is kept no longer is not shown as if it were.
    fn expired(&mut self) {
        if !self.status.current_run.as_ref().is_some_and(|run| run.released) {
            return;
        }
        let in_secret = |location: &str| location.strip_prefix(KEPT).is_some_and(|name| name.starts_with('/'));
        let kept = |output: &&mut Output| output.location == NODE_LOCAL || in_secret(&output.location);
        for output in self.status.outputs.iter_mut().filter(kept) {
            output.location = EXPIRED.to_owned();
            output.preview = None;
        }
    }

    fn delete(&mut self, name: &str, uid: &str) {
        self.actions.push(Action::DeletePod { name: name.to_owned(), uid: uid.to_owned() });
    }
}
