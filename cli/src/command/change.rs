//! `gleamflow rerun`, `suspend`, `resume`, `cancel`: each one small change of the object.

use clap::Args;
use jiff::Timestamp;
use serde_json::json;

use crate::cluster::{self, Cluster, Target};
use crate::failure::Failure;
use crate::output;

/// Which flow.
#[derive(Debug, Args)]
struct Flow {
    /// The flow
    name: String,
    #[command(flatten)]
    target: Target,
}

/// Run a flow once more, unchanged
#[derive(Debug, Args)]
pub(crate) struct Rerun {
    #[command(flatten)]
    flow: Flow,
}

/// Stop a flow until it is resumed: all its pods go
#[derive(Debug, Args)]
pub(crate) struct Suspend {
    #[command(flatten)]
    flow: Flow,
}

/// Go on with a suspended flow
#[derive(Debug, Args)]
pub(crate) struct Resume {
    #[command(flatten)]
    flow: Flow,
}

/// Cancel the run that is going on
#[derive(Debug, Args)]
pub(crate) struct Cancel {
    #[command(flatten)]
    flow: Flow,
}

impl Rerun {
    pub(crate) fn execute(self) -> Result<(), Failure> {
        let nonce = Timestamp::now().to_string();
        self.flow.patch(json!({"spec": {"rerunNonce": nonce}}), "will run again")
    }
}

impl Suspend {
    pub(crate) fn execute(self) -> Result<(), Failure> {
        self.flow.patch(json!({"spec": {"suspend": true}}), "will stop")
    }
}

impl Resume {
    pub(crate) fn execute(self) -> Result<(), Failure> {
        self.flow.patch(json!({"spec": {"suspend": false}}), "will go on")
    }
}

impl Cancel {
    pub(crate) fn execute(self) -> Result<(), Failure> {
        let Flow { name, target } = self.flow;
        target.run(async |cluster: Cluster| {
            let status = cluster::status(&cluster.flow(&name).await?);
            let run = status.current_run.filter(|run| run.completion_time.is_none());
            let Some(run) = run else {
                return Err(Failure::Request(anyhow::anyhow!("flow {name:?} has no run that is going on")));
            };
            cluster.patch(&name, json!({"metadata": {"annotations": {"gleamflow.io/cancel": run.id}}})).await?;
            output::print(format!("flow {name:?}: run {} will be cancelled\n", run.id))
        })
    }
}

impl Flow {
    fn patch(self, patch: serde_json::Value, what: &str) -> Result<(), Failure> {
        let Flow { name, target } = self;
        target.run(async |cluster: Cluster| {
            cluster.patch(&name, patch).await?;
            output::print(format!("flow {name:?} {what}\n"))
        })
    }
}
