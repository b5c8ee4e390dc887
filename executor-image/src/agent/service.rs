//! The calls of an agent: checks who asks, then does it.

use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use proto::agent::{
    Fetch, HeldOutput, Inventory, InventoryRequest, MESSAGE_HEADER, Name, Named, PUT_HEADER, PutHeader, Release, Released, Stored,
};
use proto::chunk::{MESSAGE_BYTES, Message};
use proto::codec::whole;
use proto::gate::{Call, Gate, Keeper, Pass, claims};
use proto::peer::Peer;
use proto::token::Role;
use proto::{AgentServer, RunId, agent_server};
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use super::access::{Access, Denied};
use super::give::{self, Outgo};
use super::put::Intake;
use super::store::{Gone, Store};

/// What serves the calls.
#[derive(Clone, Debug)]
pub struct Service {
    pub access: Arc<Access>,
    pub intake: Intake,
    pub outgo: Outgo,
}

type Reply<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl agent_server::Agent for Service {
    type FetchStream = Pin<Box<dyn Stream<Item = Result<Message, Status>> + Send>>;

    async fn put(&self, request: Request<Streaming<Message>>) -> Reply<Stored> {
        let header = put_header(request.metadata())?;
        self.check(self.access.writer(claims(&request)?, &header.run))?;
        let metrics = &self.intake.metrics;
        match self.intake.put(header, request.into_inner()).await {
            Ok(stored) => {
                metrics.puts.inc();
                Ok(Response::new(stored))
            }
            Err(error) => {
                metrics.puts_failed.inc();
                tracing::debug!(%error, "an output did not come in");
                Err(error.into())
            }
        }
    }

    async fn fetch(&self, request: Request<Fetch>) -> Reply<Self::FetchStream> {
        self.check(self.access.reader(claims(&request)?, &request.get_ref().run))?;
        let largest = message_bytes(request.metadata())?;
        let Fetch { run, items } = request.into_inner();
        Ok(Response::new(Box::pin(self.outgo.give(run, items, largest)?)))
    }

    async fn name(&self, request: Request<Name>) -> Reply<Named> {
        self.check(self.access.operator(claims(&request)?, request.get_ref().term))?;
        let Name { run, term: _, winners, fenced } = request.into_inner();
        let (missing, gone) = self.store().name(&run, &winners, &fenced);
        drop_apart(gone);
        Ok(Response::new(Named { missing }))
    }

    async fn release(&self, request: Request<Release>) -> Reply<Released> {
        self.check(self.access.operator(claims(&request)?, request.get_ref().term))?;
        let Release { run, term: _, attempts } = request.into_inner();
        let gone = self.store().release(&run, attempts.as_deref());
        let bytes = gone.iter().map(|output| output.charged()).sum();
        drop_apart(gone);
        Ok(Response::new(Released { bytes }))
    }

    async fn inventory(&self, request: Request<InventoryRequest>) -> Reply<Inventory> {
        self.check(self.access.operator(claims(&request)?, request.get_ref().term))?;
        let run = request.into_inner().run;
        let (store, held) = (Arc::clone(self.store()), self.store().inventory(&run));
        let listed = tokio::task::spawn_blocking(move || list(&store, &run, held)).await;
        match listed {
            Ok(outputs) => Ok(Response::new(Inventory { outputs })),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}

/// Calls of the operator that are read at a time: each may be as large as [`proto::chunk::MESSAGE_LIMIT`].
const MESSAGES: usize = 16;

/// Lets in who has a good token; what it is good for, each call says.
impl Keeper for Service {
    fn admit(&self, method: &str, metadata: &MetadataMap, peer: &Peer) -> Result<Pass, Status> {
        let denied = |denied| {
            self.intake.metrics.refused.inc();
            Status::from(denied)
        };
        let claims = self.access.claims(metadata, peer).map_err(denied)?;
        let kind = match (method, &claims.role) {
            ("Put", _) => Call::Stream,
            (_, Role::Executor { .. }) => Call::Member,
            (_, Role::Operator { .. } | Role::Agent { .. }) => Call::Message,
        };
        Ok(Pass { claims: Some(claims), kind })
    }
}

impl Service {
    /// For a server.
    #[must_use]
    pub fn gated(self) -> Gate<AgentServer<Service>, Service> {
        let calls = AgentServer::new(self.clone());
        Gate::new((calls.clone(), calls), self, MESSAGES)
    }

    fn store(&self) -> &Arc<Store> {
        &self.intake.store
    }

    fn check(&self, allowed: Result<(), Denied>) -> Result<(), Status> {
        allowed.map_err(|denied| {
            self.intake.metrics.refused.inc();
            Status::from(denied)
        })
    }
}

/// Trailers may be on the disk, so this blocks. What the disk does not give is not held.
fn list(store: &Store, run: &RunId, held: Vec<super::store::HeldEntry>) -> Vec<HeldOutput> {
    let output = |held: super::store::HeldEntry| match give::whole(&held.output, held.output.trailer()) {
        Ok(done) => Some(HeldOutput { attempt: held.attempt, named: held.named, done }),
        Err(error) => {
            tracing::error!(run = run.as_str(), attempt = %held.attempt, %error, "an output could not be read from the disk and is given up");
            drop(store.lose(run, held.attempt));
            None
        }
    };
    held.into_iter().filter_map(output).collect()
}

fn put_header(metadata: &MetadataMap) -> Result<PutHeader, Status> {
    let bytes = metadata.get_bin(PUT_HEADER).and_then(|value| value.to_bytes().ok());
    let bytes = bytes.ok_or_else(|| Status::invalid_argument(format!("a Put without {PUT_HEADER}")))?;
    whole(&bytes).map_err(|error| Status::invalid_argument(format!("{PUT_HEADER} is no header of a Put: {error}")))
}

fn message_bytes(metadata: &MetadataMap) -> Result<usize, Status> {
    let Some(value) = metadata.get(MESSAGE_HEADER) else { return Ok(MESSAGE_BYTES) };
    let number = value.to_str().ok().and_then(|text| text.parse().ok());
    number.ok_or_else(|| Status::invalid_argument(format!("{MESSAGE_HEADER} is no number of bytes")))
}

/// Large files take time to go: not on a thread that serves calls.
pub fn drop_apart(gone: Gone) {
    if !gone.is_empty() {
        tokio::task::spawn_blocking(move || drop(gone));
    }
}
