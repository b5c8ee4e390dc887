//! What flows go through: one test per story.

use std::sync::Arc;

use proto::RunId;
use serde_json::{Value, json};

use super::planted::Planted;
use super::simulation::{NAMESPACE, PAPERS_LAST, Simulation};
use crate::master::api::{Entry, Recorder};
use crate::naming;
use crate::record::{Place, RunRecorder, read_record};
use crate::server::{Kind, Ref};
use crate::view::{FlowView, list, text};

pub(super) fn run<T>(story: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(story)
}

pub(super) fn spec(word: &str) -> Value {
    json!({"steps": [{"name": "in", "read": {"inline": {"rows": [[word]]}}}, {"name": "out", "write": {"stdout": {}}}]})
}

pub(super) fn with(mut spec: Value, field: &str, value: Value) -> Value {
    spec[field] = value;
    spec
}

pub(super) fn status(simulation: &Simulation, pointer: &str) -> String {
    let flow = simulation.flow("a").unwrap();
    match flow.pointer(pointer) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => "none".into(),
    }
}

pub(super) fn phase(simulation: &Simulation) -> String {
    status(simulation, "/status/phase")
}

pub(super) fn condition(simulation: &Simulation, kind: &str) -> Option<(String, String, String)> {
    let flow = simulation.flow("a")?;
    let found = list(&flow, "/status/conditions").iter().find(|condition| text(condition, "/type") == Some(kind))?;
    let part = |name: &str| text(found, name).unwrap_or_default().to_owned();
    Some((part("/status"), part("/reason"), part("/message")))
}

/// Steps of a quiet world.
pub(super) async fn steps(simulation: &mut Simulation, count: usize, works: bool) {
    for _ in 0..count {
        let leader = simulation.leader();
        simulation.kubelets(true);
        if works {
            simulation.work(false);
        }
        simulation.tell(leader, true);
        simulation.look(leader).await;
        simulation.advance(1000);
        simulation.check(0);
    }
}

#[test]
fn a_small_flow_completes_and_costs_few_requests() {
    run(async {
        let mut simulation = Simulation::new(1, 0);
        simulation.apply("a", &with(spec("x"), "executors", json!({"maxReplicas": 1})));
        let before = simulation.server.store().requests;
        for _ in 0..40 {
            let leader = simulation.leader();
            simulation.kubelets(true);
            simulation.work(false);
            simulation.tell(leader, true);
            simulation.look(leader).await;
            simulation.advance(100);
        }
        assert_eq!(phase(&simulation), "Succeeded");
        assert_eq!(condition(&simulation, "Ready").unwrap().0, "True");
        assert_eq!(condition(&simulation, "Reconciling"), None);
        assert!(simulation.pods().is_empty(), "podsSeconds is 0");
        let requests = simulation.server.store().requests - before;
        assert!(requests <= 6, "{requests} requests; the master's record and output come on top, to ten in all");
    });
}

#[test]
fn a_refused_flow_says_why_and_makes_nothing() {
    run(async {
        let mut simulation = Simulation::new(1, 0);
        simulation.apply("a", &json!({"steps": [{"name": "out", "from": ["nobody"], "write": {"stdout": {}}}]}));
        steps(&mut simulation, 3, true).await;
        assert_eq!(condition(&simulation, "Accepted").unwrap().1, "UnknownInput");
        assert_eq!(condition(&simulation, "Stalled").unwrap().1, "UnknownInput");
        assert_eq!(status(&simulation, "/status/observedGeneration"), "1");
        assert!(simulation.pods().is_empty());
        simulation.apply("a", &spec("x"));
        steps(&mut simulation, 20, true).await;
        assert_eq!(phase(&simulation), "Succeeded");
    });
}

