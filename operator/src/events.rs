//! Tells events to people, best effort, never in the way of anything: a bounded channel, and names that make a repeated one the same.

use std::sync::Arc;

use serde_json::json;
use tokio::sync::mpsc;

use crate::controller::Told;
use crate::naming;
use crate::server::{ApiError, Kind, Server};

/// Events that may wait; more are dropped.
pub const WAITING: usize = 256;
/// The API server's bound on an event's message.
const MESSAGE: usize = 1000;

/// Tells what comes until nobody sends any more.
pub async fn tell(server: Arc<dyn Server>, mut events: mpsc::Receiver<Told>, pod: String) {
    while let Some(told) = events.recv().await {
        let object = event(&told, &pod, &jiff::Timestamp::now().to_string());
        match server.create(Kind::Event, &told.key.namespace, &object).await {
            Ok(_) | Err(ApiError::AlreadyExists(_)) => {}
            Err(error) => tracing::debug!(flow = %told.key, %error, "an event was not told"),
        }
    }
}

fn event(told: &Told, pod: &str, time: &str) -> serde_json::Value {
    let same = format!("{}\n{}\n{}\n{}", told.uid, told.run, told.event.reason, told.event.message);
    let message: String = told.event.message.chars().take(MESSAGE).collect();
    json!({
        "apiVersion": Kind::Event.api_version(), "kind": "Event",
        "metadata": {
            // Those of one second are shown by their names.
            "name": format!("{}.{:04x}{}", naming::flow_part(&told.key.name), told.event.place, &naming::hash(same.as_bytes())[..16]),
            "namespace": told.key.namespace,
        },
        "involvedObject": {
            "apiVersion": Kind::GleamFlow.api_version(), "kind": "GleamFlow", "name": told.key.name,
            "namespace": told.key.namespace, "uid": told.uid,
        },
        "type": if told.event.warning { "Warning" } else { "Normal" },
        "reason": told.event.reason, "message": message,
        "source": {"component": naming::OPERATOR}, "reportingComponent": "gleamflow.io/operator", "reportingInstance": pod,
        "firstTimestamp": time, "lastTimestamp": time, "count": 1,
    })
}
