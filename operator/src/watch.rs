//! The watches that fill the cache and wake the queue.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{StreamExt, pin_mut};
use kube::core::DynamicObject;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Config, Event};
use serde_json::Value;
use tokio::sync::watch;

use crate::cache::{Cache, Kept};
use crate::naming;
use crate::queue::Queue;
use crate::server::Kind;
use crate::server::kube::KubeServer;

/// Lists come in pages: bounds what is in memory at once.
const PAGE: u32 = 100;
/// A burst of changes of one flow is looked at once.
const GATHER: Duration = Duration::from_millis(5);

/// One watch: a kind, in a namespace (empty: in all).
#[derive(Clone, Debug)]
pub struct Watch {
    pub kind: Kind,
    pub namespace: String,
}

/// Everything that is watched.
#[must_use]
pub fn watches(served: &[String], nodes: bool) -> Vec<Watch> {
    let all = [String::new()];
    let namespaces = if served.is_empty() { &all[..] } else { served };
    let mut watches = Vec::new();
    for namespace in namespaces {
        for kind in [Kind::GleamFlow, Kind::Pod] {
            watches.push(Watch { kind, namespace: namespace.clone() });
        }
    }
    if nodes {
        watches.push(Watch { kind: Kind::Node, namespace: String::new() });
    }
    watches
}

/// Follows one watch for ever; says in `ready` when its first list is whole.
pub async fn follow(server: KubeServer, of: Watch, cache: Arc<Mutex<Cache>>, queue: Arc<Queue>, ready: watch::Sender<bool>) {
    let mut config = Config::default().page_size(PAGE);
    if of.kind == Kind::Pod {
        config = config.labels(&format!("{}={},{}=executor", naming::MANAGED_BY, naming::MANAGER, naming::ROLE));
    }
    let events = watcher::watcher(server.api(of.kind, &of.namespace), config).default_backoff();
    pin_mut!(events);
    let mut listed = Vec::new();
    while let Some(event) = events.next().await {
        let mut cache = cache.lock().unwrap_or_else(PoisonError::into_inner);
        let concerned = match event {
            Err(error) => {
                tracing::warn!(kind = of.kind.names().2, namespace = of.namespace, %error, "a watch is interrupted");
                Vec::new()
            }
            Ok(Event::Init) => {
                listed.clear();
                Vec::new()
            }
            Ok(Event::InitApply(object)) => {
                listed.extend(Kept::of(of.kind, plain(object)));
                Vec::new()
            }
            Ok(Event::InitDone) => {
                let concerned = cache.replace(of.kind, &of.namespace, std::mem::take(&mut listed));
                let _ = ready.send(true);
                concerned
            }
            Ok(Event::Apply(object)) => cache.apply(of.kind, plain(object)).into_iter().collect(),
            Ok(Event::Delete(object)) => cache.remove(of.kind, &plain(object)).into_iter().collect(),
        };
        for key in concerned {
            let flows = if of.kind == Kind::Pod { cache.flows_of_pods(&key) } else { vec![key] };
            for flow in flows {
                match cache.is_settled(&flow) {
                    true => queue.add_last(flow),
                    false => queue.add(flow, GATHER),
                }
            }
        }
    }
}

fn plain(mut object: DynamicObject) -> Value {
    object.metadata.managed_fields = None;
    serde_json::to_value(object).expect("an object from JSON is JSON")
}
