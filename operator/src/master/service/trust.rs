//! Whom the master trusts, as the process around it decides.

use std::fmt::Debug;
use std::sync::Arc;

use bytes::Bytes;
use proto::credentials::Credentials;
use proto::master::{Enroll, Enrolled, OutputRequest};
use proto::token::PublicKey;
use proto::{RunId, Term};
use tonic::Status;

/// Why somebody is turned away.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("not known here: {0}")]
    Unknown(String),
    #[error("not allowed: {0}")]
    Forbidden(String),
    #[error("there is nothing: {0}")]
    Absent(String),
    #[error("to be asked again: {0}")]
    Unavailable(String),
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Status {
        let message = refusal.to_string();
        match refusal {
            Refusal::Unknown(_) => Status::unauthenticated(message),
            Refusal::Forbidden(_) => Status::permission_denied(message),
            Refusal::Absent(_) => Status::not_found(message),
            Refusal::Unavailable(_) => Status::unavailable(message),
        }
    }
}

/// Where a run's standard output is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeptOutput {
    /// Here it is.
    Text(Bytes),
    /// Still on the agents ([`crate::master::api::NODE_LOCAL`]).
    Agents { run: RunId, step: String },
}

/// The authority, and what the API server knows.
#[tonic::async_trait]
pub trait Trust: Send + Sync + Debug {
    /// A certificate for the agent that holds this service-account token.
    async fn enroll(&self, token: &str, request: Enroll) -> Result<Enrolled, Refusal>;
    /// Where the output is that the bearer of a Kubernetes token asks for, if that one may read it.
    async fn output(&self, token: &str, request: &OutputRequest) -> Result<KeptOutput, Refusal>;
    /// What this operator is known by, and whom it knows.
    fn credentials(&self) -> Option<Arc<Credentials>>;
    /// What checks tokens.
    fn keys(&self) -> Vec<PublicKey>;
    /// A token for the leader's own calls to agents.
    fn operator_token(&self, term: Term) -> String;
}
