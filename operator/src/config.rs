//! What the operator is told: flags and environment, and the file `/etc/gleamflow/config.yaml` that the chart makes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use clap::Parser;
use crds::Quantity;
use crds::cluster::Resources;
use serde::Deserialize;
use serde_json::Value;

use crate::authority::Lives;

/// The gleamflow operator: runs GleamFlow objects.
#[derive(Clone, Debug, Parser)]
#[command(name = "gleamflow-operator", version)]
pub struct Arguments {
    /// The configuration file.
    #[arg(long, default_value = "/etc/gleamflow/config.yaml")]
    pub config: PathBuf,
    /// This pod's name.
    #[arg(long)]
    pub pod_name: String,
    /// This pod's namespace.
    #[arg(long)]
    pub namespace: String,
    /// This pod's address.
    #[arg(long)]
    pub pod_ip: IpAddr,
    /// What is logged, such as `info` or `operator=debug,kube=info`.
    #[arg(long, default_value = "info")]
    pub log: String,
    /// Flows that are looked at at the same time.
    #[arg(long, default_value_t = 16)]
    pub concurrency: usize,
    /// Port of the gRPC server.
    #[arg(long, default_value_t = crate::manifest::OPERATOR_PORT)]
    pub port: u16,
    /// Port of health and metrics.
    #[arg(long, default_value_t = crate::manifest::METRICS_PORT)]
    pub metrics_port: u16,
    /// Where executors and agents find the operator, `host:port`. Default: the address of the Service gleamflow-operator.
    #[arg(long)]
    pub address: Option<String>,
}

/// Variables of the environment that stand for flags which are not given.
const ENVIRONMENT: [(&str, &str); 9] = [
    ("GLEAMFLOW_CONFIG", "--config"),
    ("POD_NAME", "--pod-name"),
    ("POD_NAMESPACE", "--namespace"),
    ("POD_IP", "--pod-ip"),
    ("GLEAMFLOW_LOG", "--log"),
    ("GLEAMFLOW_CONCURRENCY", "--concurrency"),
    ("GLEAMFLOW_PORT", "--port"),
    ("GLEAMFLOW_METRICS_PORT", "--metrics-port"),
    ("GLEAMFLOW_ADDRESS", "--address"),
];

impl Arguments {
    /// From a command line, and the environment for what it leaves out; ends the process where they are wrong.
    #[must_use]
    pub fn read(line: impl IntoIterator<Item = String>, environment: impl Fn(&str) -> Option<String>) -> Arguments {
        let mut line: Vec<String> = line.into_iter().collect();
        for (variable, flag) in ENVIRONMENT {
            let given = line.iter().any(|word| word == flag || word.starts_with(&format!("{flag}=")));
            if let Some(value) = environment(variable).filter(|value| !given && !value.is_empty()) {
                line.push(format!("{flag}={value}"));
            }
        }
        Arguments::parse_from(line)
    }
}

/// The configuration file.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// Whether all namespaces are served, and nodes are read.
    #[serde(default = "yes")]
    pub cluster_scoped: bool,
    /// The namespaces served where that is false; default: the operator's own.
    #[serde(default)]
    pub namespaces: Vec<String>,
    #[serde(default)]
    pub certificates: Certificates,
    pub executor: Image,
    pub agent: Agent,
}

/// How long certificates and tokens are good, and the authority that signs them, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Certificates {
    /// Renewed at two thirds.
    pub life_seconds: u64,
    /// Replaced from two thirds on, which takes two lives of a certificate.
    pub authority_life_seconds: u64,
}

impl Default for Certificates {
    fn default() -> Certificates {
        Certificates { life_seconds: 86_400, authority_life_seconds: 10 * 365 * 86_400 }
    }
}

impl Certificates {
    /// The least that the kubelet needs to bring what is new to executors in time, and how much longer the authority must be good.
    const LEAST: u64 = 60;
    const TIMES: u64 = 12;

    fn check(self) -> Result<(), (&'static str, String)> {
        if self.life_seconds < Certificates::LEAST {
            return Err(("certificates.lifeSeconds", format!("{} is less than {}", self.life_seconds, Certificates::LEAST)));
        }
        if self.authority_life_seconds / Certificates::TIMES < self.life_seconds {
            let why = format!("{} is less than {} times lifeSeconds", self.authority_life_seconds, Certificates::TIMES);
            return Err(("certificates.authorityLifeSeconds", why));
        }
        Ok(())
    }

    /// As the authority takes them.
    #[must_use]
    pub fn lives(self) -> Lives {
        Lives { certificate: self.life_seconds, authority: self.authority_life_seconds }
    }
}

/// An image and how it is had.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Image {
    pub image: String,
    #[serde(rename = "imagePullPolicy", default = "if_not_present")]
    pub pull_policy: String,
    #[serde(rename = "imagePullSecrets", default, deserialize_with = "secret_names")]
    pub pull_secrets: Vec<String>,
}

/// The agents.
#[derive(Clone, Debug, PartialEq)]
pub struct Agent {
    pub image: Image,
    pub memory: Quantity,
    pub disk: Quantity,
    pub resources: Resources,
    pub node_selector: BTreeMap<String, String>,
    pub tolerations: Vec<Value>,
    pub priority_class_name: Option<String>,
}