#[test]
fn a_quota_shows_in_the_words_of_the_api_server_within_one_look() {
    run(async {
        let mut simulation = Simulation::new(1, 0);
        simulation.server.store().quota = Some(0);
        simulation.apply("a", &spec("x"));
        let leader = simulation.leader();
        simulation.tell(leader, true);
        simulation.look(leader).await;
        simulation.tell(leader, true);
        simulation.look(leader).await;
        let (status, reason, message) = condition(&simulation, "ExecutorsReady").unwrap();
        assert_eq!((status.as_str(), reason.as_str()), ("False", "QuotaExceeded"));
        assert!(message.contains("exceeded quota"), "{message}");
        let before = simulation.server.store().requests;
        steps(&mut simulation, 30, false).await;
        assert!(simulation.server.store().requests - before < 20, "it backs off");
        simulation.server.store().quota = None;
        simulation.advance(60_000);
        steps(&mut simulation, 30, true).await;
        assert_eq!(phase(&simulation), "Succeeded");
    });
}

#[test]
fn an_object_of_the_runs_name_that_is_somebody_elses_ends_the_run_with_the_reason() {
    run(async {
        for (kind, name) in [(Kind::Secret, "a-1.gleamflow"), (Kind::NetworkPolicy, "a-1")] {
            let mut simulation = Simulation::new(1, 0);
            let other = json!({"apiVersion": "v1", "metadata": {"name": name}});
            simulation.server.store().create(kind, NAMESPACE, &other, false).unwrap();
            simulation.apply("a", &spec("x"));
            steps(&mut simulation, 20, true).await;
            let (_, reason, message) = condition(&simulation, "Failed").unwrap();
            assert_eq!(reason, "NameTaken");
            assert!(message.contains(&format!("{name:?} is there already and belongs to something else")), "{message}");
            simulation.apply("a", &with(spec("x"), "rerunNonce", json!("again")));
            steps(&mut simulation, 30, true).await;
            assert_eq!(phase(&simulation), "Succeeded", "another run has another name");
        }
    });
}

#[test]
fn a_run_whose_papers_are_refused_says_so_backs_off_and_can_be_ended() {
    run(async {
        let mut simulation = Simulation::new(1, 0);
        simulation.server.store().closed = Some(Kind::Secret);
        simulation.apply("a", &with(spec("x"), "startupDeadlineSeconds", json!(30)));
        let before = simulation.server.store().requests;
        steps(&mut simulation, 20, false).await;
        let (_, reason, message) = condition(&simulation, "ExecutorsReady").unwrap();
        assert!(reason == "AdmissionDenied" && message.contains("a policy of this cluster"), "{reason}: {message}");
        let requests = simulation.server.store().requests - before;
        assert!(requests < 30, "it backs off: {requests}");
        steps(&mut simulation, 40, false).await;
        let (_, reason, message) = condition(&simulation, "Failed").unwrap();
        assert!(reason == "StartupDeadlineExceeded" && message.contains("a policy of this cluster"), "{reason}: {message}");
    });
}

#[test]
fn nothing_starts_for_ever_without_a_deadline() {
    run(async {
        let mut simulation = Simulation::new(1, 0);
        simulation.server.store().quota = Some(0);
        simulation.apply("a", &with(spec("x"), "startupDeadlineSeconds", json!(20)));
        steps(&mut simulation, 60, false).await;
        let (_, reason, message) = condition(&simulation, "Failed").unwrap();
        assert_eq!(reason, "StartupDeadlineExceeded");
        assert!(message.contains("exceeded quota"), "{message}");
    });
}

#[test]
fn a_run_that_takes_too_long_fails() {
    run(async {
        let mut simulation = Simulation::new(1, 0);
        simulation.apply("a", &with(spec("x"), "activeDeadlineSeconds", json!(10)));
        steps(&mut simulation, 40, false).await;
        assert_eq!(condition(&simulation, "Failed").unwrap().1, "DeadlineExceeded");
        assert!(simulation.pods().is_empty());
    });
}

