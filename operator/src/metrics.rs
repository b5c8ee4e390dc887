//! What is counted, for prometheus.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

type Labels = [(&'static str, &'static str); 2];

/// The metrics.
pub struct Metrics {
    registry: Registry,
    requests: Family<Labels, Counter>,
    reconciles: Counter,
    failures: Counter,
    stale: Counter,
    seconds: Histogram,
    run_requests: Histogram,
    queue: Gauge<i64>,
    leading: Gauge<u64, AtomicU64>,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// All at zero.
    #[must_use]
    pub fn new() -> Arc<Metrics> {
        let mut metrics = Metrics {
            registry: Registry::with_prefix("gleamflow_operator"),
            requests: Family::default(),
            reconciles: Counter::default(),
            failures: Counter::default(),
            stale: Counter::default(),
            seconds: Histogram::new([0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0]),
            run_requests: Histogram::new([4.0, 6.0, 8.0, 10.0, 15.0, 25.0, 50.0, 200.0]),
            queue: Gauge::default(),
            leading: Gauge::default(),
        };
        let registry = &mut metrics.registry;
        registry.register("api_requests", "Requests to the API server, without watches and events", metrics.requests.clone());
        registry.register("reconciles", "Looks at a flow", metrics.reconciles.clone());
        registry.register("reconcile_failures", "Looks at a flow that ended with an error", metrics.failures.clone());
        registry.register("stale_cache_skips", "Looks put off until the cache showed our own writes", metrics.stale.clone());
        registry.register("reconcile_seconds", "Duration of a look at a flow", metrics.seconds.clone());
        registry.register("requests_per_run", "Requests of the controller for one run", metrics.run_requests.clone());
        registry.register("queued_flows", "Flows waiting to be looked at", metrics.queue.clone());
        registry.register("leading", "1 while this process leads", metrics.leading.clone());
        Arc::new(metrics)
    }

    pub(crate) fn request(&self, verb: &'static str, kind: &'static str) {
        self.requests.get_or_create(&[("verb", verb), ("resource", kind)]).inc();
    }

    pub(crate) fn reconciled(&self, millis: i64, failed: bool) {
        self.reconciles.inc();
        if failed {
            self.failures.inc();
        }
        self.seconds.observe(std::time::Duration::from_millis(millis.unsigned_abs()).as_secs_f64());
    }

    pub(crate) fn stale(&self) {
        self.stale.inc();
    }

    pub(crate) fn run_ended(&self, requests: u32) {
        self.run_requests.observe(f64::from(requests));
    }

    /// Sets how many flows wait.
    pub fn queued(&self, flows: usize) {
        self.queue.set(i64::try_from(flows).unwrap_or(i64::MAX));
    }

    /// Sets whether this process leads.
    pub fn leads(&self, leads: bool) {
        self.leading.set(u64::from(leads));
    }

    /// As prometheus reads them.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