impl<'de> Deserialize<'de> for Agent {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Agent, D::Error> {
        let flat = FlatAgent::deserialize(deserializer)?;
        let FlatAgent { image, image_pull_policy, image_pull_secrets, memory, disk, .. } = flat;
        Ok(Agent {
            image: Image { image, pull_policy: image_pull_policy, pull_secrets: image_pull_secrets },
            memory,
            disk,
            resources: flat.resources,
            node_selector: flat.node_selector,
            tolerations: flat.tolerations,
            priority_class_name: flat.priority_class_name.filter(|name| !name.is_empty()),
        })
    }
}

/// serde cannot refuse unknown fields of flattened structs.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct FlatAgent {
    image: String,
    #[serde(default = "if_not_present")]
    image_pull_policy: String,
    #[serde(default, deserialize_with = "secret_names")]
    image_pull_secrets: Vec<String>,
    memory: Quantity,
    disk: Quantity,
    #[serde(default)]
    resources: Resources,
    #[serde(default)]
    node_selector: BTreeMap<String, String>,
    #[serde(default)]
    tolerations: Vec<Value>,
    #[serde(default)]
    priority_class_name: Option<String>,
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadConfig {
    #[error("could not read {path:?}")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{0}")]
    Syntax(String),
    #[error("{path:?} is not understood: {message}")]
    Fields { path: PathBuf, message: String },
    #[error("{path:?}: {field}: {message}")]
    Value { path: PathBuf, field: &'static str, message: String },
}

impl Config {
    /// Reads the file.
    ///
    /// # Errors
    /// If it cannot be read or says something that we do not know.
    pub fn read(path: &Path) -> Result<Config, BadConfig> {
        let text = std::fs::read_to_string(path).map_err(|source| BadConfig::Read { path: path.to_owned(), source })?;
        Config::parse(&text, path)
    }

    fn parse(text: &str, path: &Path) -> Result<Config, BadConfig> {
        let value = crds::document::read_yaml(text, &path.display().to_string()).map_err(|problems| {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            BadConfig::Syntax(lines.join("\n"))
        })?;
        let fields = |error: serde_json::Error| BadConfig::Fields { path: path.to_owned(), message: error.to_string() };
        let config: Config = serde_json::from_value(value).map_err(fields)?;
        for (field, amount) in [("agent.memory", &config.agent.memory), ("agent.disk", &config.agent.disk)] {
            amount.bytes().map_err(|error| BadConfig::Value { path: path.to_owned(), field, message: error.to_string() })?;
        }
        config.certificates.check().map_err(|(field, message)| BadConfig::Value { path: path.to_owned(), field, message })?;
        Ok(config)
    }

    /// The namespaces whose flows are served; empty: all.
    #[must_use]
    pub fn served(&self, own: &str) -> Vec<String> {
        match (self.cluster_scoped, self.namespaces.is_empty()) {
            (true, true) => Vec::new(),
            (_, false) => self.namespaces.clone(),
            (false, true) => vec![own.to_owned()],
        }
    }
}

/// As names, or as Kubernetes writes them: `[{name: a}]`.
fn secret_names<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Name {
        Plain(String),
        Object { name: String },
    }
    let names = Vec::<Name>::deserialize(deserializer)?;
    Ok(names
        .into_iter()
        .map(|name| match name {
            Name::Plain(name) | Name::Object { name } => name,
        })
        .collect())
}

fn yes() -> bool {
    true
}

fn if_not_present() -> String {
    "IfNotPresent".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "clusterScoped: false\nnamespaces: [a, b]\nexecutor:\n  image: x:1\n  imagePullSecrets:\n  - name: s\nagent:\n  image: x:1\n  memory: 64Mi\n  disk: 1Gi\n  resources:\n    requests: {cpu: 10m, memory: 32Mi}\n  tolerations:\n  - operator: Exists\n";

    #[test]
    fn the_charts_file_is_read_and_nothing_else_is_let_through() {
        let parse = |text: &str| Config::parse(text, Path::new("config.yaml"));
        let config = parse(GOOD).unwrap();
        assert_eq!(config.served("own"), ["a", "b"]);
        assert_eq!(config.executor.pull_secrets, ["s"]);
        assert_eq!(config.agent.disk.bytes(), Ok(1 << 30));
        assert_eq!(config.agent.tolerations, [serde_json::json!({"operator": "Exists"})]);
        assert!(parse(&format!("{GOOD}surprise: 1\n")).unwrap_err().to_string().contains("surprise"));
        assert!(parse(&GOOD.replace("64Mi", "lots")).unwrap_err().to_string().contains("agent.memory"));
        assert!(parse("executor: [").is_err());
        assert_eq!(config.certificates.lives().certificate, 86_400);
        let lives = |text: &str| parse(&format!("{GOOD}certificates: {text}\n"));
        assert_eq!(lives("{lifeSeconds: 60, authorityLifeSeconds: 720}").unwrap().certificates.lives().authority, 720);
        assert!(lives("{lifeSeconds: 59}").unwrap_err().to_string().contains("certificates.lifeSeconds"));
        assert!(lives("{authorityLifeSeconds: 86400}").unwrap_err().to_string().contains("12 times"));
    }
}
