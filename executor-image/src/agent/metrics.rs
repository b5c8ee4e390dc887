//! What an agent counts, for `/metrics`.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

type Number = Gauge<u64, AtomicU64>;

/// Counters and gauges, all of which are on the page.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    pub memory_used: Number,
    pub memory_limit: Number,
    pub disk_used: Number,
    pub disk_limit: Number,
    pub runs: Number,
    pub waiting: Number,
    pub writers: Number,
    pub readers: Number,
    pub puts: Counter,
    pub put_bytes: Counter,
    pub puts_failed: Counter,
    pub fetches: Counter,
    pub fetch_bytes: Counter,
    pub refused: Counter,
    /// Fetch streams that are open now.
    pub reading: Gate,
}

impl Metrics {
    /// All at zero.
    #[must_use]
    pub fn new() -> Metrics {
        let mut page = Registry::with_prefix("gleamflow_agent");
        let mut gauge = |name: &str, help: &str| {
            let gauge = Number::default();
            page.register(name, help, gauge.clone());
            gauge
        };
        let (memory_used, memory_limit) =
            (gauge("memory_bytes", "Bytes of outputs held in memory"), gauge("memory_limit_bytes", "How many may be"));
        let (disk_used, disk_limit) =
            (gauge("disk_bytes", "Bytes of outputs held on the disk"), gauge("disk_limit_bytes", "How many may be"));
        let (runs, waiting) =
            (gauge("runs", "Runs that something is held of"), gauge("waiting_runs", "Runs whose writers wait for room"));
        let (writers, readers) =
            (gauge("writers", "Outputs that are coming in"), gauge("readers", "Fetch streams that are open"));
        let mut counter = |name: &str, help: &str| {
            let counter = Counter::default();
            page.register(name, help, counter.clone());
            counter
        };
        let puts = counter("puts", "Outputs that came in whole");
        let put_bytes = counter("put_bytes", "Bytes that came in");
        let puts_failed = counter("puts_failed", "Outputs that broke off or were not taken");
        let fetches = counter("fetches", "Fetch streams begun");
        let fetch_bytes = counter("fetch_bytes", "Bytes that went out");
        let refused = counter("refused", "Calls without the right to be made");
        let reading = Gate::default();
        Metrics {
            registry: page,
            memory_used,
            memory_limit,
            disk_used,
            disk_limit,
            runs,
            waiting,
            writers,
            readers,
            puts,
            put_bytes,
            puts_failed,
            fetches,
            fetch_bytes,
            refused,
            reading,
        }
    }

    /// The page, as Prometheus reads it.
    ///
    /// # Errors
    /// If a value cannot be written.
    pub fn page(&self) -> Result<String, fmt::Error> {
        self.readers.set(self.reading.now() as u64);
        let mut page = String::new();
        encode(&mut page, &self.registry)?;
        Ok(page)
    }
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new()
    }
}

/// Counts who is inside.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<AtomicUsize>);

/// Somebody inside; out when dropped.
#[derive(Debug)]
pub struct Count(Arc<AtomicUsize>);

impl Gate {
    /// One more.
    #[must_use]
    pub fn enter(&self) -> Count {
        self.0.fetch_add(1, Ordering::Relaxed);
        Count(Arc::clone(&self.0))
    }

    /// How many there are.
    #[must_use]
    pub fn now(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
