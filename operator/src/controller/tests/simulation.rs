//! Random histories: users edit, kubelets start and lose pods, watches lag, repeat themselves and expire, requests fail or
//! time out though done, leaders die between any two requests and go on as zombies. After all of it, everything comes to rest.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::fake_master::{FakeMaster, Truths};
use super::fake_server::{Change, FakeServer};
use super::planted::Planted;
use crate::authority::RunPapers;
use crate::cache::Kept;
use crate::config::Image;
use crate::controller::{Again, Controller, Fleet, Outputs, Told};
use crate::metrics::Metrics;
use crate::naming;
use crate::server::{Kind, Ref};
use crate::view::{FlowKey, marked, text};

/// Seconds after which executors need new papers: more than most stories take.
pub(super) const PAPERS_LAST: i64 = 40_000;

pub(super) const NAMESPACE: &str = "n";

/// One operator: its controller, and how much of each watch it has been told.
pub(super) struct Operator {
    pub(super) controller: Controller,
    pub(super) master: Arc<FakeMaster>,
    server: FakeServer,
    /// Changes on their way, per kind: those of one kind come in order.
    coming: BTreeMap<Kind, VecDeque<Change>>,
    /// Those that were told since the last list.
    told: BTreeMap<Kind, Vec<Change>>,
    read: usize,
}

/// The world.
pub(super) struct Simulation {
    pub(super) server: FakeServer,
    pub(super) truths: Truths,
    pub(super) clock: Arc<AtomicI64>,
    pub(super) operators: Vec<Operator>,
    terms: u64,
    /// How often all was installed.
    installed: u64,
    /// Reasons of all events, in order.
    pub(super) told: Arc<Mutex<Vec<String>>>,
}

impl Simulation {
    pub(super) fn new(seed: u64, fault_rate: u64) -> Simulation {
        Simulation::with(seed, fault_rate, None)
    }

    /// All of whose operators do something wrong.
    pub(super) fn with(seed: u64, fault_rate: u64, planted: Option<Planted>) -> Simulation {
        let server = FakeServer { planted, ..FakeServer::new() };
        server.store().faults = seed.wrapping_mul(2).wrapping_add(1);
        server.store().fault_rate = fault_rate;
        let clock = Arc::new(AtomicI64::new(1_800_000_000_000));
        let truths = Arc::clone(&server.store().judge.truths);
        let told = Arc::default();
        let mut simulation = Simulation { server, truths, clock, operators: Vec::new(), terms: 0, installed: 1, told };
        simulation.lead_anew();
        simulation
    }

    /// All of the operator's is removed and made anew: another authority, terms that begin anew.
    pub(super) fn install_anew(&mut self) {
        (self.terms, self.installed) = (0, self.installed + 1);
        // Nobody's wish: whoever comes replaces them.
        let pods = self.pods();
        pods.iter().for_each(|(_, pod)| self.server.store().judge.pod_lost(pod));
        self.lead_anew();
    }

    /// A new leader: it lists, and knows nothing else.
    pub(super) fn lead_anew(&mut self) {
        self.terms += 1;
        let server = self.server.for_another();
        let master = Arc::new(FakeMaster::new(Arc::clone(&self.truths)));
        let (clock, papers_clock, installed) = (Arc::clone(&self.clock), Arc::clone(&self.clock), self.installed);
        let controller = Controller {
            server: Arc::new(server.clone()),
            runs: Arc::clone(&master) as _,
            cache: Arc::default(),
            trust: Box::new(move |_| {
                let now = papers_clock.load(Ordering::Relaxed) / 1000;
                let [token, certificate, key] = ["token", "certificate", "key"].map(|part| format!("{part} of {now}"));
                // Two certificates, as while the authority is replaced: one of them has changed since.
                let authority = format!("ca {installed}-----END CERTIFICATE-----next of {now}");
                Some(RunPapers { token, authority, certificate, key, renew: now + PAPERS_LAST })
            }),
            clock: Box::new(move || clock.load(Ordering::Relaxed)),
            tell: self.listener(),
            metrics: Metrics::new(),
            image: Image { image: "i".into(), pull_policy: "Never".into(), pull_secrets: Vec::new() },
            namespace: "gleamflow".into(),
            operator: "1.2.3.4:7400".into(),
            writer: format!("operator/{}", self.terms),
            flows: Mutex::default(),
            outputs: Outputs::default(),
            fleet: Fleet::default(),
        };
        let store = self.server.store();
        let read = store.log.len();
        let objects: Vec<(Kind, Value)> =
            store.objects.iter().map(|(reference, object)| (reference.kind, object.clone())).collect();
        drop(store);
        controller.cached(|cache| objects.into_iter().for_each(|(kind, object)| drop(cache.apply(kind, object))));
        self.operators.push(Operator { controller, master, server, coming: BTreeMap::new(), told: BTreeMap::new(), read });
        if self.operators.len() > 3 {
            self.operators.remove(0);
        }
    }