#[test]
fn a_suspended_flow_has_no_pods_and_comes_back() {
    run(async {
        let mut simulation = Simulation::new(1, 0);
        simulation.apply("a", &spec("x"));
        steps(&mut simulation, 4, false).await;
        assert!(!simulation.pods().is_empty());
        simulation.apply("a", &with(spec("x"), "suspend", json!(true)));
        steps(&mut simulation, 10, false).await;
        assert_eq!(phase(&simulation), "Suspended");
        assert_eq!(condition(&simulation, "Suspended").unwrap().0, "True");
        assert!(simulation.pods().is_empty());
        simulation.apply("a", &spec("x"));
        steps(&mut simulation, 30, true).await;
        assert_eq!(phase(&simulation), "Succeeded");
        assert_eq!(status(&simulation, "/status/currentRun/attempt"), "2");
        assert_eq!(condition(&simulation, "Suspended"), None);
    });
}

#[test]
fn a_changed_flow_runs_again_after_the_run_that_goes_on() {
    run(async {
        let mut simulation = Simulation::new(1, 0);
        simulation.apply("a", &spec("x"));
        steps(&mut simulation, 3, true).await;
        simulation.apply("a", &spec("y"));
        steps(&mut simulation, 60, true).await;
        assert_eq!(phase(&simulation), "Succeeded");
        assert!(status(&simulation, "/status/currentRun/id").ends_with("-2"));
        assert_eq!(status(&simulation, "/status/currentRun/generation"), "2");
        assert_eq!(status(&simulation, "/status/history/0/result"), "Succeeded");
    });
}

#[test]
fn with_replace_the_run_that_goes_on_makes_room() {
    run(async {
        let mut simulation = Simulation::new(1, 0);
        simulation.apply("a", &spec("x"));
        steps(&mut simulation, 3, false).await;
        simulation.apply("a", &with(spec("y"), "onSpecChange", json!("Replace")));
        steps(&mut simulation, 40, true).await;
        assert_eq!(phase(&simulation), "Succeeded");
        assert_eq!(status(&simulation, "/status/history/0/result"), "Superseded");
    });
}

#[test]
fn a_nonce_runs_once_more_and_clearing_it_does_nothing() {
    run(async {
        let mut simulation = Simulation::new(1, 0);
        simulation.apply("a", &spec("x"));
        steps(&mut simulation, 30, true).await;
        simulation.apply("a", &with(spec("x"), "rerunNonce", json!("1")));
        steps(&mut simulation, 40, true).await;
        assert!(status(&simulation, "/status/currentRun/id").ends_with("-2"));
        assert_eq!(status(&simulation, "/status/lastRerunNonce"), "1");
        simulation.apply("a", &spec("x"));
        steps(&mut simulation, 10, true).await;
        assert!(status(&simulation, "/status/currentRun/id").ends_with("-2"));
        let complete = simulation.flow("a").unwrap();
        let complete =
            list(&complete, "/status/conditions").iter().find(|it| text(it, "/type") == Some("Complete")).cloned().unwrap();
        assert_eq!(complete["observedGeneration"], 3, "the newest generation whose hash is the run's");
    });
}

#[test]
fn a_cancelled_run_fails_and_another_is_not_meant() {
    run(async {
        let mut simulation = Simulation::new(1, 0);
        simulation.apply("a", &spec("x"));
        steps(&mut simulation, 3, false).await;
        let id = status(&simulation, "/status/currentRun/id");
        simulation.annotate("a", naming::CANCEL, &id);
        steps(&mut simulation, 10, false).await;
        assert_eq!(condition(&simulation, "Failed").unwrap().1, "Cancelled");
        simulation.apply("a", &with(spec("x"), "rerunNonce", json!("1")));
        steps(&mut simulation, 40, true).await;
        assert_eq!(phase(&simulation), "Succeeded");
    });
}

