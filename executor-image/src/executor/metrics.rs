//! What an executor counts, and how it shows it.

use std::sync::{Arc, Mutex, PoisonError};

use plan::task::{Done, Fault};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// The counts. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    registry: Arc<Mutex<Registry>>,
    tasks: Family<Vec<(&'static str, &'static str)>, Counter>,
    rows: Counter,
    bytes: Counter,
    starts: Counter,
}

impl Metrics {
    /// All zero.
    #[must_use]
    pub(crate) fn new() -> Metrics {
        let mut registry = Registry::with_prefix("gleamflow_executor");
        let tasks = Family::<Vec<(&'static str, &'static str)>, Counter>::default();
        let (rows, bytes, starts) = (Counter::default(), Counter::default(), Counter::default());
        registry.register("tasks", "Attempts of tasks that are over, by result", tasks.clone());
        registry.register("output_rows", "Rows that tasks left at agents", rows.clone());
        registry.register("output_bytes", "Bytes that tasks left at agents, before compression", bytes.clone());
        registry.register("slot_starts", "Processes of slots that were started", starts.clone());
        Metrics { registry: Arc::new(Mutex::new(registry)), tasks, rows, bytes, starts }
    }

    pub(super) fn started(&self) {
        self.starts.inc();
    }

    pub(super) fn done(&self, done: &Done) {
        self.count("done");
        self.rows.inc_by(done.pieces.iter().map(|piece| piece.rows).sum());
        self.bytes.inc_by(done.pieces.iter().map(|piece| piece.bytes).sum());
    }

    pub(super) fn failed(&self, fault: &Fault) {
        self.count(match fault {
            Fault::Flow => "flow",
            Fault::Storage => "storage",
            Fault::Hopeless => "hopeless",
            Fault::Infrastructure => "infrastructure",
            Fault::Lost(_) => "lost",
            Fault::Stopped => "stopped",
        });
    }

    fn count(&self, result: &'static str) {
        self.tasks.get_or_create(&vec![("result", result)]).inc();
    }

    /// The OpenMetrics text.
    #[must_use]
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        encode(&mut text, &registry).expect("a string takes any text");
        text
    }
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happened_is_counted_by_result() {
        let metrics = Metrics::new();
        metrics.started();
        metrics.done(&Done::default());
        metrics.failed(&Fault::Stopped);
        metrics.failed(&Fault::Stopped);
        let text = metrics.text();
        for line in
            ["tasks_total{result=\"done\"} 1", "tasks_total{result=\"stopped\"} 2", "slot_starts_total 1", "output_rows_total 0"]
        {
            assert!(text.contains(&format!("gleamflow_executor_{line}")), "{line} in {text}");
        }
    }
}
