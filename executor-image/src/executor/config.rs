//! What an executor is told at its start: flags with the places that the operator mounts, and the environment.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use proto::RunId;

use crate::slot::protocol::StoreAccess;

/// Where things are. The defaults are what the operator's pods have.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// The directory with the run's `token`, `ca.crt`, `tls.crt` and `tls.key`
    #[arg(long, value_name = "DIRECTORY", default_value = "/var/run/gleamflow")]
    pub credentials: PathBuf,
    /// Where relative paths of the flow resolve
    #[arg(long, value_name = "DIRECTORY", default_value = "/data")]
    pub data: PathBuf,
    /// For spill files
    #[arg(long, value_name = "DIRECTORY", default_value = "/scratch")]
    pub scratch: PathBuf,
    /// Where health and metrics are served
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8080")]
    pub listen: String,
    /// The program that slots run [default: this one]
    #[arg(long, value_name = "PROGRAM", hide = true)]
    pub slot_program: Option<PathBuf>,
}

impl Options {
    /// Where commands start and relative paths resolve: a flow without a volume has no such paths, but its commands start somewhere too.
    pub(crate) fn base(&self) -> PathBuf {
        if self.data.is_dir() { self.data.clone() } else { self.scratch.clone() }
    }
}

/// The environment, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub operator: String,
    pub run: RunId,
    pub pod: String,
    pub node: String,
    pub slots: u32,
    /// Bytes that the processes of one slot may hold.
    pub slot_memory: u64,
    /// `terminationGracePeriodSeconds` of the pod.
    pub grace: Duration,
    pub stores: Vec<StoreAccess>,
}

/// Kubernetes' own.
const DEFAULT_GRACE: u64 = 30;
/// Less would not even hold a batch and a Lua state.
const LEAST_SLOT_MEMORY: u64 = 16 << 20;

impl Config {
    /// Reads it from variables.
    ///
    /// # Errors
    /// All that is wrong, a line each.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Config, String> {
        let mut reader = Reader { variable, problems: Vec::new() };
        let config = Config {
            operator: reader.text("GLEAMFLOW_OPERATOR"),
            run: reader.parsed("GLEAMFLOW_RUN", None, RunId::try_from("none".to_owned()).ok(), |text| {
                RunId::try_from(text).map_err(|error| error.to_string())
            }),
            pod: reader.text("POD_NAME"),
            node: reader.text("NODE_NAME"),
            slots: reader.number("GLEAMFLOW_SLOTS", Some(1), 1..=1024) as u32,
            slot_memory: reader.number("GLEAMFLOW_SLOT_MEMORY", None, LEAST_SLOT_MEMORY..=u64::MAX),
            grace: Duration::from_secs(reader.number("GLEAMFLOW_GRACE_SECONDS", Some(DEFAULT_GRACE), 0..=86_400)),
            stores: reader.parsed("GLEAMFLOW_STORES", Some("[]"), Some(Vec::new()), |text| {
                serde_json::from_str(&text).map_err(|error| format!("no list of stores: {error}"))
            }),
        };
        if reader.problems.is_empty() { Ok(config) } else { Err(reader.problems.join("\n")) }
    }
}

struct Reader<F> {
    variable: F,
    problems: Vec<String>,
}

impl<F: Fn(&str) -> Option<String>> Reader<F> {
    fn text(&mut self, name: &str) -> String {
        self.parsed(name, None, Some(String::new()), Ok)
    }

    fn number(&mut self, name: &str, default: Option<u64>, range: std::ops::RangeInclusive<u64>) -> u64 {
        let default = default.map(|number| number.to_string());
        self.parsed(name, default.as_deref(), Some(*range.start()), |text| match text.parse() {
            Ok(number) if range.contains(&number) => Ok(number),
            Ok(_) | Err(_) => Err(format!("{text:?} is no number from {} to {}", range.start(), range.end())),
        })
    }

    /// The value; a problem is noted, and `instead` stands for it until all are told.
    fn parsed<T>(
        &mut self,
        name: &str,
        default: Option<&str>,
        instead: Option<T>,
        parse: impl FnOnce(String) -> Result<T, String>,
    ) -> T {
        let given = (self.variable)(name).filter(|text| !text.is_empty()).or_else(|| default.map(str::to_owned));
        let parsed = given.ok_or_else(|| "not set; the operator sets it in the pods that it makes".to_owned()).and_then(parse);
        parsed.unwrap_or_else(|problem| {
            self.problems.push(format!("{name}: {problem}"));
            instead.expect("a stand-in is valid")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(changes: &[(&str, &str)]) -> Result<Config, String> {
        let usual = [
            ("GLEAMFLOW_OPERATOR", "10.0.0.1:7400"),
            ("GLEAMFLOW_RUN", "abc-1"),
            ("POD_NAME", "flow-1-0"),
            ("NODE_NAME", "n1"),
            ("GLEAMFLOW_SLOT_MEMORY", "67108864"),
        ];
        Config::read(|name| {
            let changed = changes.iter().find(|(changed, _)| *changed == name);
            changed.or_else(|| usual.iter().find(|(usual, _)| *usual == name)).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn without_a_volume_commands_start_in_the_scratch_directory() {
        let folder = tempfile::tempdir().unwrap();
        let options = |data: &str| Options {
            credentials: PathBuf::new(),
            data: folder.path().join(data),
            scratch: folder.path().join("scratch"),
            listen: String::new(),
            slot_program: None,
        };
        assert_eq!(options("missing").base(), folder.path().join("scratch"));
        assert_eq!(options("").base(), folder.path().join(""));
    }

    #[test]
    fn what_is_not_set_has_its_default() {
        let config = read(&[]).unwrap();
        assert_eq!((config.slots, config.grace, config.stores.len()), (1, Duration::from_secs(30), 0));
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let problems =
            read(&[("GLEAMFLOW_RUN", "NO"), ("GLEAMFLOW_SLOTS", "0"), ("POD_NAME", ""), ("GLEAMFLOW_STORES", "{}")]).unwrap_err();
        for problem in [
            "GLEAMFLOW_RUN: \"NO\" is no run id",
            "GLEAMFLOW_SLOTS: \"0\" is no number from 1",
            "POD_NAME: not set",
            "GLEAMFLOW_STORES: no list",
        ] {
            assert!(problems.contains(problem), "{problem} in {problems}");
        }
    }

    #[test]
    fn stores_are_read_with_what_they_leave_out() {
        let config = read(&[(
            "GLEAMFLOW_STORES",
            r#"[{"prefix":"s3://a","endpoint":null,"region":"x","secretDir":"/s"},{"prefix":"gs://b"}]"#,
        )])
        .unwrap();
        assert_eq!(config.stores[0].secret_dir, Some("/s".into()));
        assert_eq!(config.stores[1], StoreAccess { prefix: "gs://b".to_owned(), endpoint: None, region: None, secret_dir: None });
        assert!(read(&[("GLEAMFLOW_STORES", r#"[{"prefix":"s3://a","secret":"x"}]"#)]).unwrap_err().contains("secret"));
    }
}
