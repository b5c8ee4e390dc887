//! Rights that the operator lacks: each one that is missing is told, and nothing is lost once it is given.

use std::io;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::flows::{phase, run, spec, steps, with};
use super::planted::Planted;
use super::simulation::{NAMESPACE, PAPERS_LAST, Simulation};
use crate::logging::JsonLines;
use crate::server::{Kind, Ref};
use crate::view::list;

/// What is logged, kept.
#[derive(Clone, Debug, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn listen(&self) -> tracing::subscriber::DefaultGuard {
        let log = self.clone();
        tracing::subscriber::set_default(
            tracing_subscriber::fmt()
                .with_max_level(tracing::Level::INFO)
                .event_format(JsonLines)
                .with_writer(move || log.clone())
                .finish(),
        )
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap().replace('\\', "")
    }
}

/// When the right is taken away.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Since {
    TheBeginning,
    /// Once the run goes on, and then another leads.
    ANewLeader,
    /// Once the run goes on, and its flow has changed unseen.
    AChange,
    TheEnd,
    /// Once the run goes on, and its executors need new papers.
    NewPapers,
}

fn object(kind: Kind, name: &str, more: &Value) -> Value {
    let mut object = json!({"apiVersion": kind.api_version(), "metadata": {"name": name, "namespace": NAMESPACE}});
    object.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    object
}

/// Where the missing right is told, if it is; then it is given.
async fn story(denied: (&'static str, Kind), spec: &Value, from: Since, planted: Option<Planted>) -> Result<(), String> {
    let log = Log::default();
    let mut simulation = Simulation::with(1, 0, planted);
    for (kind, more) in [
        (Kind::ConfigMap, json!({"data": {"k": "function f(x) return x end"}})),
        (Kind::PersistentVolumeClaim, json!({"spec": {"accessModes": ["ReadWriteMany"]}})),
    ] {
        simulation.server.store().create(kind, NAMESPACE, &object(kind, "given", &more), false).unwrap();
    }
    simulation.apply("a", spec);
    match from {
        Since::TheBeginning => {}
        Since::TheEnd => steps(&mut simulation, 25, true).await,
        Since::ANewLeader | Since::AChange | Since::NewPapers => steps(&mut simulation, 4, false).await,
    }
    let listening = log.listen();
    simulation.server.store().forbidden = Some(denied);
    match from {
        Since::TheBeginning => {}
        Since::TheEnd => simulation.advance(100_000),
        Since::NewPapers => simulation.advance(PAPERS_LAST * 1000),
        Since::ANewLeader => simulation.lead_anew(),
        Since::AChange => {
            simulation.apply("a", &with(spec.clone(), "suspend", json!(true)));
            simulation.kubelets(true);
            simulation.work(false);
            simulation.advance(60_000);
            simulation.look(simulation.leader()).await;
        }
    }
    steps(&mut simulation, 20, true).await;
    let conditions = simulation.flow("a").map(|flow| list(&flow, "/status/conditions").to_vec()).unwrap_or_default();
    let told = log.text() + &serde_json::to_string(&conditions).unwrap().replace('\\', "");
    drop(listening);
    let words = format!("cannot {} resource \"{}\"", denied.0, denied.1.names().3);
    if !told.contains(&words) {
        return Err(format!("{words} is not told: {told}"));
    }
    simulation.server.store().forbidden = None;
    simulation.apply("a", spec);
    simulation.advance(60_000);
    steps(&mut simulation, 60, true).await;
    let pods = simulation.pods().len();
    let left = simulation.server.store().objects.keys().filter(|place| place.name.starts_with("a-1")).count();
    match (phase(&simulation).as_str(), pods) {
        ("Succeeded", 0) if from != Since::TheEnd || left == 0 => Ok(()),
        (phase, _) => Err(format!("{phase} with {pods} pods and {left} objects left")),
    }
}

#[test]
fn a_right_that_is_missing_is_told_and_nothing_is_lost_once_it_is_given() {
    let check = |verb: &'static str, kind: Kind, spec: &Value, from: Since| {
        let told = run(story((verb, kind), spec, from, None));
        assert_eq!(told, Ok(()), "{verb} {kind:?}");
    };
    let plain = with(spec("x"), "startupDeadlineSeconds", json!(1_000_000));
    let plain = with(plain, "stallDeadlineSeconds", json!(1_000_000));
    check("patch", Kind::GleamFlow, &plain, Since::TheBeginning);
    check("create", Kind::Pod, &plain, Since::TheBeginning);
    check("create", Kind::Secret, &plain, Since::TheBeginning);
    check("create", Kind::NetworkPolicy, &plain, Since::TheBeginning);
    check("delete", Kind::Pod, &plain, Since::TheBeginning);
    check("get", Kind::GleamFlow, &plain, Since::ANewLeader);
    check("get", Kind::Secret, &plain, Since::ANewLeader);
    check("list", Kind::ConfigMap, &plain, Since::ANewLeader);
    check("list", Kind::Pod, &plain, Since::AChange);
    check("patch", Kind::Secret, &plain, Since::NewPapers);
    let short = with(plain.clone(), "retention", json!({"outputSeconds": 60}));
    for kind in [Kind::ConfigMap, Kind::Secret, Kind::NetworkPolicy] {
        check("list", kind, &short, Since::TheEnd);
    }
    for kind in [Kind::Secret, Kind::NetworkPolicy] {
        check("delete", kind, &short, Since::TheEnd);
    }
    let prelude = json!({"configMapKeyRef": {"name": "given", "key": "k"}});
    check("get", Kind::ConfigMap, &with(plain.clone(), "luaFrom", prelude), Since::TheBeginning);
    let steps = json!([{"name": "in", "read": {"inline": {"rows": [["a"]]}}}, {"name": "out", "write": {"text": {"path": "p"}}}]);
    let claim = json!({"volume": {"persistentVolumeClaim": {"claimName": "given"}}});
    let writes = with(with(plain, "steps", steps), "storage", claim);
    check("get", Kind::PersistentVolumeClaim, &writes, Since::TheBeginning);
}

