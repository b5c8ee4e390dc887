//! Connections: accepted, encrypted, named and counted. Nothing that a stranger does on a port costs more than its connection.

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
use tokio::time::Sleep;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

use crate::credentials::Credentials;
use crate::peer::{Member, Peer, Shown};

/// A client that has not shaken hands by then is none.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Who shows no certificate has a few places of its own, and each for a while: longer than a large output takes to be read.
const STRANGERS: usize = 128;
const STRANGERS_EACH: usize = 16;
const STRANGERS_TIME: Duration = Duration::from_secs(3600);
/// After an error that is the system's (too many open files), before the next try.
const PAUSE: Duration = Duration::from_millis(100);

/// How many connections there may be at a time, in all and from one address (a pod has its own).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub all: usize,
    pub each: usize,
}

/// A connection that a server can be given.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    peer: Peer,
    _place: Place,
    /// Of a stranger.
    end: Option<Pin<Box<Sleep>>>,
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Connections as they become usable. `credentials`: `None` without TLS, for tests of one process. Ends when it is dropped.
#[must_use]
pub fn connections(
    listener: TcpListener,
    credentials: Option<Arc<Credentials>>,
    limits: Limits,
) -> ReceiverStream<io::Result<Connection>> {
    let (ready, connections) = mpsc::channel(1);
    tokio::spawn(accept_all(listener, credentials, limits, ready));
    ReceiverStream::new(connections)
}

async fn accept_all(
    listener: TcpListener,
    credentials: Option<Arc<Credentials>>,
    limits: Limits,
    ready: mpsc::Sender<io::Result<Connection>>,
) {
    let members = Places::new(limits);
    let strangers = Places::new(Limits { all: STRANGERS, each: STRANGERS_EACH });
    let mut handshakes = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = handshakes.join_next() => continue,
            () = ready.closed() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                if let Some(place) = Place::take(&members, peer.ip().to_canonical()) {
                    let (credentials, strangers, ready) = (credentials.clone(), Arc::clone(&strangers), ready.clone());
                    handshakes.spawn(async move {
                        if let Some(connection) = shake_hands(stream, place, credentials.as_deref(), &strangers).await {
                            // If the server is gone, the connection goes too.
                            let _ = ready.send(Ok(connection)).await;
                        }
                    });
                }
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn shake_hands(
    stream: TcpStream,
    place: Place,
    credentials: Option<&Credentials>,
    strangers: &Arc<Places>,
) -> Option<Connection> {
    stream.set_nodelay(true).ok()?;
    let address = place.peer;
    let Some(credentials) = credentials else {
        let peer = Peer { address, shown: Shown::Plain };
        return Some(Connection { stream: Stream::Plain(stream), peer, _place: place, end: None });
    };
    // The newest; without one nobody is served yet.
    let acceptor = TlsAcceptor::from(credentials.server()?);
    let stream = match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(peer = %address, %error, "a handshake failed");
            return None;
        }
        Err(_) => {
            tracing::debug!(peer = %address, "a handshake took too long");
            return None;
        }
    };
    let shown = shown(&stream);
    let peer = Peer { address, shown };
    let stream = Stream::Tls(Box::new(stream));
    if peer.shown != Shown::Nothing {
        return Some(Connection { stream, peer, _place: place, end: None });
    }
    let place = Place::take(strangers, address)?;
    Some(Connection { stream, peer, _place: place, end: Some(Box::pin(tokio::time::sleep(STRANGERS_TIME))) })
}

/// A certificate that is here was checked in the handshake.
fn shown(stream: &TlsStream<TcpStream>) -> Shown {
    let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    certificate.and_then(|certificate| Member::of_certificate(certificate)).map_or(Shown::Nothing, Shown::Member)
}

/// Who is there, by address.
#[derive(Debug)]
pub(crate) struct Places {
    limits: Limits,
    by_peer: Mutex<HashMap<IpAddr, usize>>,
}

impl Places {
    pub(crate) fn new(limits: Limits) -> Arc<Places> {
        Arc::new(Places { limits, by_peer: Mutex::default() })
    }
}

/// A place that one of them has taken; free again when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    peer: IpAddr,
}

impl Place {
    pub(crate) fn take(places: &Arc<Places>, peer: IpAddr) -> Option<Place> {
        let mut by_peer = places.by_peer.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = by_peer.values().sum();
        let own = by_peer.get(&peer).copied().unwrap_or(0);
        if all >= places.limits.all || own >= places.limits.each {
            tracing::debug!(%peer, all, own, "too many at a time");
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
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.end.as_mut().is_some_and(|end| end.as_mut().poll(context).is_ready()) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
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
