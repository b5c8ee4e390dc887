//! Somebody else changes what is the operator's while a run goes on.

use serde_json::json;

use super::fake_server::Held;
use super::flows::{condition, phase, run, spec, steps, with};
use super::simulation::{NAMESPACE, Simulation};
use crate::server::{Kind, Ref, Server};
use crate::view::text;

#[test]
fn a_condition_that_somebody_else_manages_too_holds_nothing_up_and_goes_in_time() {
    for held in [Held::Part, Held::Whole] {
        run(async {
            let mut simulation = Simulation::new(1, 0);
            simulation.apply("a", &spec("x"));
            steps(&mut simulation, 4, false).await;
            assert_eq!(condition(&simulation, "Reconciling").map(|it| it.0).as_deref(), Some("True"));
            simulation.server.store().held = Some(("Reconciling", held));
            steps(&mut simulation, 40, true).await;
            assert_eq!((phase(&simulation).as_str(), condition(&simulation, "Reconciling")), ("Succeeded", None), "{held:?}");
            assert_eq!(simulation.server.store().held, None, "{held:?}: it was in the way");
        });
    }
}

#[test]
fn what_a_run_stands_on_is_made_again_while_it_goes_on_and_not_after() {
    run(async {
        let mut simulation = Simulation::new(1, 0);
        simulation.apply("a", &with(spec("x"), "retention", json!({"outputSeconds": 0})));
        steps(&mut simulation, 6, false).await;
        let places = [Ref::new(Kind::NetworkPolicy, NAMESPACE, "a-1"), Ref::new(Kind::Secret, NAMESPACE, "a-1.gleamflow")];
        let found = |simulation: &Simulation| {
            let store = simulation.server.store();
            places.each_ref().map(|place| store.objects.get(place).cloned())
        };
        let before = found(&simulation).map(Option::unwrap);
        for place in &places {
            simulation.server.delete(place, None).await.unwrap();
        }
        simulation.advance(30_000);
        steps(&mut simulation, 2, false).await;
        let again = found(&simulation).map(Option::unwrap);
        assert_eq!(again[0]["spec"], before[0]["spec"]);
        assert_eq!(again[1]["data"]["run"], before[1]["data"]["run"]);
        assert_ne!(text(&again[1], "/metadata/uid"), text(&before[1], "/metadata/uid"));
        let told = simulation.told.lock().unwrap().clone();
        assert_eq!(told.iter().filter(|reason| *reason == "MadeAgain").count(), 2, "{told:?}");

        steps(&mut simulation, 40, true).await;
        assert_eq!(phase(&simulation), "Succeeded");
        for _ in 0..5 {
            simulation.advance(60_000);
            steps(&mut simulation, 2, true).await;
        }
        assert_eq!(found(&simulation), [None, None], "what is over stands on nothing");
    });
}
