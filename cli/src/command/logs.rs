//! `gleamflow logs`: what the executors of a flow said.

use clap::Args;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams, LogParams};
use serde_json::Value;

use crate::cluster::{Cluster, Target};
use crate::failure::Failure;
use crate::output;

/// Print the logs of a flow's executors
#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// The flow
    name: String,
    /// Only lines of this step
    #[arg(long)]
    step: Option<String>,
    /// Only of executors that failed, and only warnings and errors
    #[arg(long)]
    failed: bool,
    #[command(flatten)]
    target: Target,
}

impl Logs {
    pub(crate) fn execute(self) -> Result<(), Failure> {
        self.target.run(async |cluster: Cluster| {
            cluster.flow(&self.name).await?;
            let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
            let selector = ListParams::default().labels(&format!("gleamflow.io/flow={}", self.name));
            let found = pods.list(&selector).await.map_err(|error| cluster.told(error, "list executors"))?;
            if found.items.is_empty() {
                output::tell(&format!("flow {:?} has no executors now; retention.podsSeconds keeps them longer\n", self.name));
            }
            for pod in found.items {
                let name = pod.metadata.name.unwrap_or_default();
                match pods.logs(&name, &LogParams { container: Some("executor".to_owned()), ..LogParams::default() }).await {
                    Ok(text) => output::print(self.chosen(&name, &text))?,
                    Err(error) => output::tell(&format!("{name}: its log cannot be read: {error}\n")),
                }
            }
            Ok(())
        })
    }

    /// The lines that were asked for, each with its pod.
    fn chosen(&self, pod: &str, text: &str) -> String {
        text.lines().filter(|line| self.wants(line)).map(|line| format!("{pod}  {line}\n")).collect()
    }

    /// Lines of executors are JSON; what is none (a crash, a pipe's own words) belongs to no step.
    fn wants(&self, line: &str) -> bool {
        let parsed: Option<Value> = serde_json::from_str(line).ok();
        let of_step = |step: &str| {
            parsed
                .as_ref()
                .is_some_and(|line| line.pointer("/fields/step").or(line.get("step")).is_some_and(|found| found == step))
        };
        let bad = || parsed.as_ref().is_none_or(|line| matches!(line["level"].as_str(), Some("WARN" | "ERROR")));
        self.step.as_deref().is_none_or(of_step) && (!self.failed || bad())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        logs: Logs,
    }

    #[test]
    fn lines_are_chosen_by_step_and_by_level() {
        let text = "{\"level\":\"INFO\",\"fields\":{\"message\":\"begun\",\"step\":\"words\"}}\n{\"level\":\"ERROR\",\"step\":\"sums\"}\nkilled\n";
        let chosen =
            |arguments: &[&str]| Only::parse_from([&["logs", "flow"], arguments].concat()).logs.chosen("p", text).lines().count();
        assert_eq!([chosen(&[]), chosen(&["--step", "words"]), chosen(&["--step", "sums"]), chosen(&["--failed"])], [3, 1, 1, 2]);
    }
}
