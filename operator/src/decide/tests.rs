//! What is decided in which situation: a table of worlds and what follows.

use serde_json::{Value, json};

use super::*;
use crate::master::api::RunPhase;
use crate::view::{PodPhase, Trouble};

mod told;

const NOW: i64 = 1_800_000_000;

fn acceptance() -> Acceptance {
    Acceptance { hash: "h".into(), ..Acceptance::default() }
}

/// A flow with a run that began ten seconds ago.
fn flow(spec: Value) -> FlowView {
    let mut all =
        json!({"steps": [{"name": "in", "read": {"inline": {"rows": [["a"]]}}}, {"name": "out", "write": {"stdout": {}}}]});
    all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    let start = jiff::Timestamp::from_second(NOW - 10).unwrap().to_string();
    FlowView::read(&json!({
        "metadata": {"name": "a", "namespace": "n", "uid": "u", "resourceVersion": "1", "generation": 1},
        "spec": all,
        "status": {"observedGeneration": 1, "phase": "Starting", "currentRun": {"id": "u-1", "specHash": "h", "generation": 1, "attempt": 1, "startTime": start}},
    }))
    .unwrap()
}

fn pod(index: u32, phase: PodPhase) -> Arc<PodView> {
    Arc::new(PodView {
        name: format!("a-1-{index}"),
        uid: format!("p{index}"),
        version: 1,
        run: "u-1".into(),
        owner: "u".into(),
        phase,
        deleting: false,
        node: (phase != PodPhase::Pending).then(|| "n1".to_owned()),
        requests: Room::default(),
        operator: None,
        trouble: None,
        disrupted: false,
        created_at: NOW - 10,
        lasted: None,
        finished_at: None,
    })
}

fn progress(useful: u32, pods: &[&str]) -> Progress {
    Progress {
        phase: RunPhase::Running,
        useful_slots: useful,
        slots: u32::try_from(pods.len()).unwrap(),
        pods: pods.iter().map(|pod| (*pod).to_owned()).collect(),
        ..Progress::default()
    }
}

fn started() -> Memory {
    Memory { here: Here::Started("u-1".into()), taken_up: NOW - 10, ..Memory::default() }
}

fn look(flow: &FlowView, pods: &[Arc<PodView>], progress: Option<Progress>, memory: &Memory, cluster: &Surroundings) -> Decision {
    decide(&World { now: NOW, flow, acceptance: &acceptance(), pods, progress, memory, cluster })
}

fn created(decision: &Decision) -> Vec<u32> {
    decision
        .actions
        .iter()
        .filter_map(|action| match action {
            Action::CreatePod { index, .. } => Some(*index),
            _ => None,
        })
        .collect()
}

fn deleted(decision: &Decision) -> Vec<&str> {
    decision
        .actions
        .iter()
        .filter_map(|action| match action {
            Action::DeletePod { name, .. } => Some(name.as_str()),
            _ => None,
        })
        .collect()
}

fn executors_ready(decision: &Decision) -> (String, String) {
    let found = condition::find(&decision.status, "ExecutorsReady").unwrap();
    (found.reason.clone(), found.message.clone())
}

fn one_agent() -> Surroundings {
    Surroundings { agents: 1, ..Surroundings::default() }
}

#[test]
fn executors_are_as_many_as_there_is_work_for_within_bounds_and_room() {
    let flow = flow(json!({"executors": {"maxReplicas": 5, "slots": 2}}));
    let pods = [pod(0, PodPhase::Running)];
    let check = |useful: u32, cluster: &Surroundings, expected: &[u32]| {
        assert_eq!(created(&look(&flow, &pods, Some(progress(useful, &["a-1-0"])), &started(), cluster)), expected, "{useful}");
    };
    check(1, &one_agent(), &[]);
    check(3, &one_agent(), &[1]);
    check(100, &one_agent(), &[1, 2, 3, 4]);
    let each = Room { cpu: 1000, memory: 1 };
    let free = vec![Room { cpu: 1500, memory: 10 }, Room { cpu: 2000, memory: 1 }, Room::default()];
    check(100, &Surroundings { free: Some(free), each, ..one_agent() }, &[1, 2]);
}