    /// Hears the events of an operator.
    fn listener(&self) -> Box<dyn Fn(Told) + Send + Sync> {
        let (server, all) = (self.server.clone(), Arc::clone(&self.told));
        Box::new(move |told| {
            all.lock().unwrap().push(told.event.reason.clone());
            for _ in 0..1 + u32::from(server.planted == Some(Planted::EventsTwice)) {
                server.store().judge.told(&told);
            }
        })
    }

    /// The one that leads; those before it are zombies.
    pub(super) fn leader(&self) -> usize {
        self.operators.len() - 1
    }

    pub(super) fn random(&self, below: u64) -> u64 {
        self.server.store().random() % below
    }

    pub(super) fn advance(&self, millis: i64) {
        self.clock.fetch_add(millis, Ordering::Relaxed);
    }

    /// Watches tell an operator some of what has happened; `all`: everything.
    pub(super) fn tell(&mut self, at: usize, all: bool) {
        let store = self.server.store();
        let operator = &mut self.operators[at];
        for change in &store.log[operator.read..] {
            operator.coming.entry(change.kind).or_default().push_back(change.clone());
        }
        operator.read = store.log.len();
        drop(store);
        let kinds: Vec<Kind> = operator.coming.keys().copied().collect();
        for kind in kinds {
            let waiting = self.operators[at].coming[&kind].len();
            let told = if all { waiting } else { usize::try_from(self.random(waiting as u64 + 1)).unwrap() };
            let operator = &mut self.operators[at];
            let news: Vec<Change> = operator.coming.get_mut(&kind).unwrap().drain(..told).collect();
            for change in news {
                operator.controller.cached(|cache| match change.gone {
                    true => cache.remove(change.kind, &change.object),
                    false => cache.apply(change.kind, change.object.clone()),
                });
                operator.told.entry(kind).or_default().push(change);
            }
        }
    }

    /// An operator's watch of a kind expires (410): what it had yet to tell is never told, and all there is is listed anew.
    pub(super) fn expire(&mut self, at: usize, kind: Kind) {
        let store = self.server.store();
        let listed: Vec<Value> =
            store.objects.iter().filter(|(reference, _)| reference.kind == kind).map(|(_, object)| object.clone()).collect();
        let unread = store.log[self.operators[at].read..].to_vec();
        let operator = &mut self.operators[at];
        operator.read = store.log.len();
        drop(store);
        for change in unread {
            operator.coming.entry(change.kind).or_default().push_back(change);
        }
        operator.coming.remove(&kind);
        operator.told.remove(&kind);
        let kept = self.server.planted == Some(Planted::GoneIsKept);
        operator.controller.cached(|cache| match kept {
            true => listed.into_iter().for_each(|object| drop(cache.apply(kind, object))),
            false => drop(cache.replace(kind, "", listed.into_iter().filter_map(|object| Kept::of(kind, object)).collect())),
        });
    }

    /// Changes that were told are told once more, in their order, before those that are new: a connection that was made anew, or a
    /// read past the watch that was ahead of it.
    pub(super) fn repeat(&mut self, at: usize) {
        let kind = if self.random(2) == 0 { Kind::Pod } else { Kind::GleamFlow };
        let back = usize::try_from(self.random(8)).unwrap();
        let operator = &mut self.operators[at];
        let told = operator.told.entry(kind).or_default();
        let again = told.split_off(told.len().saturating_sub(back));
        let coming = operator.coming.entry(kind).or_default();
        again.into_iter().rev().for_each(|change| coming.push_front(change));
    }

