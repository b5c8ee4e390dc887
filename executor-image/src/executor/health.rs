//! What the kubelet and Prometheus ask an executor over HTTP.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use proto::pages::Page;

use super::metrics::Metrics;

/// `/healthz`: the process answers; `/readyz`: a leader takes at least one slot for a worker; `/metrics`.
pub(super) fn page(path: &str, metrics: &Metrics, welcome: &[Arc<AtomicBool>]) -> Page {
    match path {
        "/healthz" => Page::ok("ok".to_owned()),
        "/readyz" if welcome.iter().any(|welcome| welcome.load(Ordering::Relaxed)) => Page::ok("ok".to_owned()),
        "/readyz" => Page::unavailable("no operator has welcomed a slot"),
        "/metrics" => Page::metrics(metrics.text()),
        _ => Page::not_found(),
    }
}
