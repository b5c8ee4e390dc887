//! An API server in memory: versions, uids, conditional writes, owner checks; and faults on demand.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value, json};

use super::judge::Judge;
use super::planted::Planted;
use crate::server::{ApiError, Kind, Ref, Server};
use crate::view::{list, marked, text};

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
    /// So many bytes of a status are too much for a flow.
    pub(super) largest: Option<usize>,
    /// A condition of which somebody else manages a part, or all.
    pub(super) held: Option<(&'static str, Held)>,
    /// What the operator has no right to.
    pub(super) forbidden: Option<(&'static str, Kind)>,
    /// The term of the operator that leads.
    pub(super) term: u64,
    pub(super) judge: Judge,
}

/// How much of a condition somebody else manages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    Part,
    Whole,
}

/// The server, shared by all operators. An operator that is killed has its own switch.
#[derive(Clone, Debug)]
pub(super) struct FakeServer {
    pub(super) store: Arc<Mutex<Store>>,
    /// Requests that this operator may still make; then it is dead.
    pub(super) life: Arc<Mutex<Option<u64>>>,
    /// Its term.
    pub(super) term: u64,
    /// What it does wrong.
    pub(super) planted: Option<Planted>,
}

impl FakeServer {
    pub(super) fn new() -> FakeServer {
        FakeServer { store: Arc::default(), life: Arc::default(), term: 0, planted: None }
    }

    /// The same server for another operator, which leads from now on.
    pub(super) fn for_another(&self) -> FakeServer {
        let term = self.store().term + 1;
        self.store().term = term;
        FakeServer { store: Arc::clone(&self.store), life: Arc::default(), term, planted: self.planted }
    }

    /// In the words of the API server.
    fn may(&self, verb: &'static str, kind: Kind, namespace: &str) -> Result<(), ApiError> {
        if self.store().forbidden != Some((verb, kind)) {
            return Ok(());
        }
        let (group, _, _, plural) = kind.names();
        let user = "system:serviceaccount:gleamflow:gleamflow-operator";
        Err(ApiError::Forbidden(format!(
            "{plural} is forbidden: User {user:?} cannot {verb} resource {plural:?} in API group {group:?} in the namespace {namespace:?}"
        )))
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
        match (reference.kind, self.objects.get(&reference)) {
            (Kind::GleamFlow, _) => self.judge.flow(&object),
            (Kind::Pod, Some(before)) => self.judge.pod_changed(before, &object),
            _ => {}
        }
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.objects.insert(reference.clone(), object.clone());
        self.log.push(Change { kind: reference.kind, object: object.clone(), gone: false });
        object
    }

    pub(super) fn remove(&mut self, reference: &Ref) {
        if let Some(mut object) = self.objects.remove(reference) {
            if reference.kind == Kind::Pod {
                self.judge.pod_lost(&object);
            }
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

    pub(super) fn create(&mut self, kind: Kind, namespace: &str, object: &Value, leads: bool) -> Result<Value, ApiError> {
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
        }
        self.next_uid += 1;
        let mut object = object.clone();
        object["metadata"]["uid"] = format!("00000000-0000-0000-0000-{:012}", self.next_uid).into();
        object["metadata"]["namespace"] = namespace.into();
        let made = self.put(reference, object);
        if kind == Kind::Pod {
            let there = self.objects.iter().filter(|(reference, _)| reference.kind == Kind::Pod).map(|(_, pod)| pod);
            self.judge.pod_made(&made, there, leads);
        }
        Ok(made)
    }

    /// What somebody else manages stays where it is left out; a part of a condition is none.
    fn stays(&self, old: &Value, applied: &Value) -> Result<Option<Value>, ApiError> {
        let Some((kind, held)) = self.held else { return Ok(None) };
        let of = |object: &Value| {
            list(object, "/status/conditions").iter().find(|condition| text(condition, "/type") == Some(kind)).cloned()
        };
        match (of(old).filter(|_| of(applied).is_none()), held) {
            (Some(_), Held::Part) => Err(ApiError::Invalid("status.conditions[3].reason: Required value".into())),
            (stays, _) => Ok(stays),
        }
    }

    /// Adds to what was applied a condition that is none of its.
    fn leave(&mut self, reference: &Ref, condition: Value) -> Value {
        let object = self.objects.get_mut(reference).unwrap();
        object.pointer_mut("/status/conditions").and_then(Value::as_array_mut).unwrap().push(condition);
        let object = object.clone();
        self.log.last_mut().unwrap().object = object.clone();
        object
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
        if self.largest.is_some_and(|largest| object["status"].to_string().len() > largest) {
            return Err(ApiError::Unavailable("500 : etcdserver: request is too large".into()));
        }
        self.judge.status(&old, &object);
        Ok(self.put(reference.clone(), object))
    }
}

#[tonic::async_trait]
impl Server for FakeServer {
    async fn get(&self, object: &Ref) -> Result<Value, ApiError> {
        let heard = self.fate()?;
        self.may("get", object.kind, &object.namespace)?;
        let found = self.store().objects.get(object).cloned().ok_or_else(|| ApiError::NotFound(object.to_string()));
        FakeServer::answer(heard, found)
    }

