//! What watches have told, trimmed; and whether they have caught up with our own writes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::Value;

use crate::server::Kind;
use crate::view::flow::{self, FlowText};
use crate::view::{FlowKey, NodeView, PodView, Room, version};
use crate::{naming, view};

/// The cache. Events of one kind come in order; those of different kinds do not.
#[derive(Debug, Default)]
pub struct Cache {
    flows: HashMap<Arc<FlowKey>, FlowText>,
    uids: HashMap<Box<str>, Arc<FlowKey>>,
    /// Pods by namespace and the label that names their flow.
    pods: HashMap<FlowKey, BTreeMap<String, Arc<PodView>>>,
    nodes: BTreeMap<String, NodeView>,
    /// The newest version of a pod that was told, by namespace.
    pods_told: HashMap<String, u64>,
    nodes_known: bool,
}

/// An object as the cache keeps it: trimmed as soon as it is told, so that a list of ten thousand is never in memory whole.
#[derive(Debug)]
pub enum Kept {
    Flow(FlowKey, FlowText),
    Pod {
        /// By the label that names its flow.
        flow: FlowKey,
        name: String,
        version: u64,
        view: Option<Arc<PodView>>,
    },
    Node(NodeView),
}

impl Kept {
    /// Trims an object; `None` where it lacks its identity, or is of a kind that is not kept.
    #[must_use]
    pub fn of(kind: Kind, object: Value) -> Option<Kept> {
        match kind {
            Kind::GleamFlow => Some(Kept::Flow(flow::key(&object)?, FlowText::pack(object))),
            Kind::Pod => {
                let (flow, name) = pod_key(&object)?;
                Some(Kept::Pod { flow, name, version: version(&object), view: PodView::read(&object).map(Arc::new) })
            }
            Kind::Node => NodeView::read(&object).map(Kept::Node),
            _ => None,
        }
    }
}

/// What a write of ours must show as before the cache can be believed again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    Flow {
        version: u64,
    },
    Pod {
        version: u64,
    },
    /// Deleted, or on its way.
    Leaving {
        name: String,
        uid: String,
    },
}

impl Cache {
    /// An object was made or changed; whose flow that concerns.
    pub fn apply(&mut self, kind: Kind, object: Value) -> Option<FlowKey> {
        Kept::of(kind, object).and_then(|kept| self.keep(kept))
    }

    fn keep(&mut self, kept: Kept) -> Option<FlowKey> {
        match kept {
            Kept::Flow(key, text) => {
                self.keep_flow(&key, text);
                Some(key)
            }
            Kept::Pod { flow, name, version, view } => {
                self.told(&flow.namespace, version);
                let view = view?;
                let pods = self.pods.entry(flow.clone()).or_default();
                // What was read past the cache may be newer than what the watch has yet to tell.
                if pods.get(&name).is_none_or(|known| known.version <= view.version) {
                    pods.insert(name, view);
                }
                Some(flow)
            }
            Kept::Node(node) => {
                self.nodes_known = true;
                self.nodes.insert(node.name.clone(), node);
                None
            }
        }
    }

    /// An object is gone.
    pub fn remove(&mut self, kind: Kind, object: &Value) -> Option<FlowKey> {
        match kind {
            Kind::GleamFlow => {
                let key = flow::key(object)?;
                // Another of that name may be known already, from a read past the cache.
                if self.flows.get(&key).is_some_and(|known| view::text(object, "/metadata/uid") == Some(&*known.uid)) {
                    self.drop_flow(&key);
                }
                Some(key)
            }
            Kind::Pod => {
                let (key, name) = pod_key(object)?;
                self.told(&key.namespace, version(object));
                let pods = self.pods.get_mut(&key)?;
                if pods.get(&name).is_some_and(|known| view::text(object, "/metadata/uid") == Some(&known.uid)) {
                    pods.remove(&name);
                }
                if pods.is_empty() {
                    self.pods.remove(&key);
                }
                Some(key)
            }
            Kind::Node => {
                self.nodes.remove(view::text(object, "/metadata/name")?);
                None
            }
            _ => None,
        }
    }

