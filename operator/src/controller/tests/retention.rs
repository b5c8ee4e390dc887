//! What is kept after a run, for how long, and what of a spec counts for which run: over virtual time.

use serde_json::{Value, json};

use super::flows::{phase, run, spec, status, steps, with};
use super::simulation::Simulation;
use crate::naming;
use crate::server::Kind;
use crate::view::{list, text};

/// A run that is over; its pods have ended by themselves, as executors do that are told to leave.
async fn over(spec: &Value, fails: bool) -> Simulation {
    let mut simulation = Simulation::new(1, 0);
    simulation.apply("a", spec);
    steps(&mut simulation, 4, false).await;
    for _ in 0..12 {
        simulation.work(fails);
        steps(&mut simulation, 1, false).await;
        if phase(&simulation) == if fails { "Failed" } else { "Succeeded" } {
            break;
        }
    }
    for (place, mut pod) in simulation.pods() {
        pod["status"] = json!({"phase": "Succeeded"});
        simulation.server.store().put(place, pod);
    }
    steps(&mut simulation, 1, false).await;
    simulation
}

/// For how many seconds (to the next ten) after the end something is there.
async fn lasts(simulation: &mut Simulation, is_there: impl Fn(&Simulation) -> bool) -> i64 {
    let ended: jiff::Timestamp = status(simulation, "/status/currentRun/completionTime").parse().unwrap();
    for _ in 0..100 {
        let leader = simulation.leader();
        simulation.kubelets(true);
        simulation.tell(leader, true);
        simulation.look(leader).await;
        simulation.kubelets(true);
        if !is_there(simulation) {
            break;
        }
        simulation.advance(10_000);
    }
    let now = simulation.clock.load(std::sync::atomic::Ordering::Relaxed) / 1000;
    now - ended.as_second()
}

#[test]
fn pods_are_kept_for_their_logs_as_long_as_is_asked_for() {
    run(async {
        let there = |simulation: &Simulation| !simulation.pods().is_empty();
        let asked = json!({"podsSeconds": 100, "failedPodsSeconds": 300});
        let mut succeeded = over(&with(spec("x"), "retention", asked.clone()), false).await;
        assert_eq!(phase(&succeeded), "Succeeded");
        let lasted = lasts(&mut succeeded, there).await;
        assert!((100..120).contains(&lasted), "podsSeconds: {lasted}");
        let mut failed = over(&with(spec("x"), "retention", asked), true).await;
        assert_eq!(phase(&failed), "Failed");
        let lasted = lasts(&mut failed, there).await;
        assert!((300..320).contains(&lasted), "failedPodsSeconds: {lasted}");
    });
}

#[test]
fn executors_that_do_not_leave_when_their_run_is_over_are_taken_away() {
    run(async {
        let mut simulation = Simulation::new(1, 0);
        simulation.apply("a", &with(spec("x"), "retention", json!({"podsSeconds": 1000})));
        steps(&mut simulation, 20, true).await;
        assert_eq!(phase(&simulation), "Succeeded");
        let lasted = lasts(&mut simulation, |simulation| !simulation.pods().is_empty()).await;
        assert!((60..80).contains(&lasted), "{lasted}");
    });
}

/// Secrets, policies and records of a run.
fn left(simulation: &Simulation, number: u64) -> usize {
    let base = naming::run_base("a", number);
    let store = simulation.server.store();
    store.objects.keys().filter(|place| place.kind != Kind::Pod && place.name == base).count()
}

#[test]
fn what_a_run_left_is_kept_as_long_as_is_asked_for_and_costs_nothing_meanwhile() {
    run(async {
        let mut simulation = over(&with(spec("x"), "retention", json!({"outputSeconds": 500})), false).await;
        steps(&mut simulation, 10, false).await;
        let before = simulation.server.store().requests;
        simulation.advance(200_000);
        steps(&mut simulation, 10, false).await;
        assert_eq!(simulation.server.store().requests, before, "nobody is asked anything while nothing is due");
        let lasted = lasts(&mut simulation, |simulation| left(simulation, 1) > 0).await;
        assert!((500..520).contains(&lasted), "{lasted}");
        steps(&mut simulation, 2, false).await;
        assert_eq!(status(&simulation, "/status/currentRun/released"), "true");
        assert_eq!(phase(&simulation), "Succeeded", "the flow and what became of it stay");
        let before = simulation.server.store().requests;
        simulation.advance(10_000_000);
        steps(&mut simulation, 10, false).await;
        assert_eq!(simulation.server.store().requests, before);
    });
}

