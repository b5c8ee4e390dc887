//! An API server in memory: versions, uids, conditional writes, owner checks; and faults on demand.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use crds::cluster::OnSpecChange;
use serde_json::{Value, json};

use crate::accept::{Claim, Prelude, accept};
use crate::naming;
use crate::server::{ApiError, Kind, Ref, Server};
use crate::view::{FlowView, marked, text};

/// Pods of one run that may be there at a time: the ten of a flow that says nothing, all of them made up for once, and some.
const MOST_PODS: usize = 23;

/// One change, as a watch tells it.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) kind: Kind,
    pub(super) object: Value,
    pub(super) gone: bool,
}

#[derive(Debug, Default)]
pub(super) struct Store {
    pub(super) objects: BTreeMap<Ref, Value>,
    pub(super) version: u64,
    pub(super) log: Vec<Change>,
    next_uid: u64,
    /// Random state of the faults; 0: no faults.
    pub(super) faults: u64,
    /// Of 100 requests, so many fail.
    pub(super) fault_rate: u64,
    pub(super) quota: Option<usize>,
    /// A policy lets nobody make objects of this kind.
    pub(super) closed: Option<Kind>,
    pub(super) requests: u64,
    /// Runs whose status was terminal once: no pod may be made for them.
    pub(super) ended: BTreeMap<String, String>,
    /// Broken promises.
    pub(super) violations: Vec<String>,
}

/// The server, shared by all operators. An operator that is killed has its own switch.
#[derive(Clone, Debug)]
pub(super) struct FakeServer {
    pub(super) store: Arc<Mutex<Store>>,
    /// Requests that this operator may still make; then it is dead.
    pub(super) life: Arc<Mutex<Option<u64>>>,
}

impl FakeServer {
    pub(super) fn new() -> FakeServer {
        FakeServer { store: Arc::default(), life: Arc::default() }
    }

    /// The same server for another operator.
    pub(super) fn for_another(&self) -> FakeServer {
        FakeServer { store: Arc::clone(&self.store), life: Arc::default() }
    }

    pub(super) fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap()
    }

    /// Whether the request is made at all, and whether its answer gets back.
    fn fate(&self) -> Result<bool, ApiError> {
        let mut life = self.life.lock().unwrap();
        if let Some(left) = life.as_mut() {
            if *left == 0 {
                return Err(ApiError::NotLeading);
            }
            *left -= 1;
        }
        let mut store = self.store();
        store.requests += 1;
        let rate = store.fault_rate;
        match store.random() % 100 {
            roll if roll >= rate => Ok(true),
            roll => match roll % 4 {
                0 => Err(ApiError::Unavailable("500".into())),
                1 => Err(ApiError::Conflict("409".into())),
                2 => Err(ApiError::Unavailable("410 Gone".into())),
                _ => Ok(false),
            },
        }
    }

    fn answer<T>(heard: bool, value: Result<T, ApiError>) -> Result<T, ApiError> {
        if heard { value } else { value.and(Err(ApiError::Unavailable("timed out, but done".into()))) }
    }
}

impl Store {
    pub(super) fn random(&mut self) -> u64 {
        self.faults = self.faults.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.faults >> 33
    }

    pub(super) fn put(&mut self, reference: Ref, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.objects.insert(reference.clone(), object.clone());
        self.log.push(Change { kind: reference.kind, object: object.clone(), gone: false });
        object
    }

    pub(super) fn remove(&mut self, reference: &Ref) {
        if let Some(mut object) = self.objects.remove(reference) {
            self.version += 1;
            object["metadata"]["resourceVersion"] = self.version.to_string().into();
            self.log.push(Change { kind: reference.kind, object, gone: true });
        }
    }

    /// Server-side apply of some keys of a Secret that must be there.
    fn apply_papers(&mut self, reference: &Ref, value: &Value) -> Result<Value, ApiError> {
        let Some(mut secret) = self.objects.get(reference).cloned() else {
            return Err(ApiError::Conflict("no object of that uid".into()));
        };
        if text(&secret, "/metadata/uid") != text(value, "/metadata/uid") {
            return Err(ApiError::Conflict("another uid".into()));
        }
        for part in ["/data", "/metadata/annotations"] {
            for (key, new) in value.pointer(part).and_then(Value::as_object).into_iter().flatten() {
                secret.pointer_mut(part).and_then(Value::as_object_mut).unwrap().insert(key.clone(), new.clone());
            }
        }
        Ok(self.put(reference.clone(), secret))
    }

