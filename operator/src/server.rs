//! The API server as the controller sees it: objects as JSON, errors by what to do about them.

pub mod kube;

use std::fmt;

use serde_json::Value;

/// Kinds of objects that the operator touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    GleamFlow,
    Pod,
    Secret,
    ConfigMap,
    PersistentVolumeClaim,
    Service,
    NetworkPolicy,
    DaemonSet,
    Deployment,
    ReplicaSet,
    Node,
    Lease,
    Event,
    TokenReview,
    SubjectAccessReview,
    SelfSubjectAccessReview,
}

impl Kind {
    /// Group, version, kind and plural.
    #[must_use]
    pub fn names(self) -> (&'static str, &'static str, &'static str, &'static str) {
        match self {
            Kind::GleamFlow => ("gleamflow.io", "v1alpha1", "GleamFlow", "gleamflows"),
            Kind::Pod => ("", "v1", "Pod", "pods"),
            Kind::Secret => ("", "v1", "Secret", "secrets"),
            Kind::ConfigMap => ("", "v1", "ConfigMap", "configmaps"),
            Kind::PersistentVolumeClaim => ("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims"),
            Kind::Service => ("", "v1", "Service", "services"),
            Kind::NetworkPolicy => ("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies"),
            Kind::DaemonSet => ("apps", "v1", "DaemonSet", "daemonsets"),
            Kind::Deployment => ("apps", "v1", "Deployment", "deployments"),
            Kind::ReplicaSet => ("apps", "v1", "ReplicaSet", "replicasets"),
            Kind::Node => ("", "v1", "Node", "nodes"),
            Kind::Lease => ("coordination.k8s.io", "v1", "Lease", "leases"),
            Kind::Event => ("", "v1", "Event", "events"),
            Kind::TokenReview => ("authentication.k8s.io", "v1", "TokenReview", "tokenreviews"),
            Kind::SubjectAccessReview => ("authorization.k8s.io", "v1", "SubjectAccessReview", "subjectaccessreviews"),
            Kind::SelfSubjectAccessReview => {
                ("authorization.k8s.io", "v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews")
            }
        }
    }

    /// As in `apiVersion`.
    #[must_use]
    pub fn api_version(self) -> String {
        let (group, version, ..) = self.names();
        if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
    }
}

/// Names an object. Objects without a namespace have an empty one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ref {
    pub kind: Kind,
    pub namespace: String,
    pub name: String,
}

impl Ref {
    #[must_use]
    pub fn new(kind: Kind, namespace: &str, name: &str) -> Ref {
        Ref { kind, namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

impl fmt::Display for Ref {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind.names().2, self.namespace, self.name)
    }
}

/// Why a request was not answered as hoped; the text is the API server's own.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    #[error("not found: {0}")]
    NotFound(String),
    #[error("already there: {0}")]
    AlreadyExists(String),
    #[error("changed meanwhile: {0}")]
    Conflict(String),
    #[error("beyond the quota: {0}")]
    Quota(String),
    #[error("the namespace is being deleted: {0}")]
    Terminating(String),
    #[error("denied: {0}")]
    Forbidden(String),
    #[error("not accepted: {0}")]
    Invalid(String),
    /// It may have been done all the same.
    #[error("no answer: {0}")]
    Unavailable(String),
    /// This process does not lead (any more), so nothing was asked.
    #[error("this operator does not lead")]
    NotLeading,
}

impl ApiError {
    /// Whether the object is larger than the API server or its store takes, which each of them says in words of its own.
    #[must_use]
    pub fn is_too_large(&self) -> bool {
        const WORDS: [&str; 3] = ["request is too large", "Request entity too large", "larger than max"];
        match self {
            ApiError::Invalid(message) | ApiError::Unavailable(message) => WORDS.iter().any(|words| message.contains(words)),
            _ => false,
        }
    }
}

/// The API server.
#[tonic::async_trait]
pub trait Server: Send + Sync + fmt::Debug {
    /// An object as it is now, not from a cache.
    async fn get(&self, object: &Ref) -> Result<Value, ApiError>;
    /// All objects of a kind with these labels (`a=b,c=d`; empty: all) in a namespace (empty: in all).
    async fn list(&self, kind: Kind, namespace: &str, labels: &str) -> Result<Vec<Value>, ApiError>;
    async fn create(&self, kind: Kind, namespace: &str, object: &Value) -> Result<Value, ApiError>;
    /// Server-side apply under our field manager; refused if `object` names a resourceVersion that is not the newest.
    async fn apply(&self, object: &Ref, status: bool, value: &Value) -> Result<Value, ApiError>;
    /// Puts a whole status where another stands, whoever manages what is in that; refused if `version` is not the newest.
    async fn replace_status(&self, object: &Ref, version: &str, status: &Value) -> Result<Value, ApiError>;
    /// Deletes it; with a uid, only that very object.
    async fn delete(&self, object: &Ref, uid: Option<&str>) -> Result<(), ApiError>;
    async fn delete_all(&self, kind: Kind, namespace: &str, labels: &str) -> Result<(), ApiError>;
    /// Events about an object of this name, of any kind, as they are kept: for an hour or so.
    async fn events(&self, namespace: &str, name: &str) -> Result<Vec<Value>, ApiError>;
    /// The keys that check the cluster's service-account tokens: a JSON web key set.
    async fn published_keys(&self) -> Result<Value, ApiError>;
    /// A review of what the bearer of a token may do, asked by the bearer itself.
    async fn access(&self, token: &str, resource_attributes: &Value) -> Result<Value, ApiError>;
}
