//! `gleamflow logs`: what the executors of a flow said.

use std::time::Duration;

use clap::Args;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams, LogParams};
use serde_json::Value;

use crate::cluster::patience::{patiently, words};
use crate::cluster::{Cluster, Target};
use crate::failure::Failure;
use crate::output;

/// How long a log is asked for: its node may be gone.
const PATIENCE: Duration = Duration::from_secs(10);

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
            let flow = cluster.flow(&self.name).await?;
            let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
            let selector = ListParams::default().labels(&crds::label::selector(&self.name));
            let found = cluster.ask("list executors", async || pods.list(&selector).await).await?;
            if found.items.is_empty() {
                let has_run = flow.status.is_some_and(|status| status.current_run.is_some());
                let why =
                    if has_run { "has no executors now; retention.podsSeconds keeps them longer" } else { "has not run yet" };
                output::tell(&format!("flow {:?} {why}\n", self.name));
            }
            let mut is_read = true;
            for pod in found.items {
                is_read &= self.show(&pods, &pod.metadata.name.unwrap_or_default()).await?;
            }
            if is_read { Ok(()) } else { Err(Failure::Told(1)) }
        })
    }

    /// Prints the log of a pod, or says why there is none; whether what there is was read.
    async fn show(&self, pods: &Api<Pod>, name: &str) -> Result<bool, Failure> {
        let container = LogParams { container: Some("executor".to_owned()), ..LogParams::default() };
        let attempt = format!("read the log of pod {name:?}");
        match patiently(PATIENCE, &attempt, async || pods.logs(name, &container).await).await {
            Ok(text) if text.is_empty() => output::tell(&format!("{name}: it has said nothing\n")),
            Ok(text) => output::print(self.chosen(name, &text))?,
            // It waits for its node, its image, its volume: `gleamflow why` says for which.
            Err(kube::Error::Api(status)) if status.code == 400 => {
                output::tell(&format!("{name}: it has said nothing yet: {}\n", status.message));
            }
            Err(kube::Error::Api(status)) if status.code == 404 => output::tell(&format!("{name}: it was deleted just now\n")),
            Err(error) => {
                output::tell(&format!("{name}: its log cannot be read: {}\n", words(&error)));
                return Ok(false);
            }
        }
        Ok(true)
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
