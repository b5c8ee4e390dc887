//! What an agent is told by its pod's environment.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use proto::transport::STREAM_WINDOW;

use super::budget::Budget;

/// What the process needs beside what it holds.
const OWN_MEMORY: u64 = 16 << 20;
/// With less there is no point in an agent.
const LEAST_MEMORY: u64 = 48 << 20;

/// How an agent runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The operator's Service, `host:port`.
    pub operator: String,
    pub node: String,
    /// Where executors reach this pod.
    pub address: IpAddr,
    pub port: u16,
    pub health_port: u16,
    /// All memory that the process may use, in bytes.
    pub memory: u64,
    /// Size of the spill volume, in bytes.
    pub disk: u64,
    pub spill: PathBuf,
    /// The projected service-account token.
    pub token_file: PathBuf,
    /// The operator's authority, PEM.
    pub authority_file: PathBuf,
}

/// Everything that is wrong with the environment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct BadOptions {
    pub problems: Vec<String>,
}

impl fmt::Display for BadOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the agent's environment is not as it should be: {}", self.problems.join("; "))
    }
}

impl Options {
    /// From environment variables.
    ///
    /// # Errors
    /// All problems at once.
    pub fn new(variable: impl Fn(&str) -> Option<String>) -> Result<Options, BadOptions> {
        let mut problems = Vec::new();
        let mut wanted = |name: &str| {
            let value = variable(name).filter(|value| !value.is_empty());
            if value.is_none() {
                problems.push(format!("{name} is not set"));
            }
            value.unwrap_or_default()
        };
        let (operator, node, address) = (wanted("GLEAMFLOW_OPERATOR"), wanted("NODE_NAME"), wanted("POD_IP"));
        let (memory, disk) = (wanted("GLEAMFLOW_AGENT_MEMORY"), wanted("GLEAMFLOW_AGENT_DISK"));
        let mut bytes = |name: &str, value: &str| {
            value.parse::<u64>().unwrap_or_else(|_| {
                note(&mut problems, value, || format!("{name} is {value:?}, not a number of bytes"));
                0
            })
        };
        let (memory, disk) = (bytes("GLEAMFLOW_AGENT_MEMORY", &memory), bytes("GLEAMFLOW_AGENT_DISK", &disk));
        if memory > 0 && memory < LEAST_MEMORY {
            problems.push(format!("GLEAMFLOW_AGENT_MEMORY is {memory}, less than {LEAST_MEMORY}"));
        }
        let address = address.parse().unwrap_or_else(|_| {
            note(&mut problems, &address, || format!("POD_IP is {address:?}, not an address"));
            IpAddr::from([0, 0, 0, 0])
        });
        if !problems.is_empty() {
            return Err(BadOptions { problems });
        }
        Ok(Options {
            operator,
            node,
            address,
            port: 7401,
            health_port: 8080,
            memory,
            disk,
            spill: "/spill".into(),
            token_file: "/var/run/secrets/gleamflow/token".into(),
            authority_file: "/var/run/gleamflow-ca/ca.crt".into(),
        })
    }

    /// What may be held: of the memory five eighths (the rest is for what is on its way in and out), of the disk 80 %.
    #[must_use]
    pub fn budget(&self) -> Budget {
        let memory = self.usable_memory();
        let writers = (memory / 4 / u64::from(STREAM_WINDOW)).clamp(8, 1024) as usize;
        Budget::new(memory / 8 * 5, self.disk / 10 * 8, writers)
    }

    /// For messages on their way to readers.
    #[must_use]
    pub fn outgoing_memory(&self) -> usize {
        (self.usable_memory() / 16) as usize
    }

    fn usable_memory(&self) -> u64 {
        self.memory.saturating_sub(OWN_MEMORY)
    }
}

/// An empty value was noted before.
fn note(problems: &mut Vec<String>, value: &str, problem: impl FnOnce() -> String) {
    if !value.is_empty() {
        problems.push(problem());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(set: &[(&str, &str)]) -> Result<Options, BadOptions> {
        Options::new(|name| set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let problems = options(&[("POD_IP", "here"), ("GLEAMFLOW_AGENT_MEMORY", "1Gi"), ("NODE_NAME", "")]).unwrap_err().problems;
        assert_eq!(
            problems,
            [
                "GLEAMFLOW_OPERATOR is not set",
                "NODE_NAME is not set",
                "GLEAMFLOW_AGENT_DISK is not set",
                "GLEAMFLOW_AGENT_MEMORY is \"1Gi\", not a number of bytes",
                "POD_IP is \"here\", not an address",
            ]
        );
    }

    #[test]
    fn limits_leave_room_for_what_is_on_its_way() {
        let set = [
            ("GLEAMFLOW_OPERATOR", "10.0.0.1:7400"),
            ("NODE_NAME", "n"),
            ("POD_IP", "10.0.0.2"),
            ("GLEAMFLOW_AGENT_MEMORY", "536870912"),
            ("GLEAMFLOW_AGENT_DISK", "1000"),
        ];
        let budget = options(&set).unwrap().budget();
        assert_eq!((budget.memory_limit >> 20, budget.disk_limit), (310, 800));
        let small = set.map(|(name, value)| (name, if name == "GLEAMFLOW_AGENT_MEMORY" { "1000000" } else { value }));
        assert!(options(&small).unwrap_err().to_string().contains("less than"));
    }
}
