//! How connections are set: windows and frames that let one stream fill the path, keep-alive that notices a dead peer.

use std::time::Duration;

use tonic::transport::server::Router;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Error, Identity, Server, ServerTlsConfig};

/// Flow-control window of a stream: how much may be on the way before the reader takes it.
pub const STREAM_WINDOW: u32 = 4 << 20;
/// The same for a connection.
pub const CONNECTION_WINDOW: u32 = 16 << 20;
/// The largest HTTP/2 frame.
pub const FRAME: u32 = 1 << 20;

const KEEP_ALIVE: Duration = Duration::from_secs(5);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The name in every certificate of the authority: peers are found by address, and known by the authority.
pub const SERVER_NAME: &str = "gleamflow";

/// A channel to `address` (`host:port`), trusting `authority` (PEM) alone; connects at the first call.
///
/// # Errors
/// If the address or the authority is none.
pub fn channel(address: &str, authority: &str) -> Result<Channel, Error> {
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authority)).domain_name(SERVER_NAME);
    Ok(endpoint(address)?.tls_config(tls)?.connect_lazy())
}

/// As `channel`, without TLS, for tests of one process.
///
/// # Errors
/// If the address is none.
pub fn plain_channel(address: &str) -> Result<Channel, Error> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
    Ok(set(endpoint).connect_lazy())
}

fn endpoint(address: &str) -> Result<Endpoint, Error> {
    Ok(set(Endpoint::from_shared(format!("https://{address}"))?))
}

fn set(endpoint: Endpoint) -> Endpoint {
    endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
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
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_TIMEOUT));
    match identity {
        Some((certificate, key)) => server.tls_config(ServerTlsConfig::new().identity(Identity::from_pem(certificate, key))),
        None => Ok(server),
    }
}

/// What [`server`] becomes with its services.
pub type Services = Router;
