//! The cluster: the kubeconfig's, by its usual rules. What the commands for it have in common.

pub(crate) mod bearer;
pub(crate) mod follow;
pub(crate) mod patience;

use clap::Args;
use crds::GleamFlow;
use crds::status::GleamFlowStatus;
use kube::api::{Api, Patch, PatchParams};
use kube::config::KubeConfigOptions;
use kube::{Client, Config};

use crate::failure::Failure;

/// Which cluster, and where in it.
#[derive(Clone, Debug, Args)]
pub(crate) struct Target {
    /// The namespace; default: the context's
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// The context of the kubeconfig; default: the current one
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
}

/// A cluster to talk to.
pub(crate) struct Cluster {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    /// How it is reached, and as whom.
    pub(crate) config: Config,
}

impl Target {
    /// Runs a command's work against the cluster.
    pub(crate) fn run<T, W>(&self, work: impl FnOnce(Cluster) -> W) -> Result<T, Failure>
    where
        W: Future<Output = Result<T, Failure>>,
    {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| system(error, "start the network runtime"))?;
        runtime.block_on(async { work(self.connect().await?).await })
    }

    async fn connect(&self) -> Result<Cluster, Failure> {
        let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        let mut config = match Config::from_kubeconfig(&options).await {
            Ok(config) => config,
            Err(error) if self.context.is_some() => return Err(request(error, "read the kubeconfig")),
            Err(error) => Config::incluster().map_err(|_| request(error, "read the kubeconfig"))?,
        };
        let namespace = self.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        // What is tried again is said, see `patience`.
        config.default_retry = false;
        let client = Client::try_from(config.clone()).map_err(|error| system(error, "set up the connection to the cluster"))?;
        Ok(Cluster { client, namespace, config })
    }
}

impl Cluster {
    /// The flows of the namespace.
    pub(crate) fn flows(&self) -> Api<GleamFlow> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// A flow.
    pub(crate) async fn flow(&self, name: &str) -> Result<GleamFlow, Failure> {
        let flows = self.flows();
        self.ask(&format!("read flow {name:?}"), async || flows.get(name).await).await
    }

    /// Asks until the API server answers, or says that it will not; `attempt` follows "failed to".
    pub(crate) async fn ask<T>(&self, attempt: &str, ask: impl AsyncFnMut() -> kube::Result<T>) -> Result<T, Failure> {
        patience::patiently(patience::ONE_ANSWER, attempt, ask).await.map_err(|error| self.told(error, attempt))
    }

    /// The same; nothing where the caller has no right to it.
    pub(crate) async fn ask_if_allowed<T>(
        &self,
        attempt: &str,
        ask: impl AsyncFnMut() -> kube::Result<T>,
    ) -> Result<Option<T>, Failure> {
        match patience::patiently(patience::ONE_ANSWER, attempt, ask).await {
            Ok(answer) => Ok(Some(answer)),
            Err(kube::Error::Api(status)) if status.code == 403 => Ok(None),
            Err(error) => Err(self.told(error, attempt)),
        }
    }

    /// Changes some fields of a flow.
    pub(crate) async fn patch(&self, name: &str, patch: serde_json::Value) -> Result<(), Failure> {
        let parameters = PatchParams { field_manager: Some("gleamflow-cli".to_owned()), ..PatchParams::default() };
        let (flows, patch) = (self.flows(), Patch::Merge(patch));
        // Done twice, it is the same.
        self.ask(&format!("change flow {name:?}"), async || flows.patch(name, &parameters, &patch).await).await.map(drop)
    }

    /// A failure to do something, with what the API server said.
    pub(crate) fn told(&self, error: kube::Error, attempt: &str) -> Failure {
        let hint = match &error {
            kube::Error::Api(status) if status.code == 404 && status.message.contains("the server could not find") => {
                Some("the cluster does not know GleamFlows: install the chart, or the CRD of `gleamflow crd`".to_owned())
            }
            kube::Error::Api(status) if status.code == 404 => {
                Some(format!("it is not in namespace {:?}; -n names another", self.namespace))
            }
            _ => None,
        };
        let context = format!("failed to {attempt}");
        match (hint, error) {
            (Some(hint), _) => Failure::System(anyhow::anyhow!(hint).context(context)),
            (None, kube::Error::Api(status)) => Failure::System(anyhow::anyhow!(status.message.clone()).context(context)),
            (None, error) => Failure::System(anyhow::Error::new(error).context(context)),
        }
    }
}

/// What the operator says of a flow; of one that it has not seen yet, nothing.
pub(crate) fn status(flow: &GleamFlow) -> GleamFlowStatus {
    flow.status.clone().unwrap_or_default()
}

/// The phase in words; a flow that no operator has looked at has none.
pub(crate) fn phase(status: &GleamFlowStatus) -> String {
    status.phase.map_or_else(|| "-".to_owned(), |phase| format!("{phase:?}"))
}

pub(crate) fn request(error: impl Into<anyhow::Error>, attempt: &str) -> Failure {
    Failure::Request(error.into().context(format!("failed to {attempt}")))
}

pub(crate) fn system(error: impl Into<anyhow::Error>, attempt: &str) -> Failure {
    Failure::System(error.into().context(format!("failed to {attempt}")))
}
