//! Connections: accepted, encrypted, and counted. Nothing that a stranger does on the port costs more than its connection.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

/// Connections at a time, in all and from one address (a pod has its own; each slot is one connection).
const CONNECTIONS: usize = 2048;
const CONNECTIONS_EACH: usize = 256;
/// A client that has not shaken hands by then is none.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// After an error that is the system's (too many open files), before the next try.
const PAUSE: Duration = Duration::from_millis(100);

/// A connection that a server can be given.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    place: Place,
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Connections as they become usable. `acceptor`: `None` without TLS, for tests of one process. Ends when it is dropped.
#[must_use]
pub fn connections(listener: TcpListener, acceptor: Option<TlsAcceptor>) -> ReceiverStream<io::Result<Connection>> {
    let (ready, connections) = mpsc::channel(1);
    tokio::spawn(accept_all(listener, acceptor, ready));
    ReceiverStream::new(connections)
}

async fn accept_all(listener: TcpListener, acceptor: Option<TlsAcceptor>, ready: mpsc::Sender<io::Result<Connection>>) {
    let places = Arc::new(Places::default());
    let mut handshakes = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = handshakes.join_next() => continue,
            () = ready.closed() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                if let Some(place) = Place::take(&places, peer.ip().to_canonical()) {
                    handshakes.spawn(hand_over(stream, place, acceptor.clone(), ready.clone()));
                }
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn hand_over(stream: TcpStream, place: Place, acceptor: Option<TlsAcceptor>, ready: mpsc::Sender<io::Result<Connection>>) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let stream = match acceptor {
        None => Stream::Plain(stream),
        Some(acceptor) => match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => Stream::Tls(Box::new(stream)),
            Ok(Err(error)) => return tracing::debug!(peer = %place.peer, %error, "a handshake failed"),
            Err(_) => return tracing::debug!(peer = %place.peer, "a handshake took too long"),
        },
    };
    // If the server is gone, the connection goes too.
    let _ = ready.send(Ok(Connection { stream, place })).await;
}

/// Who is connected.
#[derive(Debug, Default)]
struct Places {
    by_peer: Mutex<HashMap<IpAddr, usize>>,
}

/// One connection's place; free again when dropped.
#[derive(Debug)]
struct Place {
    places: Arc<Places>,
    peer: IpAddr,
}

impl Place {
    fn take(places: &Arc<Places>, peer: IpAddr) -> Option<Place> {
        let mut by_peer = places.by_peer.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = by_peer.values().sum();
        let own = by_peer.get(&peer).copied().unwrap_or(0);
        if all >= CONNECTIONS || own >= CONNECTIONS_EACH {
            tracing::debug!(%peer, all, own, "too many connections");
            return None;
        }
        by_peer.insert(peer, own + 1);
        Some(Place { places: Arc::clone(places), peer })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut by_peer = self.places.by_peer.lock().unwrap_or_else(PoisonError::into_inner);
        let own = by_peer.get(&self.peer).copied().unwrap_or(0);
        if own > 1 {
            by_peer.insert(self.peer, own - 1);
        } else {
            by_peer.remove(&self.peer);
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = IpAddr;

    fn connect_info(&self) -> IpAddr {
        self.place.peer
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(context, into),
            Stream::Tls(stream) => Pin::new(stream).poll_read(context, into),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(context, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(context, bytes),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(context),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