#[test]
fn a_new_leader_takes_a_run_up_with_the_spec_that_it_began_with() {
    run(async {
        let mut simulation = Simulation::new(1, 0);
        simulation.apply("a", &spec("x"));
        steps(&mut simulation, 4, true).await;
        simulation.apply("a", &with(spec("y"), "onSpecChange", json!("Ignore")));
        simulation.lead_anew();
        steps(&mut simulation, 40, true).await;
        assert_eq!(phase(&simulation), "Succeeded");
        assert!(status(&simulation, "/status/currentRun/id").ends_with("-1"));
    });
}

#[test]
fn a_run_whose_record_has_a_hole_ends_with_the_reason_under_a_new_leader() {
    run(async {
        let mut simulation = Simulation::new(1, 0);
        simulation.apply("a", &with(spec("x"), "retention", json!({"failedPodsSeconds": 0})));
        steps(&mut simulation, 4, true).await;
        let second = json!({"metadata": {
            "name": "a-1-record-1", "annotations": {"gleamflow.io/at": "1"},
            "labels": {naming::RUN: status(&simulation, "/status/currentRun/id"), naming::RECORD: "true"},
        }});
        simulation.server.store().put(Ref::new(Kind::ConfigMap, NAMESPACE, "a-1-record-1"), second);
        simulation.lead_anew();
        steps(&mut simulation, 40, true).await;
        let (is, reason, message) = condition(&simulation, "Failed").unwrap();
        assert_eq!((is.as_str(), reason.as_str()), ("True", "RecordLost"), "{message}");
        assert!(simulation.pods().is_empty());
    });
}

#[test]
fn a_status_that_is_too_large_beside_its_flow_does_without_rows() {
    run(async {
        let mut simulation = Simulation::new(1, 0);
        simulation.server.store().largest = Some(5000);
        simulation.apply("a", &spec("x"));
        steps(&mut simulation, 40, true).await;
        assert_eq!(phase(&simulation), "Succeeded");
        assert_eq!(status(&simulation, "/status/outputs/0/location"), "Secret/a-1-output.gleamflow");
        assert_eq!(status(&simulation, "/status/outputs/0/preview"), "none");
    });
}

#[test]
fn what_keeps_the_operator_from_going_on_is_told_once() {
    run(async {
        let mut simulation = Simulation::new(1, 0);
        simulation.server.store().largest = Some(1);
        simulation.apply("a", &spec("x"));
        steps(&mut simulation, 40, true).await;
        let told = simulation.told.lock().unwrap().clone();
        assert_eq!(told.iter().filter(|reason| *reason == "ReconcileFailed").count(), 1, "{told:?}");
    });
}

#[test]
fn what_a_run_left_goes_in_time_and_the_flow_stays() {
    run(async {
        let mut simulation = Simulation::new(1, 0);
        simulation.apply("a", &with(spec("x"), "retention", json!({"outputSeconds": 100})));
        steps(&mut simulation, 30, true).await;
        let secrets =
            |simulation: &Simulation| simulation.server.store().objects.keys().filter(|it| it.kind == Kind::Secret).count();
        assert_eq!(secrets(&simulation), 1);
        assert_eq!(status(&simulation, "/status/outputs/0/location"), "Secret/a-1-output.gleamflow");
        assert!(status(&simulation, "/status/outputs/0/preview").starts_with("row"));
        simulation.advance(100_000);
        steps(&mut simulation, 5, true).await;
        assert_eq!(secrets(&simulation), 0);
        assert_eq!(status(&simulation, "/status/currentRun/released"), "true");
        assert_eq!(status(&simulation, "/status/outputs/0/location"), "Expired");
        assert_eq!(status(&simulation, "/status/outputs/0/preview"), "none");
        assert_eq!(phase(&simulation), "Succeeded");
    });
}

