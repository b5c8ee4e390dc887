//! The gate of a service: who calls is checked before a byte of the call's message is read, so that whoever may not call cannot
//! make a server hold anything either.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::Semaphore;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::metadata::MetadataMap;
use tonic::server::NamedService;
use tonic::{Request, Status};

use crate::listen::{Limits, Place, Places};
use crate::peer::Peer;
use crate::token::Claims;

/// A call of one message has come and is answered by then.
const PATIENCE: Duration = Duration::from_secs(60);
/// Calls of strangers at a time, in all and from one address; more are turned away, so that slow ones keep few others out.
const STRANGERS: Limits = Limits { all: 64, each: 4 };
const STRANGERS_PATIENCE: Duration = Duration::from_secs(15);
/// Calls of one message from one address of members.
const MEMBERS_EACH: usize = 8;
/// Addresses that are remembered before those that are quiet are forgotten.
const KNOWN: usize = 1024;

/// Says who may call.
pub trait Keeper: Clone + Send + Sync + 'static {
    /// Whether a call of this method (the path's last part) may be read.
    ///
    /// # Errors
    /// The answer to whoever may not call.
    fn admit(&self, method: &str, metadata: &MetadataMap, peer: &Peer) -> Result<Pass, Status>;
}

/// A call that is let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pass {
    /// What its token says; `None`: its service asks elsewhere who calls.
    pub claims: Option<Claims>,
    pub kind: Call,
}

/// What a call may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// One message, which is held whole: few at a time, each for a limited time.
    Message,
    /// The same of who may be many, and hostile: few at a time of each address.
    Member,
    /// The same of somebody who is not known yet.
    Stranger,
    /// A stream, which its service bounds.
    Stream,
}

/// A service behind a gate. The claims of a call are among its extensions: see [`claims`].
#[derive(Clone, Debug)]
pub struct Gate<S, K> {
    /// For streams, and for calls of one message: they differ in how large a message may be.
    streams: S,
    messages: S,
    keeper: K,
    places: Arc<Semaphore>,
    members: Arc<Turns>,
    strangers: Arc<Places>,
}

/// Those of one address wait for each other alone.
#[derive(Debug, Default)]
struct Turns {
    by_peer: Mutex<HashMap<IpAddr, Arc<Semaphore>>>,
}

impl Turns {
    fn of(&self, peer: IpAddr) -> Arc<Semaphore> {
        let mut by_peer = self.by_peer.lock().unwrap_or_else(PoisonError::into_inner);
        if by_peer.len() >= KNOWN {
            // Only who is here has another hold of it.
            by_peer.retain(|_, turns| Arc::strong_count(turns) > 1);
        }
        Arc::clone(by_peer.entry(peer).or_insert_with(|| Arc::new(Semaphore::new(MEMBERS_EACH))))
    }
}

impl<S, K> Gate<S, K> {
    /// `at_a_time`: how many calls of one message are read; more wait.
    #[must_use]
    pub fn new((streams, messages): (S, S), keeper: K, at_a_time: usize) -> Gate<S, K> {
        let (places, strangers) = (Arc::new(Semaphore::new(at_a_time)), Places::new(STRANGERS));
        Gate { streams, messages, keeper, places, members: Arc::default(), strangers }
    }
}

/// What the token of a call says that came through a gate.
///
/// # Errors
/// If it came another way.
pub fn claims<T>(request: &Request<T>) -> Result<&Claims, Status> {
    request.extensions().get().ok_or_else(|| Status::unauthenticated("the call carries no token"))
}

impl<S: NamedService, K> NamedService for Gate<S, K> {
    const NAME: &'static str = S::NAME;
}

impl<S, K> Service<http::Request<Body>> for Gate<S, K>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible> + Send,
    S::Future: Send + 'static,
    K: Keeper,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        match (self.streams.poll_ready(context), self.messages.poll_ready(context)) {
            (Poll::Ready(_), Poll::Ready(_)) => Poll::Ready(Ok(())),
            _ => Poll::Pending,
        }
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let (mut parts, body) = request.into_parts();
        let metadata = MetadataMap::from_headers(std::mem::take(&mut parts.headers));
        let method = parts.uri.path().rsplit('/').next().unwrap_or_default();
        let refuse = |status: Status| -> Self::Future { Box::pin(std::future::ready(Ok(status.into_http()))) };
        let Some(peer) = parts.extensions.get::<Peer>() else { return refuse(Status::internal("the connection is of nobody")) };
        let (pass, address) = match self.keeper.admit(method, &metadata, peer) {
            Ok(pass) => (pass, peer.address),
            Err(status) => return refuse(status),
        };
        parts.headers = metadata.into_headers();
        if let Some(claims) = pass.claims {
            parts.extensions.insert(claims);
        }
        let request = http::Request::from_parts(parts, body);
        match pass.kind {
            Call::Stream => Box::pin(self.streams.call(request)),
            Call::Message | Call::Member => {
                let places = if pass.kind == Call::Member { self.members.of(address) } else { Arc::clone(&self.places) };
                let answer = self.messages.call(request);
                Box::pin(in_time(PATIENCE, async move {
                    // It is never closed.
                    let _place = places.acquire().await;
                    answer.await
                }))
            }
            Call::Stranger => {
                let Some(place) = Place::take(&self.strangers, address) else {
                    return refuse(Status::resource_exhausted("too many calls of those who are not known yet"));
                };
                let answer = self.messages.call(request);
                Box::pin(in_time(STRANGERS_PATIENCE, async move {
                    let _place = place;
                    answer.await
                }))
            }
        }
    }
}

async fn in_time(
    patience: Duration,
    answer: impl Future<Output = Result<http::Response<Body>, Infallible>>,
) -> Result<http::Response<Body>, Infallible> {
    let late = |_| Ok(Status::deadline_exceeded("the call took too long to come, or to be answered").into_http());
    tokio::time::timeout(patience, answer).await.unwrap_or_else(late)
}
