//! Whom the master trusts: the authority for agents and executors, the API server for people.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use proto::credentials::Credentials;
use proto::master::{Enroll, Enrolled, OutputRequest};
use proto::token::PublicKey;
use proto::{RunId, Term};
use serde_json::{Map, Value};

use super::now;
use crate::authority::{Authority, AuthorityError};
use crate::master::api::NODE_LOCAL;
use crate::master::service::{KeptOutput, Refusal, Trust};
use crate::naming;
use crate::review::{Denied, Reviewer};
use crate::server::{ApiError, Kind, Ref, Server};
use crate::view::{FlowView, controller};

/// The newest authority that this process has read.
#[derive(Debug, Default)]
pub(crate) struct Held {
    newest: RwLock<Option<Arc<Authority>>>,
}

impl Held {
    pub(super) fn set(&self, authority: Authority) -> Arc<Authority> {
        let authority = Arc::new(authority);
        *self.newest.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&authority));
        authority
    }

    /// `None`: not read yet.
    pub(super) fn get(&self) -> Option<Arc<Authority>> {
        self.newest.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The master's trust.
#[derive(Debug)]
pub(super) struct Trusted {
    pub(super) authority: Arc<Held>,
    pub(super) credentials: Arc<Credentials>,
    pub(super) reviewer: Reviewer,
    pub(super) server: Arc<dyn Server>,
}

#[tonic::async_trait]
impl Trust for Trusted {
    async fn enroll(&self, token: &str, request: Enroll) -> Result<Enrolled, Refusal> {
        let node = self.reviewer.agent(token).await.map_err(denied)?;
        if node != request.node {
            return Err(Refusal::Forbidden(format!("an agent of node {node:?} asks for one of {:?}", request.node)));
        }
        let address: SocketAddr =
            request.address.parse().map_err(|_| Refusal::Unknown(format!("{:?} is no address", request.address)))?;
        let authority = self.authority.get().ok_or_else(|| Refusal::Unavailable("there is no authority yet".to_owned()))?;
        let now = now();
        let issued = authority.agent(&request.csr, &node, address.ip(), now).map_err(unmade)?;
        Ok(Enrolled {
            certificate: issued.certificate,
            expires: issued.expires,
            authority: authority.bundle(),
            keys: authority.keys(),
            token: authority.agent_token(&node, issued.expires, now),
        })
    }

    async fn output(&self, token: &str, request: &OutputRequest) -> Result<KeptOutput, Refusal> {
        self.reviewer.output(token, &request.namespace, &request.flow).await.map_err(denied)?;
        let object = self.server.get(&Ref::new(Kind::GleamFlow, &request.namespace, &request.flow)).await.map_err(api)?;
        let flow = FlowView::read(&object).map_err(|error| Refusal::Unavailable(error.to_string()))?;
        let run = wanted(&flow, request.run.as_ref())?;
        let base = naming::run_base(&flow.key.name, naming::run_number(run.as_str()).unwrap_or(0));
        let secret = self.server.get(&Ref::new(Kind::Secret, &request.namespace, &naming::output(&base))).await;
        match secret {
            Ok(secret) if controller(&secret) == flow.uid => text(&secret, &run, request.step.as_deref()),
            Ok(_) | Err(ApiError::NotFound(_)) => elsewhere(&flow, run, request.step.as_deref()),
            Err(error) => Err(api(error)),
        }
    }

    fn credentials(&self) -> Option<Arc<Credentials>> {
        Some(Arc::clone(&self.credentials))
    }

    fn keys(&self) -> Vec<PublicKey> {
        self.authority.get().map(|authority| authority.keys()).unwrap_or_default()
    }

    fn operator_token(&self, term: Term) -> String {
        self.authority.get().map(|authority| authority.operator_token(term, now())).unwrap_or_default()
    }
}

/// The run that is asked for; a flow's own.
fn wanted(flow: &FlowView, asked: Option<&RunId>) -> Result<RunId, Refusal> {
    match asked {
        Some(run) if naming::run_uid(run.as_str()) == flow.uid => Ok(run.clone()),
        Some(run) => Err(Refusal::Absent(format!("{run} is no run of flow {:?}", flow.key.name))),
        None => {
            let last = flow.status.current_run.as_ref().and_then(|run| RunId::try_from(run.id.clone()).ok());
            last.ok_or_else(|| Refusal::Absent(format!("flow {:?} has not run yet", flow.key.name)))
        }
    }
}

/// The rows of one step from the Secret of the output.
fn text(secret: &Value, run: &RunId, step: Option<&str>) -> Result<KeptOutput, Refusal> {
    let none = Map::new();
    let data = secret.get("data").and_then(Value::as_object).unwrap_or(&none);
    let steps = || data.keys().cloned().collect::<Vec<_>>().join(", ");
    let found = match step {
        Some(step) => {
            data.get(step).ok_or_else(|| Refusal::Absent(format!("step {step:?} of run {run}; there are: {}", steps())))?
        }
        None if data.len() > 1 => return Err(Refusal::Absent(format!("one of several; name the step: {}", steps()))),
        None => data.values().next().ok_or_else(|| Refusal::Absent(format!("run {run} wrote nothing to standard output")))?,
    };
    let bytes = found.as_str().and_then(|rows| BASE64.decode(rows).ok());
    bytes
        .map(|rows| KeptOutput::Text(Bytes::from(rows)))
        .ok_or_else(|| Refusal::Unavailable("the Secret of the output is damaged".to_owned()))
}

/// Not in a Secret: still on the agents, not there yet, or gone.
fn elsewhere(flow: &FlowView, run: RunId, step: Option<&str>) -> Result<KeptOutput, Refusal> {
    let current = flow.status.current_run.as_ref().filter(|current| current.id == run.as_str());
    let local = flow.status.outputs.iter().filter(|output| output.location == NODE_LOCAL);
    let local: Vec<&str> =
        local.map(|output| output.step.as_str()).filter(|name| step.is_none_or(|step| step == *name)).collect();
    match (current, local.as_slice()) {
        (Some(current), _) if current.completion_time.is_none() => Err(Refusal::Absent(format!("run {run} is still going on"))),
        (Some(current), _) if current.released => {
            Err(Refusal::Absent(format!("the output of run {run} was kept for retention.outputSeconds")))
        }
        (Some(_), [step]) => Ok(KeptOutput::Agents { run, step: (*step).to_owned() }),
        (Some(_), [_, _, ..]) => Err(Refusal::Absent(format!("one of several; name the step: {}", local.join(", ")))),
        _ => Err(Refusal::Absent(format!("run {run} has left no output on standard output"))),
    }
}

fn denied(denied: Denied) -> Refusal {
    let message = denied.to_string();
    match denied {
        Denied::Unknown(_) => Refusal::Unknown(message),
        Denied::Forbidden { .. } => Refusal::Forbidden(message),
        Denied::Unavailable(_) | Denied::NotOurs => Refusal::Unavailable(message),
    }
}

fn unmade(error: AuthorityError) -> Refusal {
    match error {
        AuthorityError::Request(message) => Refusal::Unknown(message),
        other => Refusal::Unavailable(format!("{:#}", anyhow::Error::from(other))),
    }
}

fn api(error: ApiError) -> Refusal {
    match error {
        ApiError::NotFound(message) => Refusal::Absent(message),
        other => Refusal::Unavailable(other.to_string()),
    }
}
