//! The programs on the nodes: the agent, which holds shuffle partitions, and the executor, whose slots run tasks.

pub mod agent;
pub mod executor;
pub mod leader;
pub mod log;
pub mod passport;
pub mod slot;
mod unix;
pub mod wire;

#[cfg(test)]
mod rig;