    /// An operator looks at every flow.
    pub(super) async fn look(&self, at: usize) -> bool {
        let mut busy = false;
        let keys = self.keys();
        for key in keys {
            busy |= self.operators[at].controller.reconcile(&key).await == Again::Now;
        }
        busy
    }

    fn keys(&self) -> Vec<FlowKey> {
        let store = self.server.store();
        let flows = store.objects.keys().filter(|reference| reference.kind == Kind::GleamFlow);
        let mut keys: Vec<FlowKey> =
            flows.map(|reference| FlowKey { namespace: NAMESPACE.into(), name: reference.name.clone() }).collect();
        // Those that are gone are looked at too.
        keys.extend(["a", "b"].map(|name| FlowKey { namespace: NAMESPACE.into(), name: name.into() }));
        keys.sort();
        keys.dedup();
        keys
    }

    /// A user applies a flow.
    pub(super) fn apply(&self, name: &str, spec: &Value) {
        let mut store = self.server.store();
        let reference = Ref::new(Kind::GleamFlow, NAMESPACE, name);
        match store.objects.get(&reference).cloned() {
            None => {
                let flow = json!({"apiVersion": "gleamflow.io/v1alpha1", "kind": "GleamFlow",
                    "metadata": {"name": name, "generation": 1}, "spec": spec, "status": {"observedGeneration": -1}});
                store.create(Kind::GleamFlow, NAMESPACE, &flow, false).unwrap();
            }
            Some(mut flow) if flow["spec"] != *spec => {
                flow["spec"] = spec.clone();
                flow["metadata"]["generation"] = (flow["metadata"]["generation"].as_i64().unwrap() + 1).into();
                store.put(reference, flow);
            }
            Some(_) => {}
        }
    }

    pub(super) fn annotate(&self, name: &str, annotation: &str, value: &str) {
        let mut store = self.server.store();
        let reference = Ref::new(Kind::GleamFlow, NAMESPACE, name);
        if let Some(mut flow) = store.objects.get(&reference).cloned() {
            flow["metadata"]["annotations"][annotation] = value.into();
            store.put(reference, flow);
        }
    }

    /// A user deletes a flow; what it owns is collected.
    pub(super) fn delete(&self, name: &str) {
        let mut store = self.server.store();
        let reference = Ref::new(Kind::GleamFlow, NAMESPACE, name);
        let Some(flow) = store.objects.get(&reference).cloned() else { return };
        let uid = text(&flow, "/metadata/uid").unwrap().to_owned();
        store.remove(&reference);
        let owned: Vec<Ref> = store
            .objects
            .iter()
            .filter(|(_, object)| crate::view::controller(object) == uid)
            .map(|(reference, _)| reference.clone())
            .collect();
        owned.iter().for_each(|reference| store.remove(reference));
    }

    pub(super) fn flow(&self, name: &str) -> Option<Value> {
        self.server.store().objects.get(&Ref::new(Kind::GleamFlow, NAMESPACE, name)).cloned()
    }

    pub(super) fn pods(&self) -> Vec<(Ref, Value)> {
        let store = self.server.store();
        let pods = store.objects.iter().filter(|(reference, _)| reference.kind == Kind::Pod);
        pods.map(|(reference, pod)| (reference.clone(), pod.clone())).collect()
    }

    /// What a zombie made for a flow that was deleted meanwhile goes too.
    fn collect_garbage(&self) {
        let mut store = self.server.store();
        let flows = store.objects.iter().filter(|(reference, _)| reference.kind == Kind::GleamFlow);
        let uids: Vec<String> = flows.filter_map(|(_, flow)| text(flow, "/metadata/uid").map(str::to_owned)).collect();
        let owner = |object: &Value| crate::view::controller(object).to_owned();
        let orphans = store.objects.iter().filter(|(_, object)| !owner(object).is_empty() && !uids.contains(&owner(object)));
        let orphans: Vec<Ref> = orphans.map(|(reference, _)| reference.clone()).collect();
        orphans.iter().for_each(|reference| store.remove(reference));
    }

