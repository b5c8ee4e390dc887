//! Random histories: whatever happens, no promise is broken, and all comes to rest. Operators that do something wrong are seen.

use serde_json::{Value, json};

use super::flows::{run, spec, with};
use super::planted::Planted;
use super::simulation::Simulation;
use crate::naming;
use crate::server::Kind;
use crate::view::text;

/// A flow that may have few executors, though it has work for many.
fn few(word: &str) -> Value {
    with(spec(word), "executors", json!({"maxReplicas": 3}))
}

/// One thing that may happen.
async fn anything(simulation: &mut Simulation) {
    let name = if simulation.random(3) == 0 { "b" } else { "a" };
    match simulation.random(60) {
        0 => simulation.apply(name, &few("x")),
        1 => simulation.apply(name, &few("y")),
        2 => simulation.apply(name, &with(few("z"), "onSpecChange", json!("Replace"))),
        3 => simulation.apply(name, &with(few("x"), "suspend", json!(true))),
        4 => simulation.apply(name, &with(few("x"), "rerunNonce", json!(simulation.random(5).to_string()))),
        5 => simulation.apply(name, &with(spec("x"), "executors", json!({"maxReplicas": 2, "minReplicas": 1}))),
        6 => {
            let id = simulation.flow(name).and_then(|flow| text(&flow, "/status/currentRun/id").map(str::to_owned));
            simulation.annotate(name, naming::CANCEL, &id.unwrap_or_default());
        }
        7 if simulation.random(4) == 0 => simulation.delete(name),
        8 => simulation.kill_after(simulation.random(4)),
        9 => simulation.server.store().quota = Some(1),
        10 => simulation.server.store().quota = None,
        11 => simulation.advance(30_000),
        12 => simulation.lead_anew(),
        13 => simulation.expire(simulation.leader(), if simulation.random(2) == 0 { Kind::Pod } else { Kind::GleamFlow }),
        14 | 15 => simulation.repeat(simulation.leader()),
        16 => simulation.lose(),
        17..26 => simulation.kubelets(false),
        26..32 => simulation.work(simulation.random(30) == 0),
        32..36 => {
            // A zombie: it was told late that it does not lead.
            let at = usize::try_from(simulation.random(simulation.operators.len() as u64)).unwrap();
            simulation.tell(at, false);
            simulation.look(at).await;
        }
        _ => {
            let leader = simulation.leader();
            simulation.tell(leader, false);
            simulation.look(leader).await;
        }
    }
    if simulation.is_dead() {
        simulation.lead_anew();
    }
    simulation.advance(200);
}

#[test]
fn whatever_happens_no_pod_is_doubled_nothing_is_made_for_a_run_that_is_over_and_all_comes_to_rest() {
    run(async {
        for seed in 0..30 {
            let mut simulation = Simulation::new(seed, 8);
            simulation.apply("a", &few("x"));
            for _ in 0..200 {
                anything(&mut simulation).await;
                simulation.check(seed);
            }
            for name in ["a", "b"] {
                simulation.apply(name, &few("last"));
            }
            simulation.settle(seed).await;
            for name in ["a", "b"] {
                let flow = simulation.flow(name).unwrap();
                let settled = text(&flow, "/status/phase");
                assert!(matches!(settled, Some("Succeeded" | "Failed")), "seed {seed}, flow {name}: {flow:#}");
                assert_eq!(flow["status"]["observedGeneration"], flow["metadata"]["generation"], "seed {seed}");
            }
        }
    });
}

/// What an operator that does something wrong is caught at in the first history that shows it.
fn caught(planted: Planted, expected: &str) -> Vec<String> {
    run(async {
        for seed in 0..100 {
            let mut simulation = Simulation::with(seed, 8, Some(planted));
            simulation.apply("a", &few("x"));
            for _ in 0..200 {
                anything(&mut simulation).await;
                let violations = simulation.server.store().judge.violations.clone();
                if violations.iter().any(|violation| violation.contains(expected)) || violations.len() > 50 {
                    return violations;
                }
            }
        }
        Vec::new()
    })
}

#[test]
fn operators_that_do_something_wrong_are_caught() {
    let check = |planted: Planted, expected: &str| {
        let violations = caught(planted, expected);
        assert!(violations.iter().any(|violation| violation.contains(expected)), "{planted:?}: {violations:#?}");
    };
    check(Planted::TwinPods, "pods at once");
    check(Planted::RestlessPods, "pods were made");
    check(Planted::LatePods, "which is over");
    check(Planted::ProgressFalls, "progress went from");
    check(Planted::StagesFall, "stages: ");
    check(Planted::SetAsideFalls, "setAside of in went from");
    check(Planted::BytesFall, "bytesShuffled went from");
    check(Planted::HistoryIsLost, "the history was");
    check(Planted::RunsAreSkipped, " after ");
    check(Planted::CompleteEarly, "Complete true, ");
    check(Planted::FailedThoughCommitting, "is told as Cancelled");
    check(Planted::ReadyEarly, "phase Some(");
    check(Planted::ReadyWithoutExecutors, "pods ever ran");
    check(Planted::OldGeneration, "observedGeneration is -1");
    check(Planted::EventsTwice, "was told 2 times, and it happened 1 times");
}
