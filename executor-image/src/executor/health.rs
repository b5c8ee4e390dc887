//! What the kubelet and Prometheus ask an executor over HTTP.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;

use super::metrics::Metrics;

/// What OpenMetrics text is called.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// `/healthz`: the process answers; `/readyz`: a leader takes at least one slot for a worker; `/metrics`.
pub(super) fn router(metrics: Metrics, welcome: Vec<Arc<AtomicBool>>) -> Router {
    let ready = move || {
        let ready = welcome.iter().any(|welcome| welcome.load(Ordering::Relaxed));
        async move {
            if ready { (StatusCode::OK, "ok") } else { (StatusCode::SERVICE_UNAVAILABLE, "no operator has welcomed a slot") }
        }
    };
    Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(move || async move { ([(CONTENT_TYPE, OPEN_METRICS)], metrics.text()).into_response() }))
}
