//! Health and metrics over plain HTTP.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use proto::pages::{self, Page};
use tokio::net::TcpListener;

use crate::metrics::Metrics;

/// What health is about. Alive means that it answers: a backlog kills nobody.
#[derive(Debug)]
pub struct Health {
    /// Whether the watches have listed and the gRPC server listens; a standby is ready too.
    pub ready: AtomicBool,
    pub metrics: Arc<Metrics>,
}

/// Serves; never ends by itself.
pub async fn serve(listener: TcpListener, health: Arc<Health>) {
    pages::serve(listener, move |path| page(path, &health)).await;
}

fn page(path: &str, health: &Health) -> Page {
    match path {
        "/healthz" => Page::ok("ok".to_owned()),
        "/readyz" if health.ready.load(Ordering::Acquire) => Page::ok("ok".to_owned()),
        "/readyz" => Page::unavailable("not yet"),
        "/metrics" => Page::metrics(health.metrics.text()),
        _ => Page::not_found(),
    }
}