    /// Kubelets: pods start, end, are taken away; deleted ones go. `calm`: nothing bad happens.
    pub(super) fn kubelets(&self, calm: bool) {
        self.collect_garbage();
        for (reference, mut pod) in self.pods() {
            let phase = text(&pod, "/status/phase").unwrap_or("Pending").to_owned();
            let roll = self.random(20);
            let mut store = self.server.store();
            if text(&pod, "/metadata/deletionTimestamp").is_some() {
                if calm || roll < 8 {
                    store.remove(&reference);
                }
                continue;
            }
            let status = match (phase.as_str(), roll) {
                ("Pending", 0) if !calm => json!({"phase": "Pending", "conditions": [
                    {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}]}),
                ("Pending", 1..12) => json!({"phase": "Running"}),
                ("Pending", _) if calm => json!({"phase": "Running"}),
                ("Running", 0) if !calm => json!({"phase": "Failed", "reason": "Evicted", "message": "memory"}),
                ("Running", 1) if !calm => json!({"phase": "Failed"}),
                ("Running", 2) if !calm => {
                    store.remove(&reference);
                    continue;
                }
                _ => continue,
            };
            pod["status"] = status;
            store.put(reference, pod);
        }
    }

    /// Executors that run do some work for the leader's master.
    pub(super) fn work(&self, fails: bool) {
        let mut running: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (reference, pod) in self.pods() {
            if let Some(run) = marked(&pod, "labels", naming::RUN).filter(|_| text(&pod, "/status/phase") == Some("Running")) {
                running.entry(run.to_owned()).or_default().insert(reference.name);
            }
        }
        for (run, pods) in running {
            self.operators[self.leader()].master.work(&run, pods, fails);
        }
    }

    /// What some run has done is lost.
    pub(super) fn lose(&self) {
        let runs: Vec<String> = self.truths.lock().unwrap().keys().cloned().collect();
        for run in runs {
            self.operators[self.leader()].master.lose(&run);
        }
    }

    /// What must hold at every moment.
    pub(super) fn check(&self, seed: u64) {
        let store = self.server.store();
        let violations = &store.judge.violations;
        assert!(violations.is_empty(), "seed {seed}: {violations:#?}");
    }

    /// At rest, the leader knows of what there is, of nothing else, and its master of no run that is over or gone.
    fn check_rest(&self, seed: u64) {
        let leader = &self.operators[self.leader()];
        let store = self.server.store();
        let names = |kind: Kind| -> BTreeSet<String> {
            store.objects.keys().filter(|reference| reference.kind == kind).map(|reference| reference.name.clone()).collect()
        };
        let known: BTreeSet<String> = leader.controller.cached(|cache| cache.keys()).into_iter().map(|key| key.name).collect();
        assert_eq!(known, names(Kind::GleamFlow), "seed {seed}: the flows that the leader knows, and those that there are");
        let remembered: BTreeSet<String> = leader.controller.flows.lock().unwrap().keys().map(|key| key.name.clone()).collect();
        assert!(remembered.is_subset(&known), "seed {seed}: the leader remembers {remembered:?}");
        let here = leader.master.here.lock().unwrap();
        assert!(here.is_empty(), "seed {seed}: the master still has {here:?}");
    }

    /// Faults end; the leader gets all news; everything must come to rest.
    pub(super) async fn settle(&mut self, seed: u64) {
        self.server.store().fault_rate = 0;
        self.server.store().quota = None;
        self.server.store().forbidden = None;
        if self.operators[self.leader()].server.life.lock().unwrap().is_some() {
            self.lead_anew();
        }
        for _ in 0..400 {
            let leader = self.leader();
            self.kubelets(true);
            self.work(false);
            self.tell(leader, true);
            self.look(leader).await;
            self.advance(700);
            self.check(seed);
        }
        self.check_rest(seed);
    }

    /// The leader dies after so many requests, if it makes them, and another leads.
    pub(super) fn kill_after(&self, requests: u64) {
        *self.operators[self.leader()].server.life.lock().unwrap() = Some(requests);
    }

    pub(super) fn is_dead(&self) -> bool {
        *self.operators[self.leader()].server.life.lock().unwrap() == Some(0)
    }
}
