//! How many executors a run gets, which pods are made and deleted, and what the condition `ExecutorsReady` says.

use std::collections::BTreeSet;

use crds::cluster::Executors;
use crds::status::Run;

use super::{Action, Draft, id};
use crate::naming;
use crate::view::{PodPhase, PodView, Trouble};

/// At most so many pods are made at once: a wrong number must not flood the API server.
const AT_ONCE: usize = 50;
/// Failed pods that are kept for their logs while the run goes on.
const KEPT_FAILED: usize = 5;
/// How long there must be too many executors before running ones go.
const SURPLUS: i64 = 30;
/// The longest wait after failing or refused pods.
const LONGEST_WAIT: i64 = 60;
/// An executor that ends so soon, and without an error, was none: those that are not needed any more are told to go after
/// [`SURPLUS`] at the earliest.
const TOO_SOON: i64 = 20;
/// A scheduler that has said nothing about a pod for so long is not there.
const SCHEDULER_SILENT: i64 = 30;
/// So long after a run was taken up it is told that an earlier installation began it, as long as it has no executor.
const REPLACED: i64 = 120;
const ANEW: &str = "Gleamflow was installed anew while this run went on: its executors, which know nobody here, are replaced, \
    and what they had shuffled is made again";
/// Why nothing is made in a namespace that goes away.
pub(super) const GOING: &str = "the namespace is being deleted";
/// At least so many pods on nodes that are gone are made up for; see [`Draft::for_the_lost`].
const MADE_UP_FOR: usize = 3;

/// Troubles from the one that people must act on to the one that passes.
const WORST_FIRST: [&str; 11] = [
    "ImagePullFailed",
    "ContainerConfigError",
    "OutOfMemory",
    "ExecutorFailed",
    "VolumeNotReady",
    "Unschedulable",
    "NodeLost",
    "Evicted",
    "Disrupted",
    "PodNotStarted",
    "Starting",
];

