//! The way to the operator: through the API server's port-forward, with the caller's own token.

use anyhow::anyhow;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{Api, ListParams};
use proto::MasterClient;
use proto::chunk::MESSAGE_LIMIT;
use proto::credentials::{Credentials, Door, Papers};
use proto::master::OutputRequest;
use tonic::{Code, Request};

use crate::cluster::{Cluster, system};
use crate::failure::Failure;
use crate::output as told;

/// Where operators serve executors, agents and us.
const PORT: u16 = 7400;
/// What marks their pods.
const OPERATORS: &str = "gleamflow.io/role=operator";
const AUTHORITY: &str = "gleamflow-ca";

/// Where the operator usually is.
const HOME: &str = "gleamflow";

/// Prints rows of `write.stdout` that only agents hold. `home`: the operator's namespace, where it is known.
pub(crate) async fn output(cluster: &Cluster, home: Option<&str>, flow: &str, step: &str) -> Result<(), Failure> {
    let Some(token) = cluster.token.as_deref().and_then(proto::token::authorization) else {
        let hint = "the kubeconfig has no token, by which the operator could know you (a client certificate is known to the API server alone)";
        return Err(Failure::System(anyhow!(hint).context("failed to ask the operator")));
    };
    let request =
        OutputRequest { namespace: cluster.namespace.clone(), flow: flow.to_owned(), step: Some(step.to_owned()), run: None };
    let mut last = anyhow!("no pod has the label {OPERATORS}");
    for pod in operators(cluster, home).await? {
        let mut master = connect(cluster, &pod).await?;
        let mut request = Request::new(request.clone());
        request.metadata_mut().insert("authorization", token.clone());
        match master.output(request).await {
            Ok(answer) => {
                let mut messages = answer.into_inner();
                while let Some(message) = messages.message().await.map_err(|status| system(status, "read the rows"))? {
                    message.chunks.iter().try_for_each(|chunk| told::print(&chunk.bytes))?;
                }
                return Ok(());
            }
            // A standby: another one leads.
            Err(status) if status.code() == Code::Unavailable => last = status.into(),
            Err(status) => return Err(Failure::System(anyhow!(status.message().to_owned()).context("failed to read the rows"))),
        }
    }
    Err(Failure::System(last.context("failed to find the leading operator")))
}

/// Whether it is certain that no operator runs; who may not look does not know.
pub(crate) async fn is_absent(cluster: &Cluster) -> bool {
    let pods: Api<Pod> = Api::all(cluster.client.clone());
    let found = pods.list(&ListParams::default().labels(OPERATORS)).await;
    found.is_ok_and(|pods| {
        !pods.items.iter().any(|pod| pod.status.as_ref().is_some_and(|it| it.phase.as_deref() == Some("Running")))
    })
}

/// In the namespace that is given; else in all that can be seen: many may see only their own, and that of the operator.
async fn operators(cluster: &Cluster, home: Option<&str>) -> Result<Vec<Pod>, Failure> {
    let list = async |pods: Api<Pod>| pods.list(&ListParams::default().labels(OPERATORS)).await.map(|found| found.items);
    let told = |error| cluster.told(error, "find the operator");
    if let Some(home) = home {
        return list(Api::namespaced(cluster.client.clone(), home)).await.map_err(told);
    }
    match list(Api::all(cluster.client.clone())).await {
        Err(kube::Error::Api(status)) if status.code == 403 => {}
        found => return found.map_err(told),
    }
    for namespace in [cluster.namespace.as_str(), HOME] {
        match list(Api::namespaced(cluster.client.clone(), namespace)).await {
            Ok(found) if found.is_empty() => {}
            Err(kube::Error::Api(status)) if status.code == 403 => {}
            found => return found.map_err(told),
        }
    }
    let hint = "you may see no operator: name its namespace by --operator-namespace, where the Role gleamflow-output gives the rights to reach it";
    Err(Failure::System(anyhow!(hint).context("failed to find the operator")))
}

async fn connect(cluster: &Cluster, pod: &Pod) -> Result<MasterClient<tonic::transport::Channel>, Failure> {
    let (name, namespace) =
        (pod.metadata.name.as_deref().unwrap_or_default(), pod.metadata.namespace.as_deref().unwrap_or_default());
    let authorities: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), namespace);
    let authority = authorities.get(AUTHORITY).await.map_err(|error| cluster.told(error, "read the operator's authority"))?;
    let authority = authority.data.and_then(|mut data| data.remove("ca.crt"));
    let authority = authority.ok_or_else(|| Failure::System(anyhow!("ConfigMap {AUTHORITY:?} has no ca.crt")))?;
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), namespace);
    let mut forward = pods.portforward(name, &[PORT]).await.map_err(|error| cluster.told(error, "reach the operator"))?;
    let stream = forward.take_stream(PORT).ok_or_else(|| Failure::System(anyhow!("the port-forward has no stream")))?;
    // We have no certificate: the token says who we are.
    let credentials = Credentials::new(Papers { authority, own: None }, Door::Members)
        .map_err(|error| Failure::System(anyhow!(error).context("failed to know the operator by its authority")))?;
    let channel = proto::transport::channel_through(stream, &credentials)
        .await
        .map_err(|error| system(error, "connect to the operator"))?;
    Ok(MasterClient::new(channel).max_decoding_message_size(MESSAGE_LIMIT))
}
