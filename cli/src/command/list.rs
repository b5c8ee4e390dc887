//! `gleamflow list`: the flows of a namespace, or of all.

use clap::Args;
use crds::GleamFlow;
use jiff::Timestamp;
use kube::api::{Api, ListParams};

use crate::cluster::{self, Cluster, Target};
use crate::failure::Failure;
use crate::output;
use crate::table::{age, aligned};

/// List the flows on the cluster
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Those of all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    #[command(flatten)]
    target: Target,
}

impl List {
    pub(crate) fn execute(self) -> Result<(), Failure> {
        let all = self.all_namespaces;
        self.target.run(async |cluster: Cluster| {
            let flows: Api<GleamFlow> = if all { Api::all(cluster.client.clone()) } else { cluster.flows() };
            let found = cluster.ask("list flows", async || flows.list(&ListParams::default()).await).await?;
            if found.items.is_empty() {
                let place = if all { "the cluster".to_owned() } else { format!("namespace {:?}", cluster.namespace) };
                output::tell(&format!("there are no flows in {place}\n"));
                return Ok(());
            }
            output::print(listed(&found.items, all, Timestamp::now()))
        })
    }
}

fn listed(flows: &[GleamFlow], namespaces: bool, now: Timestamp) -> String {
    let heading = ["NAMESPACE", "NAME", "PHASE", "PROGRESS", "EXECUTORS", "REASON", "AGE"];
    let first = usize::from(!namespaces);
    let mut rows = vec![heading[first..].iter().map(|cell| (*cell).to_owned()).collect()];
    for flow in flows {
        let status = cluster::status(flow);
        let created = flow.metadata.creation_timestamp.as_ref();
        let cells = [
            flow.metadata.namespace.clone().unwrap_or_default(),
            flow.metadata.name.clone().unwrap_or_default(),
            cluster::phase(&status),
            status.progress.unwrap_or_default(),
            status.executors.map(|executors| executors.summary).unwrap_or_default(),
            status.reason.unwrap_or_default(),
            created.map(|created| age(now.as_second() - created.0.as_second())).unwrap_or_default(),
        ];
        rows.push(cells[first..].to_vec());
    }
    aligned(&rows)
}