#[test]
fn a_lost_executor_is_replaced_under_a_name_that_is_free() {
    let flow = flow(json!({}));
    let mut failed = Arc::unwrap_or_clone(pod(0, PodPhase::Failed));
    failed.disrupted = true;
    failed.trouble = Some(Trouble { reason: "Evicted", message: "memory".into() });
    failed.finished_at = Some(NOW);
    let decision = look(&flow, &[Arc::new(failed.clone())], Some(progress(1, &[])), &started(), &one_agent());
    assert_eq!(created(&decision), [1]);
    assert!(decision.actions.contains(&Action::PodGone {
        run: id("u-1").unwrap(),
        pod: "a-1-0".into(),
        why: "Evicted: memory".into()
    }));
    failed.disrupted = false;
    let decision = look(&flow, &[Arc::new(failed)], Some(progress(1, &[])), &started(), &one_agent());
    assert_eq!(created(&decision), [] as [u32; 0], "one that failed by itself is waited after");
}

#[test]
fn an_executor_that_looks_for_another_operator_is_replaced_at_once_and_that_is_said() {
    let flow = flow(json!({}));
    let ours = "10.0.0.2:7400".parse().ok();
    let check = |its: Option<&str>, ours: Option<std::net::SocketAddr>, replaced: bool| {
        let one = Arc::unwrap_or_clone(pod(0, PodPhase::Running));
        let one = Arc::new(PodView { operator: its.map(|its| its.parse().unwrap()), ..one });
        let cluster = Surroundings { operator: ours, ..one_agent() };
        let decision = look(&flow, &[one], Some(progress(1, &[])), &started(), &cluster);
        let deleted = decision.actions.contains(&Action::DeletePod { name: "a-1-0".into(), uid: "p0".into() });
        assert_eq!((deleted, created(&decision) == [1]), (replaced, replaced), "{its:?}, {ours:?}");
        let said = super::condition::find(&decision.status, "ExecutorsReady").map(|condition| condition.reason.clone());
        assert_eq!(said.as_deref() == Some("OperatorReplaced"), replaced, "{said:?}");
    };
    check(Some("10.0.0.1:7400"), ours, true);
    check(Some("10.0.0.2:7400"), ours, false);
    // A name, where the address could not be read, tells nothing.
    check(None, ours, false);
    check(Some("10.0.0.1:7400"), None, false);
}

#[test]
fn pods_that_come_to_a_node_that_is_gone_are_made_ever_later_and_not_without_end() {
    let flow = flow(json!({"executors": {"maxReplicas": 5}}));
    let cluster = Surroundings { lost: ["n1".to_owned()].into(), ..one_agent() };
    let lost = |count: u32, age: i64| -> Vec<Arc<PodView>> {
        let one = |index| Arc::new(PodView { created_at: NOW - age, ..Arc::unwrap_or_clone(pod(index, PodPhase::Running)) });
        (0..count).map(one).collect()
    };
    let made = |pods: &[Arc<PodView>]| created(&look(&flow, pods, Some(progress(1, &[])), &started(), &cluster)).len();
    assert_eq!(made(&lost(1, 3600)), 1, "what was there before the node went away is made up for at once");
    assert_eq!(made(&lost(3, 3600)), 1);
    assert_eq!(made(&lost(1, 1)), 0, "one that came there a second ago is not");
    assert_eq!(made(&lost(4, 15)), 0);
    assert_eq!(made(&lost(4, 16)), 1);
    assert_eq!(made(&lost(5, 3600)), 0, "all that the run may have are there");
    let decision = look(&flow, &lost(5, 3600), Some(progress(1, &[])), &started(), &cluster);
    assert_eq!(executors_ready(&decision).0, "NodeLost");
}

