//! How much of the machine each node offers, so that nodes differ as they do in the world.

use std::fs;

use anyhow::{Context, Result};

/// What a node keeps from pods, in the kubelet's words.
#[derive(Debug)]
pub(crate) struct Reserved {
    pub(crate) cpu: String,
    pub(crate) memory: String,
}

/// Of the machine's processors, quarters, and of its memory, eighths, that a node offers. Processors add up to more than there are, as
/// two cores are too few to share; memory does not.
const SHARES: [(u64, u64); super::NODES as usize] = [(3, 3), (2, 2), (1, 1)];

/// What the node of that number, counted from 1, keeps.
pub(crate) fn reserved(number: u8) -> Result<Reserved> {
    let (quarters, eighths) = SHARES[usize::from(number) - 1];
    let cpu = processors()? * 1000 * (4 - quarters) / 4;
    let memory = memory_kib()? * (8 - eighths) / 8;
    Ok(Reserved { cpu: format!("{cpu}m"), memory: format!("{memory}Ki") })
}

/// Counted as the kubelet counts them.
fn processors() -> Result<u64> {
    let text = fs::read_to_string("/proc/cpuinfo").context("failed to read /proc/cpuinfo")?;
    let count = text.lines().filter(|line| line.starts_with("processor")).count();
    u64::try_from(count).context("too many processors")
}

fn memory_kib() -> Result<u64> {
    let text = fs::read_to_string("/proc/meminfo").context("failed to read /proc/meminfo")?;
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB"));
    total.context("/proc/meminfo has no MemTotal")?.parse().context("MemTotal is no number")
}
