//! Many random flows, each checked: as many as the environment asks for, and the seeds of those that fail.
//!
//! `GLEAMFLOW_RANDOM_FLOWS=5000 cargo test ...` tries more, `GLEAMFLOW_RANDOM_SEED=17` only that one; a test says what stands in
//! place of `RANDOM`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{GeneratedFlow, generate};

/// After so many failures no further flow is tried.
const ENOUGH: usize = 5;

/// What flows a test tries, and how.
#[derive(Clone, Copy, Debug)]
pub struct Seeds {
    /// Stands in the names of the environment's variables.
    pub name: &'static str,
    /// How many flows an ordinary test run tries.
    pub flows: u64,
    /// Flows checked at a time.
    pub workers: usize,
    /// Bytes of stack that a check needs.
    pub stack: usize,
}

impl Seeds {
    /// Checks the flows.
    ///
    /// # Panics
    /// With the seeds of the flows that failed, after all were tried; each failure is printed with its flow.
    pub fn check(self, check: impl Fn(&GeneratedFlow) -> Result<(), String> + Sync) {
        let (from, to) = match self.from_environment("SEED") {
            Some(seed) => (seed, seed + 1),
            None => (0, self.from_environment("FLOWS").unwrap_or(self.flows)),
        };
        let (next, failures) = (AtomicU64::new(from), Mutex::new(Vec::new()));
        let work = || {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= to || failures.lock().is_ok_and(|failures| failures.len() >= ENOUGH) {
                    return;
                }
                let flow = generate(seed);
                let checked = catch_unwind(AssertUnwindSafe(|| check(&flow)));
                if let Err(message) = checked.unwrap_or_else(|_| Err("the check panicked".to_owned())) {
                    eprintln!("seed {seed}: {message}\n{}", flow.yaml);
                    failures.lock().expect("nothing panics while it holds this").push(seed);
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..self.workers {
                let worker = std::thread::Builder::new().stack_size(self.stack);
                worker.spawn_scoped(scope, work).expect("a thread starts");
            }
        });
        let failures = failures.into_inner().expect("nothing panics while it holds this");
        assert!(failures.is_empty(), "random flows fail: GLEAMFLOW_{}_SEED={failures:?}", self.name);
    }

    fn from_environment(self, what: &str) -> Option<u64> {
        let name = format!("GLEAMFLOW_{}_{what}", self.name);
        std::env::var(&name).ok().map(|text| text.parse().unwrap_or_else(|error| panic!("{name}={text}: {error}")))
    }
}
