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

#[cfg(test)]
mod tests {
    use super::*;

    /// Liveness asks for an answer and nothing else: who has much to do is not started again for it.
    #[test]
    fn an_operator_is_alive_before_it_is_ready_and_whatever_it_has_to_do() {
        let health = Health { ready: AtomicBool::new(false), metrics: Metrics::new() };
        let status = |path: &str| page(path, &health).status.split(' ').next().unwrap_or_default();
        assert_eq!((status("/healthz"), status("/readyz")), ("200", "503"));
        health.ready.store(true, Ordering::Release);
        assert_eq!((status("/healthz"), status("/readyz"), status("/other")), ("200", "200", "404"));
    }
}
