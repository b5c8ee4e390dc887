//! The way to the operator: through the API server's port-forward, with the caller's own token.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::anyhow;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::api::{Api, ListParams};
use kube::client::UpgradeConnectionError;
use proto::MasterClient;
use proto::chunk::MESSAGE_LIMIT;
use proto::credentials::{Credentials, Door, Papers};
use proto::master::OutputRequest;
use proto::transport::leader_of;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::{Request, Status};

use crate::cluster::Cluster;
use crate::cluster::bearer::authorization;
use crate::cluster::patience::{ONE_ANSWER, Patience, operator_passes, patiently, words};
use crate::failure::Failure;
use crate::output as told;

/// Where operators serve executors, agents and us.
const PORT: u16 = 7400;
/// How long a leader is looked for: when one dies, the next leads after a quarter of a minute and then finds out what there is.
const PATIENCE: Duration = Duration::from_secs(90);
/// What marks their pods.
const OPERATORS: &str = "gleamflow.io/role=operator";
const AUTHORITY: &str = "gleamflow-ca";

/// Where the operator usually is.
const HOME: &str = "gleamflow";

/// A failure to be given rows by an operator.
enum Trouble {
    /// It stands by.
    Standby,
    /// It may pass, or another operator may do better.
    Passing(String),
    Final(Failure),
}

/// Prints rows of `write.stdout` that only agents hold. `home`: the operator's namespace, where it is known.
pub(crate) async fn output(cluster: &Cluster, home: Option<&str>, flow: &str, step: &str) -> Result<(), Failure> {
    let token = authorization(&cluster.config).await;
    let Some(token) = token.map_err(|error| Failure::System(error.context("failed to have the kubeconfig's token")))? else {
        let hint = "the kubeconfig's user has no token, by which the operator could know you (a client certificate is known to the \
                    API server alone): take a user with one, such as a service account's of `kubectl create token`, or have the \
                    flow write these rows to files";
        return Err(Failure::System(anyhow!(hint).context("failed to ask the operator")));
    };
    let request =
        OutputRequest { namespace: cluster.namespace.clone(), flow: flow.to_owned(), step: Some(step.to_owned()), run: None };
    let mut patience = Patience::new(PATIENCE, "read the rows");
    // Of a run that is over the rows are always the same: after a trouble in the middle, those that were printed are skipped.
    let mut printed = 0;
    loop {
        let pods = operators(cluster, home).await?;
        let mut trouble = match pods.len() {
            0 => format!("no pod has the label {OPERATORS}"),
            count => format!("none of {count} operators leads"),
        };
        for pod in pods {
            match ask(cluster, &pod, &token, &request, &mut printed).await {
                Ok(()) => return Ok(()),
                Err(Trouble::Final(failure)) => return Err(failure),
                // What the leader said says more.
                Err(Trouble::Standby) => {}
                Err(Trouble::Passing(text)) => trouble = text,
            }
        }
        if !patience.lasts(&trouble) {
            return Err(Failure::System(anyhow!(trouble).context("failed to read the rows")));
        }
        patience.pause().await;
    }
}

/// Prints what one operator gives beyond the bytes that are printed already.
async fn ask(
    cluster: &Cluster,
    pod: &Pod,
    token: &MetadataValue<Ascii>,
    request: &OutputRequest,
    printed: &mut usize,
) -> Result<(), Trouble> {
    let mut master = connect(cluster, pod).await?;
    let mut request = Request::new(request.clone());
    request.metadata_mut().insert("authorization", token.clone());
    let mut messages = master.output(request).await.map_err(refused)?.into_inner();
    let mut given = 0;
    while let Some(message) = messages.message().await.map_err(refused)? {
        for chunk in &message.chunks {
            let known = printed.saturating_sub(given).min(chunk.bytes.len());
            told::print(&chunk.bytes[known..]).map_err(Trouble::Final)?;
            given += chunk.bytes.len();
            *printed = (*printed).max(given);
        }
    }
    Ok(())
}

/// A standby, a new leader or a connection that broke may do better later; what is refused is refused.
fn refused(status: Status) -> Trouble {
    if leader_of(&status).is_some() {
        return Trouble::Standby;
    }
    if operator_passes(status.code()) {
        return Trouble::Passing(status.message().to_owned());
    }
    Trouble::Final(Failure::System(anyhow!(status.message().to_owned()).context("failed to read the rows")))
}

/// Whether it is certain that no operator runs; who may not look does not know.
pub(crate) async fn is_absent(cluster: &Cluster) -> bool {
    let pods: Api<Pod> = Api::all(cluster.client.clone());
    let found = pods.list(&ListParams::default().labels(OPERATORS)).await;
    found.is_ok_and(|pods| {
        !pods.items.iter().any(|pod| pod.status.as_ref().is_some_and(|it| it.phase.as_deref() == Some("Running")))
    })
}

