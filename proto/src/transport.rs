//! How connections are set: windows and frames that let one stream fill the path, keep-alive that notices a dead peer.

use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::Status;
use tonic::transport::server::Router;
use tonic::transport::{Channel, Endpoint, Error, Server};

use crate::credentials::Credentials;
use crate::{AgentClient, MasterClient};

/// Flow-control window of a stream: how much may be on the way before the reader takes it.
pub const STREAM_WINDOW: u32 = 2 << 20;
/// The same for a connection, on the side that is written to by many: what it can be made to hold unread.
pub const CONNECTION_WINDOW: u32 = 8 << 20;
/// The same for a stream of many that are open at a time.
pub const NARROW_WINDOW: u32 = 128 << 10;
/// The same of the operator.
const OPERATOR_STREAM_WINDOW: u32 = 256 << 10;
const OPERATOR_CONNECTION_WINDOW: u32 = 1 << 20;
/// A client opens its streams itself and knows how many: readers that wait for each other (a merge) must never stand behind
/// one window.
const CLIENT_CONNECTION_WINDOW: u32 = 1 << 30;
/// The largest HTTP/2 frame.
pub const FRAME: u32 = 1 << 20;
/// The largest packed message among ourselves: inventories, plans, tasks.
pub const PACKED_LIMIT: usize = 256 << 20;
/// Calls that one connection may have open.
const STREAMS: u32 = 1024;
/// The same to the operator: a slot has one, an agent two.
const OPERATOR_STREAMS: u32 = 16;
/// Lists of lost attempts travel in headers, to clients.
const HEADERS: u32 = 128 << 10;

const KEEP_ALIVE: Duration = Duration::from_secs(5);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Who serves at an address. Peers are found by address and known by the authority; the name in a certificate says what its
/// holder may serve as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Serves {
    Operator,
    Agent,
}

impl Serves {
    /// The DNS name in its certificates.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Serves::Operator => "operator.gleamflow",
            Serves::Agent => "agent.gleamflow",
        }
    }
}

/// Metadata of the answer of an operator that does not lead: the leader's address, empty if there is none.
const LEADER_HEADER: &str = "gleamflow-leader";

/// Where a channel leads.
#[derive(Clone, Copy, Debug)]
pub struct To<'a> {
    /// `host:port`.
    pub address: &'a str,
    pub serves: Serves,
    /// What we are known by there; `None` without TLS, for tests of one process.
    pub credentials: Option<&'a Arc<Credentials>>,
}

impl<'a> To<'a> {
    /// The operator at an address.
    #[must_use]
    pub fn operator(address: &'a str, credentials: Option<&'a Arc<Credentials>>) -> To<'a> {
        To { address, serves: Serves::Operator, credentials }
    }

    /// The agent at an address.
    #[must_use]
    pub fn agent(address: &'a str, credentials: Option<&'a Arc<Credentials>>) -> To<'a> {
        To { address, serves: Serves::Agent, credentials }
    }
}

/// A channel; connects at the first call, and anew whenever it must, with the newest credentials.
///
/// # Errors
/// If the address is none.
pub fn channel(to: To<'_>) -> Result<Channel, Error> {
    Ok(opened(to, endpoint(to.address)?))
}

/// As `channel`, for many streams at a time that each hold little.
///
/// # Errors
/// If the address is none.
pub fn narrow_channel(to: To<'_>) -> Result<Channel, Error> {
    Ok(opened(to, endpoint(to.address)?.initial_stream_window_size(NARROW_WINDOW)))
}

fn opened(to: To<'_>, endpoint: Endpoint) -> Channel {
    let Some(credentials) = to.credentials else { return endpoint.connect_lazy() };
    let (address, serves, credentials) = (to.address.to_owned(), to.serves, Arc::clone(credentials));
    let connect = move |_: http::Uri| {
        let (address, credentials) = (address.clone(), Arc::clone(&credentials));
        async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            encrypted(stream, serves, &credentials).await
        }
    };
    endpoint.connect_with_connector_lazy(tower::service_fn(connect))
}