    /// Everything of a kind (in a namespace; empty: in all) anew; whose flows that concerns.
    pub fn replace(&mut self, kind: Kind, namespace: &str, objects: Vec<Kept>) -> Vec<FlowKey> {
        let here = |key: &FlowKey| namespace.is_empty() || key.namespace == namespace;
        let mut concerned: Vec<FlowKey> = match kind {
            Kind::GleamFlow => self.flows.keys().filter(|key| here(key)).map(|key| FlowKey::clone(key)).collect(),
            Kind::Pod => self.pods.keys().filter(|key| here(key)).cloned().collect(),
            _ => Vec::new(),
        };
        match kind {
            Kind::GleamFlow => {
                self.flows.retain(|key, _| !here(key));
                self.uids.retain(|_, key| !here(key));
            }
            Kind::Pod => self.pods.retain(|key, _| !here(key)),
            Kind::Node => {
                self.nodes.clear();
                self.nodes_known = true;
            }
            _ => {}
        }
        concerned.extend(objects.into_iter().filter_map(|object| self.keep(object)));
        concerned
    }

    /// What an uncached read found out about one flow.
    pub fn refresh(&mut self, key: &FlowKey, flow: Option<Value>, pods: Vec<Value>) {
        match flow {
            Some(flow) => drop(self.apply(Kind::GleamFlow, flow)),
            None => self.drop_flow(key),
        }
        self.pods.remove(&pods_of(key));
        for pod in pods {
            self.apply(Kind::Pod, pod);
        }
    }

    fn keep_flow(&mut self, key: &FlowKey, text: FlowText) {
        match self.flows.get(key) {
            Some(known) if known.version > text.version => {}
            _ => {
                self.drop_flow(key);
                let key = Arc::new(key.clone());
                self.uids.insert(text.uid.clone(), Arc::clone(&key));
                self.flows.insert(key, text);
            }
        }
    }

    fn drop_flow(&mut self, key: &FlowKey) {
        if let Some(flow) = self.flows.remove(key) {
            self.uids.remove(&flow.uid);
        }
    }

    fn told(&mut self, namespace: &str, version: u64) {
        let told = self.pods_told.entry(namespace.to_owned()).or_default();
        *told = version.max(*told);
    }

    /// A flow as last told.
    #[must_use]
    pub fn flow(&self, key: &FlowKey) -> Option<Value> {
        self.flows.get(key).map(FlowText::unpack)
    }

    /// Whether a flow is over and nothing newer is asked of it, so that it can wait for others.
    #[must_use]
    pub fn is_settled(&self, key: &FlowKey) -> bool {
        self.flows.get(key).is_some_and(|flow| flow.settled)
    }

    /// The flow with a UID.
    #[must_use]
    pub fn of_uid(&self, uid: &str) -> Option<FlowKey> {
        self.uids.get(uid).map(|key| FlowKey::clone(key))
    }

    /// All flows.
    #[must_use]
    pub fn keys(&self) -> Vec<FlowKey> {
        self.flows.keys().map(|key| FlowKey::clone(key)).collect()
    }

    /// The pods that this very object controls.
    #[must_use]
    pub fn pods(&self, key: &FlowKey, uid: &str) -> Vec<Arc<PodView>> {
        let pods = self.pods.get(&pods_of(key)).into_iter().flat_map(BTreeMap::values);
        pods.filter(|pod| pod.owner == uid).cloned().collect()
    }

    /// Flows whose pods carry a key's label: the watch of pods only knows the label.
    #[must_use]
    pub fn flows_of_pods(&self, key: &FlowKey) -> Vec<FlowKey> {
        let same = |flow: &&FlowKey| pods_of(flow) == *key;
        if self.flows.contains_key(key) {
            vec![key.clone()]
        } else {
            self.flows.keys().map(Arc::as_ref).filter(same).cloned().collect()
        }
    }

    /// Whether an expected change shows.
    #[must_use]
    pub fn shows(&self, key: &FlowKey, expected: &Expected) -> bool {
        match expected {
            Expected::Flow { version } => self.flows.get(key).is_none_or(|flow| flow.version >= *version),
            Expected::Pod { version } => self.pods_told.get(&key.namespace).is_some_and(|told| told >= version),
            Expected::Leaving { name, uid } => {
                let pod = self.pods.get(&pods_of(key)).and_then(|pods| pods.get(name));
                pod.is_none_or(|pod| pod.uid != *uid || pod.deleting)
            }
        }
    }

    /// What every node that takes executors has left of what it can give; `None`: nodes cannot be read.
    #[must_use]
    pub fn free(&self) -> Option<Vec<Room>> {
        if !self.nodes_known {
            return None;
        }
        let mut used: HashMap<&str, Room> = HashMap::new();
        for pod in self.pods.values().flat_map(BTreeMap::values).filter(|pod| !pod.finished()) {
            if let Some(node) = &pod.node {
                let sum = used.entry(node).or_default();
                *sum = sum.plus(pod.requests);
            }
        }
        let usable = self.nodes.values().filter(|node| node.ready && node.open);
        Some(usable.map(|node| node.allocatable.minus(used.get(node.name.as_str()).copied().unwrap_or_default())).collect())
    }