#[test]
fn the_history_has_as_many_runs_as_is_asked_for_and_those_that_fall_out_leave_nothing() {
    run(async {
        for limit in [0_usize, 2, 5] {
            let mut simulation = Simulation::new(1, 0);
            let lasting = with(spec("x"), "retention", json!({"historyLimit": limit, "outputSeconds": 1_000_000}));
            for number in 1..=8_u64 {
                simulation.apply("a", &with(lasting.clone(), "rerunNonce", json!(number.to_string())));
                steps(&mut simulation, 25, true).await;
                assert_eq!(phase(&simulation), "Succeeded");
            }
            let flow = simulation.flow("a").unwrap();
            let numbers = |run: &Value| text(run, "/id").and_then(naming::run_number).unwrap();
            let history: Vec<u64> = list(&flow, "/status/history").iter().map(numbers).collect();
            let kept: Vec<u64> = (1..8).rev().take(limit).collect();
            assert_eq!(history, kept, "the newest first");
            let found: Vec<u64> = (1..8).rev().filter(|number| left(&simulation, *number) > 0).collect();
            assert_eq!(found, kept);
        }
    });
}

#[test]
fn a_change_that_is_to_be_ignored_waits_for_a_rerun_which_runs_the_newest_spec() {
    run(async {
        let mut simulation = Simulation::new(1, 0);
        let ignoring = |word: &str| with(spec(word), "onSpecChange", json!("Ignore"));
        let ran = |simulation: &Simulation| {
            let truths = simulation.truths.lock().unwrap();
            truths.values().map(|truth| truth.steps.clone()).collect::<Vec<_>>()
        };
        simulation.apply("a", &ignoring("first"));
        steps(&mut simulation, 3, true).await;
        simulation.apply("a", &ignoring("second"));
        steps(&mut simulation, 30, true).await;
        simulation.apply("a", &ignoring("third"));
        steps(&mut simulation, 30, true).await;
        assert_eq!(phase(&simulation), "Succeeded");
        assert_eq!(ran(&simulation).len(), 1, "nothing but the first has run");
        simulation.apply("a", &with(ignoring("third"), "rerunNonce", json!("now")));
        steps(&mut simulation, 30, true).await;
        let ran = ran(&simulation);
        assert!(ran.len() == 2 && ran[0].contains("first") && ran[1].contains("third"), "{ran:?}");
        assert_eq!(
            (phase(&simulation).as_str(), status(&simulation, "/status/currentRun/generation").as_str()),
            ("Succeeded", "4")
        );
    });
}

#[test]
fn a_run_that_never_was_is_not_cancelled_and_that_is_said_once() {
    run(async {
        let mut simulation = Simulation::new(1, 0);
        simulation.apply("a", &spec("x"));
        steps(&mut simulation, 4, false).await;
        let told = |simulation: &Simulation| {
            let all = simulation.told.lock().unwrap();
            all.iter().filter(|reason| *reason == "CancelIgnored").count()
        };
        let id = status(&simulation, "/status/currentRun/id");
        for (number, wrong) in [format!("{id}7"), "a".to_owned(), "other-1".to_owned()].iter().enumerate() {
            simulation.annotate("a", naming::CANCEL, wrong);
            steps(&mut simulation, 3, false).await;
            assert_eq!(told(&simulation), number + 1, "{wrong}");
        }
        steps(&mut simulation, 20, true).await;
        assert_eq!(phase(&simulation), "Succeeded");
        // One that is over is nothing to speak of.
        simulation.annotate("a", naming::CANCEL, &id);
        steps(&mut simulation, 3, true).await;
        simulation.apply("a", &with(spec("x"), "rerunNonce", json!("again")));
        steps(&mut simulation, 30, true).await;
        assert_eq!((told(&simulation), phase(&simulation).as_str()), (3, "Succeeded"));
    });
}

#[test]
fn a_flow_of_as_many_steps_as_there_may_be_runs() {
    run(async {
        let mut all = vec![json!({"name": "in", "read": {"inline": {"rows": [["x"]]}}})];
        all.extend((0..254).map(|at| json!({"name": format!("s{at}"), "filter": {"lua": "x -> true"}})));
        all.push(json!({"name": "out", "write": {"stdout": {}}}));
        let mut simulation = Simulation::new(1, 0);
        simulation.apply("a", &json!({ "steps": all }));
        steps(&mut simulation, 30, true).await;
        assert_eq!(phase(&simulation), "Succeeded");
    });
}