    pub(super) fn create(&mut self, kind: Kind, namespace: &str, object: &Value) -> Result<Value, ApiError> {
        let name = text(object, "/metadata/name").unwrap().to_owned();
        let reference = Ref::new(kind, namespace, &name);
        if self.objects.contains_key(&reference) {
            return Err(ApiError::AlreadyExists(name));
        }
        if self.closed == Some(kind) {
            return Err(ApiError::Forbidden(format!("{name:?} is forbidden: a policy of this cluster")));
        }
        if kind == Kind::Pod {
            let pods = self.objects.keys().filter(|reference| reference.kind == Kind::Pod).count();
            if self.quota.is_some_and(|quota| pods >= quota) {
                return Err(ApiError::Quota(format!("pods {name:?} is forbidden: exceeded quota: pods")));
            }
            let run = marked(object, "labels", naming::RUN).unwrap_or_default();
            let of_run = |object: &&Value| {
                marked(object, "labels", naming::RUN) == Some(run)
                    && !matches!(text(object, "/status/phase"), Some("Succeeded" | "Failed"))
            };
            let there = self.objects.iter().filter(|(reference, _)| reference.kind == Kind::Pod).map(|(_, pod)| pod);
            if there.filter(of_run).count() > MOST_PODS {
                self.violations.push(format!("run {run} has more than {MOST_PODS} pods that are not over"));
            }
            if self.ended.contains_key(run) {
                self.violations.push(format!("pod {name} was made for run {run}, which is over"));
            }
        }
        self.next_uid += 1;
        let mut object = object.clone();
        object["metadata"]["uid"] = format!("00000000-0000-0000-0000-{:012}", self.next_uid).into();
        object["metadata"]["namespace"] = namespace.into();
        Ok(self.put(reference, object))
    }

    fn apply_status(&mut self, reference: &Ref, value: &Value) -> Result<Value, ApiError> {
        let Some(old) = self.objects.get(reference).cloned() else { return Err(ApiError::NotFound(reference.to_string())) };
        for pointer in ["/metadata/resourceVersion", "/metadata/uid"] {
            if text(value, pointer) != text(&old, pointer) {
                return Err(ApiError::Conflict(format!("{pointer} is another")));
            }
        }
        let mut object = old.clone();
        object["status"] = value["status"].clone();
        self.judge(&old, &object);
        Ok(self.put(reference.clone(), object))
    }

    /// Ready is what the newest generation asks for, not what an older one did.
    fn judge_ready(&mut self, flow: &Value) {
        let Ok(view) = FlowView::read(flow) else { return };
        let Ok(spec) = &view.spec else { return self.violations.push("Ready, though the spec is not understood".to_owned()) };
        let hash = accept(&view.spec, &Prelude::NotAsked, &Claim::NotAsked).hash;
        let run = view.status.current_run.as_ref();
        let stale = run.is_some_and(|run| run.spec_hash != hash) && spec.on_spec_change != OnSpecChange::Ignore;
        let nonce = spec.rerun_nonce.as_ref().filter(|nonce| !nonce.is_empty());
        if stale || nonce.is_some() && nonce != view.status.last_rerun_nonce.as_ref() {
            self.violations.push(format!("Ready at generation {}, which has not run", view.generation));
        }
    }

    /// What a status may never do.
    fn judge(&mut self, old: &Value, new: &Value) {
        let run = |object: &Value| text(object, "/status/currentRun/id").unwrap_or_default().to_owned();
        let result = |object: &Value| text(object, "/status/currentRun/result").map(str::to_owned);
        if run(old) == run(new) && result(old).is_some() && result(old) != result(new) {
            self.violations.push(format!("run {} ended as {:?} and then as {:?}", run(old), result(old), result(new)));
        }
        if run(old) != run(new) && !run(old).is_empty() && result(old).is_none() {
            self.violations.push(format!("run {} was followed by {} before it was over", run(old), run(new)));
        }
        let number = |object: &Value| naming::run_number(&run(object)).unwrap_or(0);
        if number(new) < number(old) {
            self.violations.push(format!("run {} after {}", number(new), number(old)));
        }
        let shuffled = |object: &Value| object.pointer("/status/bytesShuffled").and_then(Value::as_i64).unwrap_or(0);
        if run(old) == run(new) && shuffled(new) < shuffled(old) {
            self.violations.push(format!("bytesShuffled went from {} to {}", shuffled(old), shuffled(new)));
        }
        let seen = |object: &Value| object.pointer("/status/observedGeneration").and_then(Value::as_i64).unwrap_or(-1);
        if seen(new) < seen(old) {
            self.violations.push(format!("observedGeneration went from {} to {}", seen(old), seen(new)));
        }
        let conditions = crate::view::list(new, "/status/conditions");
        let is = |kind: &str| {
            conditions
                .iter()
                .any(|condition| text(condition, "/type") == Some(kind) && text(condition, "/status") == Some("True"))
        };
        if is("Complete") && is("Failed") {
            self.violations.push("Complete and Failed at once".to_owned());
        }
        if is("Complete") && result(new).as_deref() != Some("Succeeded") {
            self.violations.push(format!("Complete, but the run's result is {:?}", result(new)));
        }
        if is("Ready") && Some(seen(new)) == new.pointer("/metadata/generation").and_then(Value::as_i64) {
            self.judge_ready(new);
        }
        if let Some(result) = result(new) {
            self.ended.insert(run(new), result);
        }
    }
}