#[test]
fn executors_that_never_find_the_next_leader_are_noticed_without_an_event() {
    let mut flow = flow(json!({}));
    let pods = [pod(0, PodPhase::Running)];
    flow.status = look(&flow, &pods, Some(progress(1, &["a-1-0"])), &started(), &one_agent()).status;
    assert_eq!(executors_ready(&look(&flow, &pods, Some(progress(1, &["a-1-0"])), &started(), &one_agent())).0, "Ready");
    let next = |age: i64| {
        let memory = Memory { taken_up: NOW - age, ..started() };
        look(&flow, &pods, Some(progress(1, &[])), &memory, &one_agent())
    };
    let decision = next(5);
    assert_eq!(executors_ready(&decision).0, "Ready", "they may be on their way");
    assert!(decision.again.is_some_and(|again| again <= 10), "{:?}", decision.again);
    assert_eq!(executors_ready(&next(15)).0, "Starting");
}

#[test]
fn executors_that_end_at_once_without_an_error_are_told_and_waited_after() {
    let flow = flow(json!({}));
    let ended = |lasted: i64| {
        let one = Arc::unwrap_or_clone(pod(0, PodPhase::Succeeded));
        Arc::new(PodView { lasted: Some(lasted), finished_at: Some(NOW - 1), ..one })
    };
    let decision = look(&flow, &[ended(0)], Some(progress(1, &[])), &started(), &one_agent());
    assert_eq!(created(&decision), [] as [u32; 0]);
    assert_eq!(deleted(&decision), [] as [&str; 0], "its log is kept for a while");
    let (reason, message) = executors_ready(&decision);
    assert!(reason == "ExecutorFailed" && message.contains("executors.image"), "{reason}: {message}");
    let decision = look(&flow, &[ended(60)], Some(progress(1, &[])), &started(), &one_agent());
    assert_eq!((created(&decision), deleted(&decision)), (vec![1], vec!["a-1-0"]), "it had been told to go");
}

#[test]
fn a_pod_that_no_scheduler_looks_at_is_told() {
    let flow = flow(json!({}));
    let waiting = |age: i64| {
        let one = Arc::unwrap_or_clone(pod(0, PodPhase::Pending));
        let pods = [Arc::new(PodView { created_at: NOW - age, ..one })];
        look(&flow, &pods, Some(progress(1, &[])), &started(), &one_agent())
    };
    let decision = waiting(20);
    assert_eq!(executors_ready(&decision).0, "Starting");
    assert!(decision.again.is_some_and(|again| again <= 10), "{:?}", decision.again);
    let (reason, message) = executors_ready(&waiting(30));
    assert!(reason == "Unschedulable" && message.contains("no scheduler"), "{reason}: {message}");
}

#[test]
fn a_stage_has_succeeded_once_all_of_its_tasks_are_known_and_done() {
    let told = |succeeded: u32, desired: u32, partitions: &str| {
        let stage = crds::status::StageStatus {
            name: "m1".into(),
            desired,
            succeeded,
            completed_partitions: partitions.into(),
            ..crds::status::StageStatus::default()
        };
        GleamFlowStatus { stages: vec![stage], ..GleamFlowStatus::default() }
    };
    let reasons = |before: &GleamFlowStatus, after: &GleamFlowStatus| -> Vec<String> {
        event::events(before, after).into_iter().map(|event| event.reason).collect()
    };
    let none = GleamFlowStatus::default();
    assert_eq!(reasons(&none, &told(0, 1, "")), ["Planned"]);
    let maps = told(1, 1, "");
    assert_eq!(reasons(&told(0, 1, ""), &maps), ["StageStarted"], "how many reduce tasks there are is not known yet");
    assert!(reasons(&maps, &told(4, 5, "0-2")).is_empty());
    assert_eq!(reasons(&told(4, 5, "0-2"), &told(5, 5, "0-3")), ["StageSucceeded"]);
    assert!(reasons(&told(5, 5, "0-3"), &told(5, 5, "0-3")).is_empty());
    assert_eq!(reasons(&none, &told(2, 2, "0")), ["Planned", "StageSucceeded"], "both at once is told as done");
    let retried = |count: u32| {
        let mut status = told(1, 5, "");
        status.stages[0].retried = count;
        status
    };
    assert_eq!(reasons(&retried(0), &retried(1)), ["TaskRetried"]);
    assert_eq!(reasons(&retried(2), &retried(3)), [] as [&str; 0], "not each one");
    assert_eq!(reasons(&retried(3), &retried(4)), ["TaskRetried"]);
}