    async fn list(&self, kind: Kind, namespace: &str, labels: &str) -> Result<Vec<Value>, ApiError> {
        let heard = self.fate()?;
        self.may("list", kind, namespace)?;
        let store = self.store();
        let wanted: Vec<(&str, &str)> = labels.split(',').filter_map(|label| label.split_once('=')).collect();
        let matches = |object: &Value| wanted.iter().all(|(name, value)| marked(object, "labels", name) == Some(value));
        let here = store.objects.iter().filter(|(reference, _)| reference.kind == kind && reference.namespace == namespace);
        FakeServer::answer(heard, Ok(here.map(|(_, object)| object).filter(|object| matches(object)).cloned().collect()))
    }

    async fn create(&self, kind: Kind, namespace: &str, object: &Value) -> Result<Value, ApiError> {
        let heard = self.fate()?;
        if let Err(denied) = self.may("create", kind, namespace) {
            return if self.planted == Some(Planted::SwallowedDenials) { Ok(object.clone()) } else { Err(denied) };
        }
        let mut store = self.store();
        let leads = self.term == store.term;
        let made = store.create(kind, namespace, object, leads);
        if let (Some(planted), Ok(made)) = (self.planted, &made) {
            planted.made(&mut store, kind, made);
        }
        drop(store);
        FakeServer::answer(heard, made)
    }

    async fn apply(&self, object: &Ref, status: bool, value: &Value) -> Result<Value, ApiError> {
        let heard = self.fate()?;
        if !status {
            assert_eq!(object.kind, Kind::Secret, "the controller applies nothing but statuses and what executors are known by");
            self.may("patch", object.kind, &object.namespace)?;
            let applied = self.store().apply_papers(object, value);
            return FakeServer::answer(heard, applied);
        }
        self.may("patch", object.kind, &object.namespace)?;
        let mut store = self.store();
        let mut value = value.clone();
        if let Some(planted) = self.planted {
            planted.written(&mut store, object, &mut value);
        }
        let old = store.objects.get(object).cloned().unwrap_or_default();
        let applied = match store.stays(&old, &value) {
            Ok(None) => store.apply_status(object, &value),
            Ok(Some(condition)) => store.apply_status(object, &value).map(|_| store.leave(object, condition)),
            Err(error) => Err(error),
        };
        drop(store);
        FakeServer::answer(heard, applied)
    }

    async fn replace_status(&self, object: &Ref, version: &str, status: &Value) -> Result<Value, ApiError> {
        let heard = self.fate()?;
        self.may("patch", object.kind, &object.namespace)?;
        let mut store = self.store();
        store.held = None;
        let uid = store.objects.get(object).and_then(|object| text(object, "/metadata/uid")).unwrap_or_default().to_owned();
        let replaced =
            store.apply_status(object, &json!({"metadata": {"resourceVersion": version, "uid": uid}, "status": status}));
        drop(store);
        FakeServer::answer(heard, replaced)
    }

    async fn delete(&self, object: &Ref, uid: Option<&str>) -> Result<(), ApiError> {
        let heard = self.fate()?;
        self.may("delete", object.kind, &object.namespace)?;
        let mut store = self.store();
        let Some(found) = store.objects.get(object).cloned() else { return Err(ApiError::NotFound(object.to_string())) };
        if uid.is_some() && uid != text(&found, "/metadata/uid") {
            return Err(ApiError::Conflict("another uid".into()));
        }
        if object.kind == Kind::Pod && text(&found, "/metadata/deletionTimestamp").is_none() {
            if self.term != store.term {
                store.judge.pod_lost(&found);
            }
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
        self.may("list", Kind::Event, namespace)?;
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