#[test]
fn a_pod_of_somebody_else_is_never_taken_for_ours() {
    run(async {
        let mut simulation = Simulation::new(1, 0);
        let foreign = json!({"metadata": {"name": "a-1-0", "labels": {naming::FLOW: "a"}}, "status": {"phase": "Running"}});
        simulation.server.store().create(Kind::Pod, NAMESPACE, &foreign, false).unwrap();
        simulation.apply("a", &spec("x"));
        steps(&mut simulation, 3, false).await;
        let (_, reason, message) = condition(&simulation, "ExecutorsReady").unwrap();
        assert_eq!(reason, "AdmissionDenied");
        assert!(message.contains("a-1-0"), "{message}");
        assert!(simulation.server.store().objects.contains_key(&Ref::new(Kind::Pod, NAMESPACE, "a-1-0")));
    });
}

#[test]
fn executors_get_new_papers_while_their_run_goes_on_and_none_after() {
    run(async {
        let mut simulation = Simulation::new(1, 0);
        let patient = with(spec("x"), "startupDeadlineSeconds", json!(1_000_000));
        simulation.apply("a", &with(patient, "stallDeadlineSeconds", json!(1_000_000)));
        steps(&mut simulation, 4, false).await;
        let secrets = |simulation: &Simulation| {
            let store = simulation.server.store();
            let ours =
                store.objects.iter().filter(|(reference, _)| reference.kind == Kind::Secret && reference.name == "a-1.gleamflow");
            ours.map(|(_, secret)| secret.clone()).collect::<Vec<_>>()
        };
        let before = secrets(&simulation);
        assert_eq!(before.len(), 1);
        simulation.advance(PAPERS_LAST * 1000);
        // Whoever leads.
        simulation.lead_anew();
        steps(&mut simulation, 4, false).await;
        let after = secrets(&simulation);
        for key in ["token", "ca.crt", "tls.crt", "tls.key"] {
            assert_ne!(before[0]["data"][key], after[0]["data"][key], "{key}");
        }
        assert_eq!(before[0]["data"]["run"], after[0]["data"]["run"]);
        assert_eq!(before[0]["metadata"]["uid"], after[0]["metadata"]["uid"]);
        for _ in 0..30 {
            steps(&mut simulation, 1, true).await;
        }
        assert_eq!(phase(&simulation), "Succeeded");
        let at_end = secrets(&simulation);
        simulation.advance(PAPERS_LAST * 1000);
        steps(&mut simulation, 4, false).await;
        let later = secrets(&simulation);
        assert!(later.is_empty() || later == at_end, "what is over gets nothing new");
    });
}

#[test]
fn a_run_goes_on_with_other_executors_where_all_was_installed_anew() {
    run(async {
        let mut simulation = Simulation::new(1, 0);
        simulation.apply("a", &spec("x"));
        steps(&mut simulation, 6, false).await;
        let uids = |simulation: &Simulation| -> Vec<String> {
            simulation.pods().iter().filter_map(|(_, pod)| text(pod, "/metadata/uid").map(str::to_owned)).collect()
        };
        let before = uids(&simulation);
        assert!(!before.is_empty());
        let id = RunId::try_from(status(&simulation, "/status/currentRun/id")).unwrap();
        let place = Place {
            flow: FlowView::read(&simulation.flow("a").unwrap()).unwrap(),
            run: id.clone(),
            base: naming::run_base("a", 1),
        };
        let planned = Entry::Planned { plan: Vec::new(), partitions: None, slots: 1 };
        let recorder = RunRecorder::new(Arc::new(simulation.server.clone()), place, "operator/7".to_owned());
        recorder.append(&id, 0, &planned).await.unwrap();

        simulation.install_anew();
        let mut told = false;
        for _ in 0..6 {
            steps(&mut simulation, 1, false).await;
            told |= condition(&simulation, "ExecutorsReady").is_some_and(|(_, reason, _)| reason == "OperatorReplaced");
        }
        assert!(told, "it is said why there is no executor");
        let after = uids(&simulation);
        assert!(!after.is_empty() && after.iter().all(|uid| !before.contains(uid)), "{before:?}, then {after:?}");
        let anew = Entry::Anew { terms: 7 + 1024 };
        assert_eq!(read_record(&simulation.server, NAMESPACE, &id).await.unwrap(), [planned.clone(), anew.clone()]);
        // To the next leader of the same installation they are no strangers.
        simulation.lead_anew();
        steps(&mut simulation, 40, true).await;
        assert_eq!(read_record(&simulation.server, NAMESPACE, &id).await.unwrap(), [planned, anew]);
        assert_eq!(phase(&simulation), "Succeeded");
        assert_eq!(status(&simulation, "/status/currentRun/id"), id.as_str());
    });
}