    /// Whether a node is known to be gone or not to answer.
    #[must_use]
    pub fn is_lost(&self, node: &str) -> bool {
        self.nodes_known && self.nodes.get(node).is_none_or(|node| !node.ready)
    }
}

/// A pod is found by its namespace and the label with its flow's name (cut to fit).
fn pods_of(key: &FlowKey) -> FlowKey {
    FlowKey { namespace: key.namespace.clone(), name: naming::flow_part(&key.name) }
}

fn pod_key(object: &Value) -> Option<(FlowKey, String)> {
    let namespace = view::text(object, "/metadata/namespace")?.to_owned();
    let name = view::marked(object, "labels", naming::FLOW)?.to_owned();
    Some((FlowKey { namespace, name }, view::text(object, "/metadata/name")?.to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(uid: &str, version: u64) -> Value {
        json!({"metadata": {
            "name": "a-1-0", "namespace": "n", "uid": uid, "resourceVersion": version.to_string(),
            "labels": {naming::FLOW: "a", naming::RUN: "u-1"},
            "ownerReferences": [{"controller": true, "uid": "u"}],
        }})
    }

    fn flow(uid: &str, version: u64) -> Value {
        json!({"metadata": {"name": "a", "namespace": "n", "uid": uid, "resourceVersion": version.to_string(), "generation": 1}})
    }

    /// What a watch tells of before a read past the cache takes nothing of that back.
    #[test]
    fn what_is_told_late_is_not_news() {
        let key = FlowKey { namespace: "n".into(), name: "a".into() };
        let mut cache = Cache::default();
        cache.refresh(&key, Some(flow("new", 20)), vec![pod("p2", 21)]);
        let know = |cache: &Cache| {
            let pods: Vec<(String, u64)> = cache.pods(&key, "u").iter().map(|pod| (pod.uid.clone(), pod.version)).collect();
            let flow = cache.flow(&key).and_then(|flow| view::text(&flow, "/metadata/uid").map(str::to_owned));
            (flow, pods)
        };
        let newest = know(&cache);
        assert_eq!(newest, (Some("new".into()), vec![("p2".into(), 21)]));
        cache.apply(Kind::Pod, pod("p1", 5));
        cache.remove(Kind::Pod, &pod("p1", 8));
        cache.apply(Kind::Pod, pod("p2", 20));
        cache.apply(Kind::GleamFlow, flow("old", 4));
        cache.remove(Kind::GleamFlow, &flow("old", 9));
        cache.apply(Kind::GleamFlow, flow("new", 19));
        assert_eq!(know(&cache), newest);
        assert!(cache.shows(&key, &Expected::Pod { version: 21 }) && !cache.shows(&key, &Expected::Pod { version: 22 }));
        cache.remove(Kind::Pod, &pod("p2", 22));
        cache.remove(Kind::GleamFlow, &flow("new", 23));
        assert_eq!(know(&cache), (None, Vec::new()));
        assert_eq!(cache.of_uid("new"), None);
    }

    #[test]
    fn a_list_takes_the_place_of_all_there_was_and_concerns_what_is_gone_too() {
        let mut cache = Cache::default();
        cache.apply(Kind::GleamFlow, flow("u", 1));
        let mut other = flow("v", 2);
        other["metadata"]["name"] = "b".into();
        let concerned = cache.replace(Kind::GleamFlow, "", Kept::of(Kind::GleamFlow, other).into_iter().collect());
        let names: Vec<&str> = concerned.iter().map(|key| key.name.as_str()).collect();
        assert_eq!((names, cache.keys().len()), (vec!["a", "b"], 1));
        assert_eq!(cache.of_uid("u"), None);
    }

    #[test]
    fn a_flow_is_settled_when_its_newest_generation_has_run() {
        let key = FlowKey { namespace: "n".into(), name: "a".into() };
        let check = |seen: i64, ended: Value, settled: bool| {
            let mut cache = Cache::default();
            let mut flow = flow("u", 1);
            flow["status"] = json!({"observedGeneration": seen, "currentRun": {"completionTime": ended}});
            cache.apply(Kind::GleamFlow, flow);
            assert_eq!(cache.is_settled(&key), settled);
        };
        check(1, json!("2026-01-01T00:00:00Z"), true);
        check(0, json!("2026-01-01T00:00:00Z"), false);
        check(1, Value::Null, false);
    }
}
