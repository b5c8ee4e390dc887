//! What the master of tasks asks of the process: certificates for agents, tokens, and who may read an output.

use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use proto::master::{Enroll, Enrolled, OutputRequest};
use proto::token::PublicKey;
use proto::{RunId, Term};
use serde_json::Value;

use super::now;
use crate::authority::Authority;
use crate::master::api::NODE_LOCAL;
use crate::master::service::{KeptOutput, Refusal, Trust};
use crate::review::{Denied, Reviewer};
use crate::server::{ApiError, Kind, Ref, Server};
use crate::view::{list, text};

/// An agent's own token lives as long as its certificate.
const AGENT_TOKEN: u64 = crate::authority::AGENT_LIFE;

/// The authority, and the API server's word.
#[derive(Debug)]
pub(super) struct Trusted {
    pub(super) authority: Arc<Authority>,
    pub(super) reviewer: Arc<Reviewer>,
    pub(super) server: Arc<dyn Server>,
}

#[tonic::async_trait]
impl Trust for Trusted {
    async fn enroll(&self, token: &str, request: Enroll) -> Result<Enrolled, Refusal> {
        let node = self.reviewer.agent(token).await?;
        if node != request.node {
            return Err(Refusal::Forbidden(format!("the agent of node {node:?} says that it is on {:?}", request.node)));
        }
        let address: SocketAddr =
            request.address.parse().map_err(|_| Refusal::Forbidden(format!("{:?} is no address and port", request.address)))?;
        let now = now();
        let issued = self.authority.agent(&request.csr, &node, address.ip(), now);
        let issued = issued.map_err(|error| Refusal::Forbidden(format!("{:#}", anyhow::Error::from(error))))?;
        Ok(Enrolled {
            certificate: issued.certificate,
            expires: issued.expires,
            authority: self.authority.certificate().to_owned(),
            keys: self.authority.keys(),
            token: self.authority.agent_token(&node, now + AGENT_TOKEN),
        })
    }

    async fn output(&self, token: &str, request: &OutputRequest) -> Result<KeptOutput, Refusal> {
        self.reviewer.output(token, &request.namespace, &request.flow).await?;
        let flow = self.server.get(&Ref::new(Kind::GleamFlow, &request.namespace, &request.flow)).await.map_err(absent)?;
        let current = text(&flow, "/status/currentRun/id").unwrap_or_default();
        if request.run.as_ref().is_some_and(|run| run.as_str() != current) {
            return Err(Refusal::Absent("only the output of the newest run is kept".to_owned()));
        }
        let outputs = list(&flow, "/status/outputs");
        let printed = |output: &&Value| {
            let location = text(output, "/location").unwrap_or_default();
            location == NODE_LOCAL || location.starts_with("Secret/")
        };
        let wanted = |output: &&Value| request.step.as_deref().is_none_or(|step| text(output, "/step") == Some(step));
        let output = outputs.iter().filter(printed).find(wanted);
        let output = output.ok_or_else(|| Refusal::Absent("the flow has no such output".to_owned()))?;
        let step = text(output, "/step").unwrap_or_default();
        match text(output, "/location").and_then(|location| location.strip_prefix("Secret/")) {
            Some(secret) => self.kept(&request.namespace, secret, step).await,
            None => {
                let run = RunId::try_from(current.to_owned()).map_err(|error| Refusal::Absent(error.to_string()))?;
                Ok(KeptOutput::Agents { run, step: step.to_owned() })
            }
        }
    }

    fn certificate(&self) -> String {
        self.authority.certificate().to_owned()
    }

    fn keys(&self) -> Vec<PublicKey> {
        self.authority.keys()
    }

    fn operator_token(&self, term: Term) -> String {
        self.authority.operator_token(term, now())
    }
}

impl Trusted {
    async fn kept(&self, namespace: &str, secret: &str, step: &str) -> Result<KeptOutput, Refusal> {
        let secret = self.server.get(&Ref::new(Kind::Secret, namespace, secret)).await.map_err(absent)?;
        let rows = secret.get("data").and_then(|data| data.get(step)).and_then(Value::as_str);
        let rows = rows.and_then(|rows| BASE64.decode(rows).ok());
        rows.map(|rows| KeptOutput::Text(rows.into()))
            .ok_or_else(|| Refusal::Absent("the output is not kept any more".to_owned()))
    }
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Refusal {
        let message = denied.to_string();
        match denied {
            Denied::Unknown(_) => Refusal::Unknown(message),
            Denied::Forbidden { .. } | Denied::NotOurs => Refusal::Forbidden(message),
            Denied::Unavailable(_) => Refusal::Unavailable(message),
        }
    }
}

fn absent(error: ApiError) -> Refusal {
    match error {
        ApiError::NotFound(_) => Refusal::Absent(error.to_string()),
        _ => Refusal::Unavailable(error.to_string()),
    }
}
