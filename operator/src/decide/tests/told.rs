//! What is said of runs that wait, of wishes that nobody follows, and what earlier runs leave.

use super::*;

#[test]
fn what_a_run_does_not_do_is_said_while_it_goes_on() {
    let said = |spec: Value, cancel: &str, hash: &str| {
        let mut flow = flow(spec);
        flow.cancel = Some(cancel.to_owned());
        if let Some(run) = flow.status.current_run.as_mut().filter(|_| !hash.is_empty()) {
            hash.clone_into(&mut run.spec_hash);
        }
        let pods = [pod(0, PodPhase::Running)];
        look(&flow, &pods, Some(progress(1, &["a-1-0"])), &started(), &one_agent()).status.message.unwrap_or_default()
    };
    assert!(!said(json!({}), "", "").contains("; "));
    assert!(!said(json!({}), "u-0", "").contains("; "), "an earlier run of it was cancelled");
    assert!(said(json!({}), "u-9", "").ends_with("names \"u-9\", which is not this run, u-1: nothing is cancelled"));
    assert!(said(json!({}), "", "other").ends_with("the flow has changed: its newest version runs next"));
    assert!(said(json!({"onSpecChange": "Ignore"}), "", "other").contains("which spec.onSpecChange ignores"));
    assert!(said(json!({"rerunNonce": "x"}), "", "").ends_with("another run follows"));
}

#[test]
fn why_no_agent_is_there_is_said_of_executors_that_wait_and_of_those_that_work() {
    let flow = flow(json!({}));
    let cluster = Surroundings { no_agents: Some("exceeded quota".into()), ..Surroundings::default() };
    let decision = look(&flow, &[], Some(progress(1, &[])), &started(), &cluster);
    assert_eq!(executors_ready(&decision).1, "no agent is connected: exceeded quota");
    let held = Progress { waiting: Some(("AgentsNotReady".into(), "no agent is ready".into())), ..progress(1, &["a-1-0"]) };
    let decision = look(&flow, &[pod(0, PodPhase::Running)], Some(held), &started(), &cluster);
    let told = (decision.status.reason.as_deref(), decision.status.message.as_deref());
    assert_eq!(told, (Some("AgentsNotReady"), Some("no agent is connected: exceeded quota")));
    assert!(event::events(&flow.status, &decision.status).iter().any(|event| event.warning && event.reason == "AgentsNotReady"));
    assert!(decision.again.is_some_and(|again| again <= 5));
}

#[test]
fn a_namespace_that_is_deleted_under_a_run_is_said() {
    let flow = flow(json!({}));
    for memory in [Memory { terminating: true, ..started() }, Memory { terminating: true, ..Memory::default() }] {
        let decision =
            look(&flow, &[], memory.here.eq(&Here::Started("u-1".into())).then(|| progress(3, &[])), &memory, &one_agent());
        assert_eq!(executors_ready(&decision), ("NamespaceTerminating".into(), "the namespace is being deleted".into()));
        assert_eq!(decision.status.reason.as_deref(), Some("NamespaceTerminating"));
    }
}

#[test]
fn pods_of_earlier_runs_go_in_time_too() {
    let of_run = |run: &str| {
        let mut pod = Arc::unwrap_or_clone(pod(0, PodPhase::Succeeded));
        (pod.run, pod.name) = (run.to_owned(), format!("of-{run}"));
        Arc::new(pod)
    };
    let pods = [of_run("u-0"), of_run("u-9"), pod(0, PodPhase::Running)];
    let with = |seconds: u32| {
        let mut flow = flow(json!({"retention": {"podsSeconds": seconds}}));
        let end = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::from_second(NOW - 5).unwrap());
        let run = Run { id: "u-0".into(), result: Some("Succeeded".into()), completion_time: Some(end), ..Run::default() };
        flow.status.history = vec![run];
        let decision = look(&flow, &pods, Some(progress(1, &["a-1-0"])), &started(), &one_agent());
        deleted(&decision).join(" ")
    };
    assert_eq!(with(60), "of-u-9", "nobody knows how long that run's are to be kept");
    assert_eq!(with(0), "of-u-0 of-u-9");
}