#[test]
fn a_pod_on_a_node_that_is_gone_is_not_waited_for() {
    let flow = flow(json!({}));
    let cluster = Surroundings { lost: ["n1".to_owned()].into(), ..one_agent() };
    let decision = look(&flow, &[pod(0, PodPhase::Running)], Some(progress(1, &[])), &started(), &cluster);
    assert_eq!(created(&decision), [1]);
}

#[test]
fn the_worst_trouble_shows_in_its_own_words() {
    let flow = flow(json!({}));
    let troubled = |index: u32, reason: &'static str| {
        let mut pod = Arc::unwrap_or_clone(pod(index, PodPhase::Pending));
        pod.trouble = Some(Trouble { reason, message: format!("{reason} it is") });
        Arc::new(pod)
    };
    let pods = [troubled(0, "Unschedulable"), troubled(1, "ImagePullFailed")];
    let decision = look(&flow, &pods, Some(progress(5, &[])), &started(), &one_agent());
    assert_eq!(executors_ready(&decision), ("ImagePullFailed".into(), "ImagePullFailed it is".into()));
    assert_eq!(decision.status.reason.as_deref(), Some("ImagePullFailed"));
    assert!(created(&decision).is_empty(), "no more pods while one finds no node");
    let decision = look(&flow, &[], Some(progress(1, &[])), &started(), &Surroundings::default());
    assert_eq!(executors_ready(&decision).0, "AgentsNotReady");
}

#[test]
fn running_executors_stay_a_while_when_there_is_less_to_do() {
    let flow = flow(json!({}));
    let mut waiting = Arc::unwrap_or_clone(pod(2, PodPhase::Pending));
    waiting.node = None;
    let pods = [pod(0, PodPhase::Running), pod(1, PodPhase::Running), Arc::new(waiting)];
    let work = || Some(progress(1, &["a-1-0", "a-1-1"]));
    let decision = look(&flow, &pods, work(), &started(), &one_agent());
    assert_eq!(deleted(&decision), ["a-1-2"]);
    let patient = Memory { surplus_since: Some(NOW - 31), ..started() };
    assert_eq!(deleted(&look(&flow, &pods, work(), &patient, &one_agent())), ["a-1-2", "a-1-1"]);
}

#[test]
fn a_run_that_commits_is_not_stopped() {
    let mut flow = flow(json!({"suspend": true}));
    flow.cancel = Some("u-1".into());
    let committing = Progress { phase: RunPhase::Committing, ..progress(1, &["a-1-0"]) };
    let decision = look(&flow, &[pod(0, PodPhase::Running)], Some(committing), &started(), &one_agent());
    assert!(!decision.actions.iter().any(|action| matches!(action, Action::Stop { .. })));
    assert!(deleted(&decision).is_empty());
    let decision = look(&flow, &[pod(0, PodPhase::Running)], Some(progress(1, &["a-1-0"])), &started(), &one_agent());
    assert!(decision.actions.iter().any(|action| matches!(action, Action::Stop { .. })));
}

#[test]
fn a_new_leader_takes_a_run_up_before_it_stops_it() {
    let mut flow = flow(json!({}));
    flow.cancel = Some("u-1".into());
    let decision = look(&flow, &[], None, &Memory::default(), &one_agent());
    assert!(matches!(decision.actions[0], Action::Start { new: false, .. }));
    assert!(decision.status.current_run.unwrap().completion_time.is_none());
}