#[test]
fn a_right_whose_lack_is_swallowed_would_be_noticed() {
    let planted = Some(Planted::SwallowedDenials);
    let told = run(story(("create", Kind::Pod), &spec("x"), Since::TheBeginning, planted));
    assert!(told.as_ref().is_err_and(|why| why.contains("cannot create resource \"pods\" is not told")), "{told:?}");
}

#[test]
fn whose_objects_are_in_the_way_is_not_asked_without_the_right_to_and_that_is_told() {
    run(async {
        for (kind, name) in [(Kind::Pod, "a-1-0"), (Kind::NetworkPolicy, "a-1")] {
            let log = Log::default();
            let listening = log.listen();
            let mut simulation = Simulation::new(1, 0);
            simulation.server.store().create(kind, NAMESPACE, &object(kind, name, &json!({})), false).unwrap();
            simulation.server.store().forbidden = Some(("get", kind));
            simulation.apply("a", &spec("x"));
            steps(&mut simulation, 5, true).await;
            drop(listening);
            assert!(log.text().contains(&format!("cannot get resource \"{}\"", kind.names().3)), "{}", log.text());
            simulation.server.store().forbidden = None;
            simulation.server.store().remove(&Ref::new(kind, NAMESPACE, name));
            simulation.advance(60_000);
            steps(&mut simulation, 40, true).await;
            assert_eq!(phase(&simulation), "Succeeded");
        }
    });
}

#[test]
fn why_a_pod_hangs_is_not_known_without_the_right_to_its_events_and_that_is_told() {
    run(async {
        let log = Log::default();
        let listening = log.listen();
        let mut simulation = Simulation::new(1, 0);
        simulation.server.store().forbidden = Some(("list", Kind::Event));
        simulation.apply("a", &spec("x"));
        for _ in 0..12 {
            let leader = simulation.leader();
            for (place, mut pod) in simulation.pods() {
                pod["spec"]["nodeName"] = "n1".into();
                simulation.server.store().put(place, pod);
            }
            simulation.tell(leader, true);
            simulation.look(leader).await;
            simulation.advance(1000);
        }
        drop(listening);
        assert!(log.text().contains("cannot list resource \"events\""), "{}", log.text());
        simulation.server.store().forbidden = None;
        steps(&mut simulation, 40, true).await;
        assert_eq!(phase(&simulation), "Succeeded");
    });
}
