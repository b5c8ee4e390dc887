//! Keeps the agents' DaemonSet as it should be. For the leader.

use std::time::Duration;

use serde_json::Value;

use crate::config::Agent;
use crate::manifest::agent::{Owner, daemon_set, owned_by};
use crate::naming;
use crate::server::{ApiError, Kind, Ref, Server};
use crate::view::{list, text};

/// How often it is applied again: somebody may have changed or deleted it.
pub const EVERY: Duration = Duration::from_secs(10);

/// The Deployment that this pod is of, which owns what the operator makes for itself; that never changes while the pod lives.
///
/// # Errors
/// If the API server does not answer.
pub async fn owner(server: &dyn Server, namespace: &str, pod: &str) -> Result<Option<Owner>, ApiError> {
    let owner = deployment(server, namespace, pod).await?;
    if owner.is_none() {
        tracing::warn!(namespace, pod, "this pod is of no Deployment: the agents will have no owner");
    }
    Ok(owner)
}

/// Applies the DaemonSet.
///
/// # Errors
/// If the API server refuses it or does not answer.
pub async fn apply(
    server: &dyn Server,
    agent: &Agent,
    namespace: &str,
    owner: Option<&Owner>,
    operator: &str,
) -> Result<(), ApiError> {
    let wanted = daemon_set(agent, namespace, operator, owner);
    server.apply(&Ref::new(Kind::DaemonSet, namespace, naming::AGENT), false, &wanted).await.map(drop)
}

/// What was made before its owner was known, or written without one, goes with it, too.
///
/// # Errors
/// If the API server refuses it or does not answer.
pub async fn adopt_all(server: &dyn Server, namespace: &str, owner: &Owner) -> Result<(), ApiError> {
    let places =
        [(Kind::Secret, naming::AUTHORITY), (Kind::ConfigMap, naming::AUTHORITY_CERTIFICATE), (Kind::Lease, naming::OPERATOR)];
    for (kind, name) in places {
        adopt(server, &Ref::new(kind, namespace, name), owner).await?;
    }
    Ok(())
}

/// Makes an object of the operator's go with its Deployment; a conflict with another writer is for the next time.
async fn adopt(server: &dyn Server, place: &Ref, owner: &Owner) -> Result<(), ApiError> {
    let mut object = match server.get(place).await {
        Ok(object) => object,
        Err(ApiError::NotFound(_)) => return Ok(()),
        Err(error) => return Err(error),
    };
    let ours = |reference: &Value| text(reference, "/uid") == Some(owner.uid.as_str());
    if list(&object, "/metadata/ownerReferences").iter().any(ours) {
        return Ok(());
    }
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        for field in ["managedFields", "uid", "creationTimestamp", "generation", "selfLink"] {
            metadata.remove(field);
        }
        metadata.insert("ownerReferences".to_owned(), Value::Array(vec![owned_by(owner)]));
    }
    server.apply(place, false, &object).await.map(drop)
}

/// The Deployment of a pod, by way of its ReplicaSet; `None` where the operator is run by hand, outside of the chart.
async fn deployment(server: &dyn Server, namespace: &str, pod: &str) -> Result<Option<Owner>, ApiError> {
    let Some(set) = controlled_by(server, &Ref::new(Kind::Pod, namespace, pod), "ReplicaSet").await? else { return Ok(None) };
    controlled_by(server, &Ref::new(Kind::ReplicaSet, namespace, &set.name), "Deployment").await
}

async fn controlled_by(server: &dyn Server, object: &Ref, kind: &str) -> Result<Option<Owner>, ApiError> {
    let object = match server.get(object).await {
        Ok(object) => object,
        Err(ApiError::NotFound(_)) => return Ok(None),
        Err(error) => return Err(error),
    };
    let is_it =
        |owner: &&Value| owner.get("controller").and_then(Value::as_bool) == Some(true) && text(owner, "/kind") == Some(kind);
    Ok(list(&object, "/metadata/ownerReferences")
        .iter()
        .find(is_it)
        .and_then(|owner| Some(Owner { name: text(owner, "/name")?.to_owned(), uid: text(owner, "/uid")?.to_owned() })))
}