#[test]
fn deciding_again_on_what_was_decided_changes_nothing() {
    let mut flow = flow(json!({}));
    let pods = [pod(0, PodPhase::Running)];
    let work = || Some(progress(1, &["a-1-0"]));
    flow.status = look(&flow, &pods, work(), &started(), &one_agent()).status;
    let again = look(&flow, &pods, work(), &started(), &one_agent());
    assert_eq!(again.status, flow.status);
    assert!(again.actions.is_empty(), "{:?}", again.actions);
}

#[test]
fn events_come_once_per_transition() {
    let mut flow = flow(json!({}));
    let before = flow.status.clone();
    let decision = look(&flow, &[], Some(progress(1, &[])), &started(), &Surroundings::default());
    let told = event::events(&before, &decision.status);
    assert_eq!(told.iter().map(|event| event.reason.as_str()).collect::<Vec<_>>(), ["AgentsNotReady"]);
    flow.status = decision.status;
    let decision = look(&flow, &[], Some(progress(1, &[])), &started(), &Surroundings::default());
    assert!(event::events(&flow.status, &decision.status).is_empty());
}

#[test]
fn a_flow_whose_namespace_goes_away_makes_nothing() {
    let flow = flow(json!({}));
    let memory = Memory { terminating: true, ..started() };
    assert!(created(&look(&flow, &[], Some(progress(3, &[])), &memory, &one_agent())).is_empty());
}

/// A flow whose run was suspended and is over.
fn suspended() -> FlowView {
    let mut flow = flow(json!({"suspend": true}));
    let run = flow.status.current_run.as_mut().unwrap();
    run.result = Some("Suspended".into());
    run.completion_time =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::from_second(NOW - 5).unwrap()));
    flow
}

#[test]
fn a_flow_is_suspended_when_all_of_its_pods_are_gone_and_no_sooner() {
    let flow = suspended();
    let phase = |pods: &[Arc<PodView>], cluster: &Surroundings| {
        let decision = look(&flow, pods, None, &started(), cluster);
        let said = condition::find(&decision.status, "Suspended").is_some();
        assert_eq!(said, decision.status.phase == Some(crds::status::Phase::Suspended));
        (
            decision.status.phase.unwrap(),
            deleted(&decision).into_iter().map(str::to_owned).collect::<std::collections::BTreeSet<_>>(),
        )
    };
    use crds::status::Phase::{Suspended, Suspending};
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(phase(&[], &one_agent()), (Suspended, names(&[])));
    assert_eq!(phase(&[pod(0, PodPhase::Running)], &one_agent()), (Suspending, names(&["a-1-0"])));
    // Those that have ended are pods, too.
    assert_eq!(
        phase(&[pod(0, PodPhase::Succeeded), pod(1, PodPhase::Failed)], &one_agent()),
        (Suspending, names(&["a-1-0", "a-1-1"]))
    );
    let mut leaving = Arc::unwrap_or_clone(pod(0, PodPhase::Failed));
    leaving.deleting = true;
    assert_eq!(phase(&[Arc::new(leaving)], &one_agent()), (Suspending, names(&[])));
    // A node that is gone lets go of nothing: its attempts are refused everywhere.
    let cluster = Surroundings { lost: ["n1".to_owned()].into(), ..one_agent() };
    assert_eq!(phase(&[pod(0, PodPhase::Running)], &cluster).0, Suspended);
}