/// In the namespace that is given; else where those who run the cluster have put them. Labels are the word of whoever makes a pod,
/// and an operator is given our token: what calls itself one elsewhere is not asked.
async fn operators(cluster: &Cluster, home: Option<&str>) -> Result<Vec<Pod>, Failure> {
    let list = async |pods: Api<Pod>| {
        let labels = ListParams::default().labels(OPERATORS);
        patiently(ONE_ANSWER, "find the operator", async || pods.list(&labels).await).await.map(|found| found.items)
    };
    let told = |error| cluster.told(error, "find the operator");
    if let Some(home) = home {
        return list(Api::namespaced(cluster.client.clone(), home)).await.map_err(told);
    }
    let trusted = trusted(cluster).await.map_err(told)?;
    match list(Api::all(cluster.client.clone())).await {
        Err(kube::Error::Api(status)) if status.code == 403 => {}
        Err(error) => return Err(told(error)),
        Ok(found) => {
            let (ours, others): (Vec<Pod>, Vec<Pod>) = found.into_iter().partition(|pod| trusted.contains(namespace(pod)));
            return if ours.is_empty() && !others.is_empty() { Err(unknown(&others)) } else { Ok(ours) };
        }
    }
    for home in &trusted {
        match list(Api::namespaced(cluster.client.clone(), home)).await {
            Err(kube::Error::Api(status)) if status.code == 403 => {}
            Ok(found) if found.is_empty() => {}
            found => return found.map_err(told),
        }
    }
    let hint = "you may see no operator: name its namespace by --operator-namespace, where the Role gleamflow-output gives the rights to reach it";
    Err(Failure::System(anyhow!(hint).context("failed to find the operator")))
}

/// The namespaces whose operators are believed: the usual one, and those that the chart has bound for the whole cluster, which takes
/// rights over the whole cluster. Who may not read that knows of the first alone.
async fn trusted(cluster: &Cluster) -> kube::Result<BTreeSet<String>> {
    let bindings: Api<ClusterRoleBinding> = Api::all(cluster.client.clone());
    let labels = ListParams::default().labels("app.kubernetes.io/name=gleamflow");
    let found = match patiently(ONE_ANSWER, "find the operator", async || bindings.list(&labels).await).await {
        Ok(found) => found.items,
        Err(kube::Error::Api(status)) if status.code == 403 => Vec::new(),
        Err(error) => return Err(error),
    };
    let mut trusted = BTreeSet::from([HOME.to_owned()]);
    for binding in found {
        let homes = binding.subjects.into_iter().flatten().filter_map(|subject| subject.namespace);
        let bound = binding.metadata.name.unwrap_or_default();
        trusted.extend(homes.filter(|home| bound == format!("{home}-gleamflow-operator")));
    }
    Ok(trusted)
}

fn namespace(pod: &Pod) -> &str {
    pod.metadata.namespace.as_deref().unwrap_or_default()
}

fn unknown(pods: &[Pod]) -> Failure {
    let names: BTreeSet<String> = pods.iter().map(|pod| format!("{:?}", namespace(pod))).collect();
    let names = names.into_iter().collect::<Vec<_>>().join(", ");
    let hint = format!(
        "pods that call themselves operators are in namespace {names}; they would be given your token: name the one that you trust by --operator-namespace"
    );
    Failure::System(anyhow!(hint).context("failed to find the operator"))
}

async fn connect(cluster: &Cluster, pod: &Pod) -> Result<MasterClient<tonic::transport::Channel>, Trouble> {
    let (name, namespace) = (pod.metadata.name.as_deref().unwrap_or_default(), namespace(pod));
    let authorities: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), namespace);
    let authority = cluster.ask("read the operator's authority", async || authorities.get(AUTHORITY).await).await;
    let authority = authority.map_err(Trouble::Final)?.data.and_then(|mut data| data.remove("ca.crt"));
    let authority = authority.ok_or_else(|| Trouble::Final(Failure::System(anyhow!("ConfigMap {AUTHORITY:?} has no ca.crt"))))?;
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), namespace);
    let mut forward = pods.portforward(name, &[PORT]).await.map_err(|error| unreached(cluster, name, error))?;
    let stream = forward.take_stream(PORT).ok_or_else(|| Trouble::Passing("the port-forward has no stream".to_owned()))?;
    // We have no certificate: the token says who we are.
    let credentials = Credentials::new(Papers { authority, own: None }, Door::Members).map_err(|error| {
        Trouble::Final(Failure::System(anyhow!(error).context("failed to know the operator by its authority")))
    })?;
    let channel = proto::transport::channel_through(stream, &credentials).await;
    let channel = channel.map_err(|error| Trouble::Passing(format!("failed to connect to operator {name:?}: {error}")))?;
    Ok(MasterClient::new(channel).max_decoding_message_size(MESSAGE_LIMIT))
}

/// A pod that is not there any more, or does not run yet, is not the only one; what nobody may do nobody may do later.
fn unreached(cluster: &Cluster, pod: &str, error: kube::Error) -> Trouble {
    let is_refused = match &error {
        kube::Error::Api(status) => matches!(status.code, 401 | 403),
        kube::Error::UpgradeConnection(UpgradeConnectionError::ProtocolSwitch(code)) => matches!(code.as_u16(), 401 | 403),
        _ => false,
    };
    if is_refused {
        return Trouble::Final(cluster.told(error, "reach the operator"));
    }
    Trouble::Passing(format!("failed to reach operator {pod:?}: {}", words(&error)))
}