/// The name is for the other side's HTTP alone: where it leads is the connector's to know, and whether it is encrypted too.
fn endpoint(address: &str) -> Result<Endpoint, Error> {
    Ok(set(Endpoint::from_shared(format!("http://{address}"))?))
}

async fn encrypted<S>(stream: S, serves: Serves, credentials: &Credentials) -> std::io::Result<TokioIo<TlsStream<S>>>
where
    S: AsyncRead + AsyncWrite + Send + Unpin,
{
    let name = ServerName::try_from(serves.name()).expect("it is a DNS name");
    Ok(TokioIo::new(TlsConnector::from(credentials.client()).connect(name, stream).await?))
}

fn set(endpoint: Endpoint) -> Endpoint {
    endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CLIENT_CONNECTION_WINDOW)
        .max_frame_size(FRAME)
        .http2_max_header_list_size(HEADERS)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
}

/// A server to add services to. It is given connections ([`crate::listen`]), which are encrypted already.
#[must_use]
pub fn server(serves: Serves) -> Server {
    let (stream, connection, streams) = match serves {
        // Its messages are small, and strangers may send some.
        Serves::Operator => (OPERATOR_STREAM_WINDOW, OPERATOR_CONNECTION_WINDOW, OPERATOR_STREAMS),
        Serves::Agent => (STREAM_WINDOW, CONNECTION_WINDOW, STREAMS),
    };
    Server::builder()
        .initial_stream_window_size(stream)
        .initial_connection_window_size(connection)
        .max_frame_size(FRAME)
        .max_concurrent_streams(streams)
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_TIMEOUT))
}

/// What [`server`] becomes with its services.
pub type Services = Router;

/// A client of an agent that takes inventories of any size.
#[must_use]
pub fn agent_client(channel: Channel) -> AgentClient<Channel> {
    AgentClient::new(channel).max_decoding_message_size(PACKED_LIMIT)
}

/// A client of the operator that takes plans and tasks of any size.
#[must_use]
pub fn master_client(channel: Channel) -> MasterClient<Channel> {
    MasterClient::new(channel).max_decoding_message_size(PACKED_LIMIT)
}

/// What an operator that does not lead answers to a call that has no such answer of its own (`Enroll`, `Output`).
#[must_use]
pub fn not_leader(leader: Option<&str>) -> Status {
    let mut status = Status::unavailable("this operator does not lead");
    if let Ok(value) = leader.unwrap_or_default().parse() {
        status.metadata_mut().insert(LEADER_HEADER, value);
    }
    status
}

/// `Some` for the answer of an operator that does not lead, with the leader's address if it knows one.
#[must_use]
pub fn leader_of(status: &Status) -> Option<Option<String>> {
    let value = status.metadata().get(LEADER_HEADER)?.to_str().ok()?;
    Some((!value.is_empty()).then(|| value.to_owned()))
}

/// A channel to the operator through a connection that is there already (a port-forward).
///
/// # Errors
/// If the other side is no operator of the authority.
pub async fn channel_through<S>(stream: S, credentials: &Arc<Credentials>) -> Result<Channel, Error>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut stream, credentials) = (Some(stream), Arc::clone(credentials));
    let connector = tower::service_fn(move |_: http::Uri| {
        // A connection that broke cannot be had again.
        let stream = stream.take().ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotConnected));
        let credentials = Arc::clone(&credentials);
        async move { encrypted(stream?, Serves::Operator, &credentials).await }
    });
    endpoint(Serves::Operator.name())?.connect_with_connector(connector).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_does_not_lead_says_who_does() {
        assert_eq!(leader_of(&not_leader(Some("10.0.0.1:7400"))), Some(Some("10.0.0.1:7400".to_owned())));
        assert_eq!(leader_of(&not_leader(None)), Some(None));
        assert_eq!(leader_of(&Status::unavailable("no route")), None);
    }
}