#[tonic::async_trait]
impl Server for FakeServer {
    async fn get(&self, object: &Ref) -> Result<Value, ApiError> {
        let heard = self.fate()?;
        let found = self.store().objects.get(object).cloned().ok_or_else(|| ApiError::NotFound(object.to_string()));
        FakeServer::answer(heard, found)
    }

    async fn list(&self, kind: Kind, namespace: &str, labels: &str) -> Result<Vec<Value>, ApiError> {
        let heard = self.fate()?;
        let store = self.store();
        let wanted: Vec<(&str, &str)> = labels.split(',').filter_map(|label| label.split_once('=')).collect();
        let matches = |object: &Value| wanted.iter().all(|(name, value)| marked(object, "labels", name) == Some(value));
        let here = store.objects.iter().filter(|(reference, _)| reference.kind == kind && reference.namespace == namespace);
        FakeServer::answer(heard, Ok(here.map(|(_, object)| object).filter(|object| matches(object)).cloned().collect()))
    }

    async fn create(&self, kind: Kind, namespace: &str, object: &Value) -> Result<Value, ApiError> {
        let heard = self.fate()?;
        let made = self.store().create(kind, namespace, object);
        FakeServer::answer(heard, made)
    }

    async fn apply(&self, object: &Ref, status: bool, value: &Value) -> Result<Value, ApiError> {
        let heard = self.fate()?;
        if !status {
            assert_eq!(object.kind, Kind::Secret, "the controller applies nothing but statuses and what executors are known by");
            let applied = self.store().apply_papers(object, value);
            return FakeServer::answer(heard, applied);
        }
        let applied = self.store().apply_status(object, value);
        FakeServer::answer(heard, applied)
    }

    async fn delete(&self, object: &Ref, uid: Option<&str>) -> Result<(), ApiError> {
        let heard = self.fate()?;
        let mut store = self.store();
        let Some(found) = store.objects.get(object).cloned() else { return Err(ApiError::NotFound(object.to_string())) };
        if uid.is_some() && uid != text(&found, "/metadata/uid") {
            return Err(ApiError::Conflict("another uid".into()));
        }
        if object.kind == Kind::Pod && text(&found, "/metadata/deletionTimestamp").is_none() {
            // A kubelet takes its time.
            let mut leaving = found;
            leaving["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            store.put(object.clone(), leaving);
        } else if object.kind != Kind::Pod {
            store.remove(object);
        }
        drop(store);
        FakeServer::answer(heard, Ok(()))
    }

    async fn delete_all(&self, kind: Kind, namespace: &str, labels: &str) -> Result<(), ApiError> {
        for object in self.list(kind, namespace, labels).await? {
            let name = text(&object, "/metadata/name").unwrap();
            self.delete(&Ref::new(kind, namespace, name), text(&object, "/metadata/uid")).await?;
        }
        Ok(())
    }

    async fn events(&self, namespace: &str, name: &str) -> Result<Vec<Value>, ApiError> {
        let heard = self.fate()?;
        let store = self.store();
        let here = store.objects.iter().filter(|(place, _)| place.kind == Kind::Event && place.namespace == namespace);
        let about = |event: &&Value| text(event, "/involvedObject/name") == Some(name);
        FakeServer::answer(heard, Ok(here.map(|(_, event)| event).filter(about).cloned().collect()))
    }

    async fn published_keys(&self) -> Result<Value, ApiError> {
        Err(ApiError::NotFound("the controller asks for no keys".into()))
    }

    async fn access(&self, _: &str, _: &Value) -> Result<Value, ApiError> {
        Err(ApiError::NotFound("the controller asks for no reviews".into()))
    }
}
