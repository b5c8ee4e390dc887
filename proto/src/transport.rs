//! How connections are set: windows and frames that let one stream fill the path, keep-alive that notices a dead peer.

use std::time::Duration;

use tonic::Status;
use tonic::transport::server::Router;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Error, Identity, Server, ServerTlsConfig};

use crate::{AgentClient, MasterClient};

/// Flow-control window of a stream: how much may be on the way before the reader takes it.
pub const STREAM_WINDOW: u32 = 2 << 20;
/// The same for a connection, on the side that is written to by many: what it can be made to hold unread.
pub const CONNECTION_WINDOW: u32 = 8 << 20;
/// The same for a stream of many that are open at a time.
pub const NARROW_WINDOW: u32 = 128 << 10;
/// A client opens its streams itself and knows how many: readers that wait for each other (a merge) must never stand behind
/// one window.
const CLIENT_CONNECTION_WINDOW: u32 = 1 << 30;
/// The largest HTTP/2 frame.
pub const FRAME: u32 = 1 << 20;
/// The largest packed message among ourselves: inventories, plans, tasks.
pub const PACKED_LIMIT: usize = 256 << 20;
/// Calls that one connection may have open.
const STREAMS: u32 = 1024;
/// Lists of lost attempts travel in headers.
const HEADERS: u32 = 128 << 10;

const KEEP_ALIVE: Duration = Duration::from_secs(5);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The name in every certificate of the authority: peers are found by address, and known by the authority.
pub const SERVER_NAME: &str = "gleamflow";

/// Metadata of the answer of an operator that does not lead: the leader's address, empty if there is none.
const LEADER_HEADER: &str = "gleamflow-leader";

/// A channel to `address` (`host:port`), trusting `authority` (PEM) alone; connects at the first call.
///
/// # Errors
/// If the address or the authority is none.
pub fn channel(address: &str, authority: &str) -> Result<Channel, Error> {
    Ok(secured(address, authority)?.connect_lazy())
}

/// As `channel`, without TLS, for tests of one process.
///
/// # Errors
/// If the address is none.
pub fn plain_channel(address: &str) -> Result<Channel, Error> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
    Ok(set(endpoint).connect_lazy())
}

/// As `channel` (`plain_channel` without an authority), for many streams at a time that each hold little.
///
/// # Errors
/// If the address or the authority is none.
pub fn narrow_channel(address: &str, authority: Option<&str>) -> Result<Channel, Error> {
    let endpoint = match authority {
        Some(authority) => secured(address, authority)?,
        None => set(Endpoint::from_shared(format!("http://{address}"))?),
    };
    Ok(endpoint.initial_stream_window_size(NARROW_WINDOW).connect_lazy())
}

fn secured(address: &str, authority: &str) -> Result<Endpoint, Error> {
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authority)).domain_name(SERVER_NAME);
    set(Endpoint::from_shared(format!("https://{address}"))?).tls_config(tls)
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

/// A server to add services to; `identity`: certificate and key (PEM), `None` for tests of one process.
///
/// # Errors
/// If the certificate or key is none.
pub fn server(identity: Option<(&str, &str)>) -> Result<Server, Error> {
    let server = Server::builder()
        .tcp_nodelay(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME)
        .max_concurrent_streams(STREAMS)
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_TIMEOUT));
    match identity {
        Some((certificate, key)) => server.tls_config(ServerTlsConfig::new().identity(Identity::from_pem(certificate, key))),
        None => Ok(server),
    }
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

/// A channel through a connection that is there already (a port-forward), as `channel`.
///
/// # Errors
/// If the authority is none, or the other side is not of it.
pub async fn channel_through<S>(stream: S, authority: &str) -> Result<Channel, Error>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let mut stream = Some(hyper_util::rt::TokioIo::new(stream));
    let connector = tower::service_fn(move |_| {
        // A connection that broke cannot be had again.
        let stream = stream.take().ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotConnected));
        std::future::ready(stream)
    });
    secured(SERVER_NAME, authority)?.connect_with_connector(connector).await
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
