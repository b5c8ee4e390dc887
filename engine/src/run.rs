//! Runs a whole plan in this process.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use plan::Plan;

use crate::Result;
use crate::report::{Observer, Report};

/// How to run a plan here.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Relative paths of sources and sinks resolve here.
    pub base: PathBuf,
    /// Where spill files go (a directory of the run's own is made in it, and removed); `None`: the system's.
    pub scratch: Option<PathBuf>,
    /// Worker threads, at least 1.
    pub threads: usize,
    /// The memory budget in bytes.
    pub memory: usize,
    /// Partitions of steps that do not say `partitions` themselves; `None`: as many as the data asks for.
    pub partitions: Option<u32>,
    /// Seeds `math.random`.
    pub seed: u64,
    /// Set from outside to stop the run soon; it then returns [`crate::Error::Interrupted`].
    pub stop: Arc<AtomicBool>,
}

/// Runs the plan; rows of `write.stdout` go to standard output, files appear when all is done.
///
/// # Errors
/// The first failure; nothing is left behind then.
pub fn run(_plan: &Plan, _options: &RunOptions, _observer: &dyn Observer) -> Result<Report> {
    unimplemented!("runner")
}