#[test]
fn a_run_that_is_stopped_keeps_its_pods_until_the_master_has_removed_what_was_staged() {
    let mut flow = flow(json!({}));
    flow.cancel = Some("u-1".into());
    let decision = look(&flow, &[pod(0, PodPhase::Running)], Some(progress(1, &["a-1-0"])), &started(), &one_agent());
    assert!(decision.actions.iter().any(|action| matches!(action, Action::Stop { .. })));
    assert!(deleted(&decision).is_empty());
    let stopped = Memory { here: Here::Stopped("u-1".into()), ..started() };
    let decision = look(&flow, &[pod(0, PodPhase::Running)], Some(progress(1, &["a-1-0"])), &stopped, &one_agent());
    assert!(deleted(&decision).is_empty() && decision.status.current_run.as_ref().unwrap().completion_time.is_none());
    let over = Progress { phase: RunPhase::Failed { reason: "Stopped".into(), message: String::new() }, ..Progress::default() };
    let decision = look(&flow, &[pod(0, PodPhase::Running)], Some(over), &stopped, &one_agent());
    assert_eq!(decision.status.current_run.unwrap().result.as_deref(), Some("Cancelled"));
}

#[test]
fn a_run_whose_record_another_has_written_is_taken_up_anew() {
    let flow = flow(json!({}));
    let decision = look(&flow, &[pod(0, PodPhase::Running)], None, &started(), &one_agent());
    assert!(matches!(decision.actions[0], Action::Start { new: false, .. }), "{:?}", decision.actions);
}

#[test]
fn rows_that_were_set_aside_are_counted_and_never_fewer() {
    let mut flow = flow(json!({}));
    let aside = |rows: u64| Progress { set_aside: [("clean".to_owned(), rows)].into(), ..progress(1, &["a-1-0"]) };
    let told = |flow: &FlowView, rows: u64| {
        let decision = look(flow, &[pod(0, PodPhase::Running)], Some(aside(rows)), &started(), &one_agent());
        decision.status
    };
    flow.status = told(&flow, 7);
    assert_eq!((flow.status.set_aside[0].step.as_str(), flow.status.set_aside[0].rows), ("clean", 7));
    assert_eq!(told(&flow, 3).set_aside[0].rows, 7);
    assert_eq!(told(&flow, 9).set_aside[0].rows, 9);
}

#[test]
fn who_else_writes_there_is_said_while_both_run() {
    let flow = flow(json!({}));
    let key = FlowKey { namespace: "n".into(), name: "b".into() };
    let shared = Shared { step: "out".into(), path: "p".into(), flow: key, its_step: "save".into() };
    let cluster = Surroundings { shared: Some(shared), ..one_agent() };
    let pods = [pod(0, PodPhase::Running)];
    let decision = look(&flow, &pods, Some(progress(1, &["a-1-0"])), &started(), &cluster);
    let said = condition::find(&decision.status, "OutputShared").unwrap();
    assert_eq!((said.status.as_str(), said.reason.as_str()), ("True", "SamePath"));
    assert!(said.message.starts_with("step \"out\" writes to \"p\", and so does step \"save\" of n/b"), "{}", said.message);
    let told = event::events(&flow.status, &decision.status);
    assert!(told.iter().any(|event| event.warning && event.reason == "OutputShared"), "{told:?}");
    let told_before = FlowView { status: decision.status, ..flow };
    let alone = look(&told_before, &pods, Some(progress(1, &["a-1-0"])), &started(), &one_agent());
    assert_eq!(condition::find(&alone.status, "OutputShared"), None);
    let over = Progress { phase: RunPhase::Succeeded, ..progress(1, &[]) };
    let ended = look(&told_before, &pods, Some(over), &started(), &cluster);
    assert_eq!(condition::find(&ended.status, "OutputShared"), None);
}

#[test]
fn what_holds_the_other_executors_is_said_while_some_work() {
    let flow = flow(json!({"executors": {"maxReplicas": 3}}));
    let mut waits = Arc::unwrap_or_clone(pod(1, PodPhase::Pending));
    waits.trouble = Some(Trouble { reason: "Unschedulable", message: "0/3 nodes are available".into() });
    let pods = [pod(0, PodPhase::Running), Arc::new(waits)];
    let decision = look(&flow, &pods, Some(progress(3, &["a-1-0"])), &started(), &one_agent());
    let said = "1 of 3 executors are connected; of the others: Unschedulable: 0/3 nodes are available";
    assert_eq!(executors_ready(&decision), ("Ready".to_owned(), said.to_owned()));
    let all = look(&flow, &pods[..1], Some(progress(1, &["a-1-0"])), &started(), &one_agent());
    assert_eq!(executors_ready(&all).1, "all executors are connected");
}