/// A flow is deleted while the watch has expired: whether the leader still has something of it then.
async fn goes_unseen(planted: Option<Planted>) -> bool {
    let mut simulation = Simulation::with(1, 0, planted);
    simulation.apply("a", &spec("x"));
    steps(&mut simulation, 4, true).await;
    simulation.delete("a");
    let leader = simulation.leader();
    for kind in [Kind::Pod, Kind::GleamFlow] {
        simulation.expire(leader, kind);
    }
    let known = simulation.operators[leader].controller.cached(|cache| !cache.keys().is_empty());
    steps(&mut simulation, 2, true).await;
    let operator = &simulation.operators[leader];
    known || !operator.master.here.lock().unwrap().is_empty() || !operator.controller.flows.lock().unwrap().is_empty()
}

#[test]
fn what_goes_while_a_watch_has_expired_is_gone_for_the_leader_too() {
    run(async {
        assert!(!goes_unseen(None).await);
        assert!(goes_unseen(Some(Planted::GoneIsKept)).await, "or the test sees nothing");
    });
}

#[test]
fn each_event_of_a_quiet_run_is_told_once_in_order() {
    run(async {
        let mut simulation = Simulation::new(1, 0);
        let retention = json!({"outputSeconds": 60});
        simulation.apply("a", &with(with(spec("x"), "executors", json!({"maxReplicas": 1})), "retention", retention));
        for _ in 0..100 {
            let leader = simulation.leader();
            simulation.kubelets(true);
            simulation.tell(leader, true);
            simulation.look(leader).await;
            simulation.work(false);
            simulation.advance(5000);
            simulation.check(0);
        }
        let told = simulation.told.lock().unwrap().clone();
        // (Of three works that were given out again, two doubled their number; the simulation has no agents.)
        let expected = "RunStarted ExecutorsCreated ExecutorsReady Planned StageStarted TaskRetried StageSucceeded \
                        StageStarted TaskRetried StageSucceeded Committing RunSucceeded TaskRetried BuffersReleased";
        assert_eq!(told.join(" "), expected);
    });
}

#[test]
fn a_flow_that_is_over_is_remembered_by_the_cache_alone() {
    run(async {
        let mut simulation = Simulation::new(1, 0);
        simulation.apply("a", &spec("x"));
        steps(&mut simulation, 5, true).await;
        let remembered = |simulation: &Simulation| {
            let leader = &simulation.operators[simulation.leader()];
            leader.controller.flows.lock().unwrap().len()
        };
        assert_eq!(remembered(&simulation), 1);
        steps(&mut simulation, 25, true).await;
        assert_eq!((phase(&simulation).as_str(), remembered(&simulation)), ("Succeeded", 0));
        let before = simulation.server.store().requests;
        steps(&mut simulation, 10, true).await;
        assert_eq!(simulation.server.store().requests, before, "it costs nothing to look at it");
        simulation.apply("a", &with(spec("x"), "suspend", json!(true)));
        simulation.apply("a", &with(spec("y"), "suspend", json!(true)));
        steps(&mut simulation, 10, true).await;
        assert_eq!((phase(&simulation).as_str(), remembered(&simulation)), ("Suspended", 0));
        simulation.apply("a", &spec("y"));
        steps(&mut simulation, 30, true).await;
        assert_eq!((phase(&simulation).as_str(), remembered(&simulation)), ("Succeeded", 0));
    });
}
