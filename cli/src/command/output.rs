//! `gleamflow output`: the rows that a flow wrote to standard output.

use clap::Args;
use crds::status::{EXPIRED, GleamFlowStatus, Output as FlowOutput};
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;

use crate::cluster::{self, Cluster, Target};
use crate::failure::Failure;
use crate::{operator, output};

/// Print the rows that a flow wrote to standard output
///
/// They come from the Secret that holds them. What is too large for one comes from the agents, and to who may not read Secrets all of
/// it comes, by way of the operator: for that you need the right to get gleamflows/output, and those of the Role gleamflow-output in
/// the operator's namespace.
#[derive(Debug, Args)]
pub(crate) struct Output {
    /// The flow
    name: String,
    /// The write step; default: the only one
    #[arg(long)]
    step: Option<String>,
    /// Where the operator is, for rows that agents hold; default: `gleamflow`, or where the chart was installed for the whole cluster
    #[arg(long, value_name = "NAMESPACE")]
    operator_namespace: Option<String>,
    #[command(flatten)]
    target: Target,
}

impl Output {
    pub(crate) fn execute(self) -> Result<(), Failure> {
        let Output { name, step, operator_namespace, target } = self;
        target.run(async |cluster: Cluster| {
            let status = cluster::status(&cluster.flow(&name).await?);
            let found = pick(&name, &status, step.as_deref())?;
            match found.location.strip_prefix("Secret/") {
                Some(secret) => match from_secret(&cluster, secret, &found.step).await? {
                    Some(rows) => output::print(rows),
                    // Who may not read Secrets may still be given what is in this one.
                    None => operator::output(&cluster, operator_namespace.as_deref(), &name, &found.step).await.map_err(
                        |failure| failure.context(format!("you may not read Secret {secret:?}, so the operator is asked for it")),
                    ),
                },
                None if found.location == "NodeLocal" => {
                    operator::output(&cluster, operator_namespace.as_deref(), &name, &found.step).await
                }
                None if found.location == EXPIRED => Err(Failure::System(anyhow::anyhow!(
                    "the rows of step {:?} were kept for retention.outputSeconds and are gone; `gleamflow rerun {name}` makes them again",
                    found.step
                ))),
                None => output::print(format!("the rows of step {:?} are in {}\n", found.step, found.location)),
            }
        })
    }
}

/// The output that was asked for; a run that is not over has none.
fn pick<'s>(name: &str, status: &'s GleamFlowStatus, step: Option<&str>) -> Result<&'s FlowOutput, Failure> {
    let problem = |text: String| Err(Failure::Request(anyhow::anyhow!(text)));
    if status.outputs.is_empty() {
        let phase = cluster::phase(status);
        return problem(format!("flow {name:?} has no output (its phase is {phase}); `gleamflow status {name}` shows more"));
    }
    let fits = |output: &&FlowOutput| {
        let printed = || output.location.starts_with("Secret/") || matches!(output.location.as_str(), "NodeLocal" | EXPIRED);
        step.map_or_else(printed, |step| output.step == step)
    };
    let found: Vec<&FlowOutput> = status.outputs.iter().filter(fits).collect();
    let steps = || status.outputs.iter().map(|output| output.step.as_str()).collect::<Vec<_>>().join(", ");
    match (found.as_slice(), step) {
        ([one], _) => Ok(one),
        ([], Some(step)) => problem(format!("flow {name:?} has no output of step {step:?}; it has those of {}", steps())),
        ([], None) => problem(format!("flow {name:?} wrote nothing to standard output; its sinks are {}", steps())),
        _ => problem(format!("flow {name:?} has several outputs: choose one by --step: {}", steps())),
    }
}

/// `None`: the caller may not read it.
async fn from_secret(cluster: &Cluster, secret: &str, step: &str) -> Result<Option<Vec<u8>>, Failure> {
    let secrets: Api<Secret> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let found = cluster.ask_if_allowed(&format!("read Secret {secret:?}"), async || secrets.get(secret).await).await?;
    let Some(found) = found else { return Ok(None) };
    let rows = found.data.and_then(|mut data| data.remove(step));
    rows.map(|rows| Some(rows.0))
        .ok_or_else(|| Failure::System(anyhow::anyhow!("Secret {secret:?} has no rows of step {step:?}")))
}