/// A master that has just taken the run up, and knows of nothing yet.
fn resuming() -> Progress {
    let waiting = Some((crate::master::api::RESUMING.to_owned(), "looks around".to_owned()));
    Progress { waiting, known: 9, ..progress(1, &[]) }
}

#[test]
fn a_new_leader_lets_no_executor_go_before_it_knows_how_much_work_there_is() {
    let flow = flow(json!({}));
    let waiting = |index: u32| {
        let mut pod = Arc::unwrap_or_clone(pod(index, PodPhase::Pending));
        pod.node = None;
        Arc::new(pod)
    };
    let pods = [pod(0, PodPhase::Running), waiting(1), waiting(2)];
    assert_eq!(deleted(&look(&flow, &pods, None, &Memory::default(), &one_agent())), [""; 0]);
    assert_eq!(deleted(&look(&flow, &pods, Some(resuming()), &started(), &one_agent())), [""; 0]);
    assert_eq!(deleted(&look(&flow, &pods, Some(progress(1, &["a-1-0"])), &started(), &one_agent())), ["a-1-2", "a-1-1"]);
}

#[test]
fn what_was_told_of_a_run_is_not_taken_back_by_a_leader_that_has_yet_to_find_out() {
    let stage = |succeeded: u32, failed: u32| crds::status::StageStatus {
        name: "m1".into(),
        desired: 9,
        succeeded,
        failed,
        retried: failed,
        ..crds::status::StageStatus::default()
    };
    let failure = |partition: u32| crds::status::Failure { partition, ..crds::status::Failure::default() };
    let mut flow = flow(json!({}));
    flow.status.progress = Some("5/9".into());
    flow.status.stages = vec![stage(5, 2)];
    flow.status.failures = (0..10).map(failure).collect();
    let pods = [pod(0, PodPhase::Running)];
    let long = Memory { taken_up: NOW - 100, ..started() };
    let told = |progress: Progress| {
        let status = look(&flow, &pods, Some(progress), &long, &one_agent()).status;
        let stage = status.stages.first().map(|stage| (stage.succeeded, stage.failed, stage.retried));
        let failures: Vec<u32> = status.failures.iter().map(|failure| failure.partition).collect();
        (status.progress.unwrap(), stage, failures)
    };
    assert_eq!(told(resuming()), ("5/9".into(), Some((5, 2, 2)), (0..10).collect()));
    // What was lost is told as what is to be done again; what failed is not forgotten with the leader that saw it.
    let known = Progress { done: 3, known: 9, stages: vec![stage(3, 1)], failures: vec![failure(20)], ..progress(1, &["a-1-0"]) };
    assert_eq!(told(known), ("3/9".into(), Some((3, 2, 2)), [20].into_iter().chain(0..9).collect()));
    let more = Progress { done: 6, known: 9, stages: vec![stage(6, 4)], ..progress(1, &["a-1-0"]) };
    assert_eq!(told(more), ("6/9".into(), Some((6, 4, 4)), (0..10).collect()));
}

#[test]
fn an_executor_is_not_told_as_ready_while_its_run_is_stopped() {
    let mut flow = flow(json!({}));
    let pods = [pod(0, PodPhase::Running)];
    let work = || Some(progress(1, &["a-1-0"]));
    flow.status = look(&flow, &pods, work(), &started(), &one_agent()).status;
    flow.cancel = Some("u-1".into());
    let decision = look(&flow, &pods, work(), &started(), &one_agent());
    assert_eq!(decision.status.executors.as_ref().unwrap().summary, "0/0");
    assert_eq!(condition::find(&decision.status, "ExecutorsReady"), None);
}