impl Draft<'_> {
    /// Decides about the run's pods; whether an executor is connected.
    pub(super) fn executors(&mut self, run: &Run) -> bool {
        let bounds = self.world.flow.spec.as_ref().map(|spec| spec.executors.clone()).unwrap_or_default();
        let pods = self.pods(&run.id);
        let there = pods.iter().copied().filter(|pod| !pod.finished() && !pod.deleting);
        let (strangers, there): (Vec<&PodView>, Vec<&PodView>) = there.partition(|pod| self.is_stranger(pod));
        for pod in strangers {
            self.actions.push(Action::DeletePod { name: pod.name.clone(), uid: pod.uid.clone() });
        }
        let (lost, live): (Vec<&PodView>, Vec<&PodView>) = there.into_iter().partition(|pod| self.is_lost(pod));
        let desired = self.desired(&bounds, &live);
        self.clean(&pods);
        for pod in live.iter().filter(|pod| is_without_node(pod) && self.world.now < pod.created_at + SCHEDULER_SILENT) {
            self.again_at(pod.created_at + SCHEDULER_SILENT);
        }
        if self.taking_up() {
            self.again_at(self.world.memory.taken_up + super::running::TAKING_UP);
        }
        self.shrink(desired, &live, run);
        self.grow(&bounds, desired, &live, &lost, &pods, run);
        let ready = self.connected(&live);
        let counts = (desired, count(ready), count(live.len().saturating_sub(ready)));
        self.counts(counts.0, counts.1, counts.2);
        self.ready_condition(ready, desired, &pods)
    }

    /// As many as the run has work for, within its bounds and what nodes have left.
    fn desired(&self, bounds: &Executors, live: &[&PodView]) -> u32 {
        let slots = bounds.slots.max(1);
        let useful = self.world.progress.as_ref().map_or(slots, |progress| progress.useful_slots);
        let wanted = useful.div_ceil(slots).clamp(bounds.min_replicas, bounds.max_replicas.max(bounds.min_replicas)).max(1);
        match &self.world.cluster.free {
            None => wanted,
            Some(free) => {
                let more = free.iter().fold(0_u32, |sum, node| sum.saturating_add(node.holds(self.world.cluster.each)));
                // One is always asked for: then the scheduler says itself why there is no room.
                wanted.min(count(live.len()).saturating_add(more)).max(1)
            }
        }
    }

    /// Deletes pods that ended, but for the newest that failed.
    fn clean(&mut self, pods: &[&PodView]) {
        let ended = pods.iter().filter(|pod| pod.finished() && !pod.deleting);
        let (mut failed, done): (Vec<&PodView>, Vec<&PodView>) = ended.copied().partition(|pod| was_bad(pod));
        failed.sort_by_key(|pod| std::cmp::Reverse((pod.finished_at, pod.name.clone())));
        for pod in done.into_iter().chain(failed.into_iter().skip(KEPT_FAILED)) {
            self.actions.push(Action::DeletePod { name: pod.name.clone(), uid: pod.uid.clone() });
        }
    }

    fn shrink(&mut self, desired: u32, live: &[&PodView], run: &Run) {
        // How much work there is, a new leader has yet to find out.
        if self.world.progress.as_ref().is_none_or(super::running::resumes) {
            return;
        }
        let surplus = live.len().saturating_sub(desired as usize);
        if surplus == 0 {
            if self.world.memory.surplus_since.is_some() {
                self.actions.push(Action::Surplus { since: None });
            }
            return;
        }
        let since = self.world.memory.surplus_since.unwrap_or(self.world.now);
        if self.world.memory.surplus_since.is_none() {
            self.actions.push(Action::Surplus { since: Some(since) });
        }
        let ripe = self.world.now - since >= SURPLUS;
        let base = self.base(run);
        let mut order: Vec<&PodView> = live.to_vec();
        // Those without a node first, then the youngest.
        order.sort_by_key(|pod| (pod.node.is_some(), std::cmp::Reverse(naming::pod_index(&base, &pod.name))));
        for pod in order.into_iter().take(surplus).filter(|pod| ripe || pod.node.is_none()) {
            self.actions.push(Action::DeletePod { name: pod.name.clone(), uid: pod.uid.clone() });
        }
        if !ripe {
            self.again_at(since + SURPLUS);
        }
    }

    fn grow(&mut self, bounds: &Executors, desired: u32, live: &[&PodView], lost: &[&PodView], pods: &[&PodView], run: &Run) {
        let missing = (desired as usize).saturating_sub(live.len()).min(AT_ONCE);
        let missing = missing.min(for_the_lost(bounds, lost.len()));
        if missing == 0 || self.world.memory.terminating {
            return;
        }
        if let Some(refused) = self.world.memory.refused.as_ref().filter(|refused| refused.until > self.world.now) {
            return self.again_at(refused.until);
        }
        let waits = [wait_after_failures(pods), wait_after_losses(lost)];
        if let Some(until) = waits.into_iter().flatten().max().filter(|until| *until > self.world.now) {
            return self.again_at(until);
        }
        // More would not find room either, beside the one that must be there at least.
        if live.iter().any(|pod| pod.trouble.as_ref().is_some_and(|trouble| trouble.reason == "Unschedulable")) {
            return;
        }
        self.create(run, missing, pods);
    }

    fn create(&mut self, run: &Run, missing: usize, pods: &[&PodView]) {
        let Some(run_id) = id(&run.id) else { return };
        let base = self.base(run);
        let taken: BTreeSet<u32> = pods.iter().filter_map(|pod| naming::pod_index(&base, &pod.name)).collect();
        for index in (0..).filter(|index| !taken.contains(index)).take(missing) {
            self.actions.push(Action::CreatePod { run: run_id.clone(), index });
        }
    }

    /// How many executors work: running and, as far as the master knows its slots yet, connected.
    fn connected(&self, live: &[&PodView]) -> usize {
        let running = live.iter().filter(|pod| pod.phase == PodPhase::Running);
        match &self.world.progress {
            Some(progress) if progress.slots > 0 || !self.taking_up() => {
                running.filter(|pod| progress.pods.contains(&pod.name)).count()
            }
            _ if self.was_ready() => running.count(),
            _ => 0,
        }
    }

    /// Whether slots of a run that goes on have yet to find this leader.
    fn taking_up(&self) -> bool {
        self.world.now - self.world.memory.taken_up < super::running::TAKING_UP
    }

    fn was_ready(&self) -> bool {
        super::condition::find(&self.world.flow.status, "ExecutorsReady").is_some_and(|before| before.status == "True")
    }

    fn ready_condition(&mut self, ready: usize, desired: u32, pods: &[&PodView]) -> bool {
        let trouble = self.blocked(pods);
        if ready >= desired as usize {
            self.say("ExecutorsReady", true, "Ready", "all executors are connected");
            return true;
        }
        if ready > 0 {
            let message =
                format!("{ready} of {desired} executors are connected; of the others: {}: {}", trouble.reason, trouble.message);
            self.say("ExecutorsReady", true, "Ready", &message);
            return true;
        }
        self.say("ExecutorsReady", false, trouble.reason, &trouble.message);
        false
    }

    /// A pod whose executor looks for an operator that is no more: one of an earlier installation.
    fn is_stranger(&self, pod: &PodView) -> bool {
        pod.operator.zip(self.world.cluster.operator).is_some_and(|(its, ours)| its != ours)
    }

    /// A pod that no scheduler has said a word about.
    fn unnoticed(&self, pod: &PodView) -> Option<Trouble> {
        let silent = is_without_node(pod) && self.world.now - pod.created_at >= SCHEDULER_SILENT;
        silent.then(|| Trouble {
            reason: "Unschedulable",
            message: format!("no scheduler has looked at pod {}: is the one that executors.template names there?", pod.name),
        })
    }

    /// What keeps the executors from working, the worst of it.
    fn blocked(&self, pods: &[&PodView]) -> Trouble {
        if self.world.memory.terminating {
            return Trouble { reason: "NamespaceTerminating", message: GOING.to_owned() };
        }
        if let Some(refused) = &self.world.memory.refused {
            return Trouble { reason: refused.reason, message: refused.message.clone() };
        }
        let rank = |trouble: &Trouble| WORST_FIRST.iter().position(|reason| *reason == trouble.reason);
        let there = pods.iter().filter(|pod| !pod.deleting);
        let troubles =
            there.filter_map(|pod| pod.trouble.clone().or_else(|| ended_too_soon(pod)).or_else(|| self.unnoticed(pod)));
        let worst = troubles.min_by_key(rank);
        let passes = worst.as_ref().is_none_or(|worst| worst.reason == "Starting");
        let anew = self.world.memory.anew && self.world.now - self.world.memory.taken_up < REPLACED;
        if passes && (anew || pods.iter().any(|pod| self.is_stranger(pod))) {
            return Trouble { reason: "OperatorReplaced", message: ANEW.to_owned() };
        }
        if let Some(worst) = worst {
            return worst;
        }
        if let Some(pod) = pods.iter().find(|pod| self.is_lost(pod)) {
            let message = format!("node {} of pod {} is gone", pod.node.as_deref().unwrap_or_default(), pod.name);
            return Trouble { reason: "NodeLost", message };
        }
        if self.world.cluster.agents == 0 {
            return Trouble { reason: "AgentsNotReady", message: self.without_agents() };
        }
        Trouble { reason: "Starting", message: "a pod is being made, or its slots are connecting".to_owned() }
    }

    pub(super) fn without_agents(&self) -> String {
        let why = self.world.cluster.no_agents.as_deref();
        format!("no agent is connected: {}", why.unwrap_or("look at the pods of the DaemonSet gleamflow-agent"))
    }
}

