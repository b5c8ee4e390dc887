//! `gleamflow output`: the rows that a flow wrote to standard output.

use clap::Args;
use crds::status::{GleamFlowStatus, Output as FlowOutput};
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;

use crate::cluster::{self, Cluster, Target};
use crate::failure::Failure;
use crate::{operator, output};

/// Print the rows that a flow wrote to standard output
///
/// They come from the Secret that holds them; what is too large for one comes from the agents, by way of the operator, for which
/// you need the right to get gleamflows/output, and those of the Role gleamflow-output in the operator's namespace.
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
                Some(secret) => output::print(from_secret(&cluster, secret, &found.step).await?),
                None if found.location == "NodeLocal" => {
                    operator::output(&cluster, operator_namespace.as_deref(), &name, &found.step).await
                }
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
        step.map_or(output.location.starts_with("Secret/") || output.location == "NodeLocal", |step| output.step == step)
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

async fn from_secret(cluster: &Cluster, secret: &str, step: &str) -> Result<Vec<u8>, Failure> {
    let secrets: Api<Secret> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let found = cluster.ask(&format!("read Secret {secret:?}"), async || secrets.get(secret).await).await?;
    let rows = found.data.and_then(|mut data| data.remove(step));
    rows.map(|rows| rows.0).ok_or_else(|| Failure::System(anyhow::anyhow!("Secret {secret:?} has no rows of step {step:?}")))
}