/// No new pod sooner than then: twice as long after each that failed by itself.
fn wait_after_failures(pods: &[&PodView]) -> Option<i64> {
    let ended: Vec<_> = pods.iter().filter(|pod| pod.finished() && !pod.disrupted).collect();
    let newest = ended.iter().filter_map(|pod| pod.finished_at).max()?;
    let failed = ended.iter().filter(|pod| was_bad(pod)).count();
    Some(newest + longer_each_time(failed))
}

/// Nor sooner than then where pods came to nodes that are gone: those that were there before such a node went away are old, and
/// are made up for at once.
fn wait_after_losses(lost: &[&PodView]) -> Option<i64> {
    let newest = lost.iter().map(|pod| pod.created_at).max()?;
    Some(newest + longer_each_time(lost.len()))
}

/// Seconds to wait before the next try, after so many that came to nothing: twice as long each time, up to a minute.
pub(crate) fn longer_each_time(times: usize) -> i64 {
    (1_i64 << times.min(6)).min(LONGEST_WAIT)
}

/// How many more pods may be made, with so many on nodes that are gone: all of a run's executors are made up for once. What is on
/// such nodes beyond that is waited for until the cluster takes it away, or pods without end would be made for a flow that
/// can go nowhere else.
fn for_the_lost(bounds: &Executors, lost: usize) -> usize {
    let most = (bounds.max_replicas as usize).max(MADE_UP_FOR);
    if lost == 0 { usize::MAX } else { most.saturating_sub(lost) }
}

/// Whether a pod that ended did so in an unexpected way.
fn was_bad(pod: &PodView) -> bool {
    pod.phase == PodPhase::Failed || ended_too_soon(pod).is_some()
}

fn ended_too_soon(pod: &PodView) -> Option<Trouble> {
    let by_itself = pod.phase == PodPhase::Succeeded && !pod.deleting && !pod.disrupted;
    let lasted = pod.lasted.filter(|lasted| by_itself && *lasted < TOO_SOON)?;
    let message = format!(
        "pod {} ended after {lasted} s with exit code 0, though there is work: is its image (executors.image) one of Gleamflow's executor?",
        pod.name
    );
    Some(Trouble { reason: "ExecutorFailed", message })
}

fn is_without_node(pod: &PodView) -> bool {
    pod.phase == PodPhase::Pending && pod.node.is_none()
}

fn count(of: usize) -> u32 {
    u32::try_from(of).unwrap_or(u32::MAX)
}
