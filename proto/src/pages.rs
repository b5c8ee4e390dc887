//! Health and metrics over HTTP: three fixed pages for the kubelet and Prometheus, one request a connection. Everything about a
//! connection is bounded, since anybody in the cluster may open one.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::listen::{Limits, Place, Places};

/// Few from one address, so that nobody keeps the kubelet out.
const CONNECTIONS: Limits = Limits { all: 64, each: 8 };
const REQUEST_BYTES: usize = 8 << 10;
/// For a whole connection.
const PATIENCE: Duration = Duration::from_secs(5);
/// After an error that is the system's, before the next try.
const PAUSE: Duration = Duration::from_millis(100);

/// A page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    pub status: &'static str,
    pub kind: &'static str,
    pub body: String,
}

const TEXT: &str = "text/plain; charset=utf-8";
/// As Prometheus reads it.
const METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

impl Page {
    /// A page that was found.
    #[must_use]
    pub fn ok(body: String) -> Page {
        Page { status: "200 OK", kind: TEXT, body }
    }

    /// What is counted.
    #[must_use]
    pub fn metrics(body: String) -> Page {
        Page { status: "200 OK", kind: METRICS, body }
    }

    /// Not now.
    #[must_use]
    pub fn unavailable(body: &str) -> Page {
        Page { status: "503 Service Unavailable", kind: TEXT, body: body.to_owned() }
    }

    /// No such page.
    #[must_use]
    pub fn not_found() -> Page {
        Page { status: "404 Not Found", kind: TEXT, body: "no such page\n".to_owned() }
    }
}

/// Serves the pages that `page` makes by path; never ends by itself.
pub async fn serve(listener: TcpListener, page: impl Fn(&str) -> Page + Send + Sync + 'static) {
    let (page, places) = (Arc::new(page), Places::new(CONNECTIONS));
    let mut open = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = open.join_next() => continue,
        };
        match accepted {
            Ok((stream, peer)) => {
                let Some(place) = Place::take(&places, peer.ip().to_canonical()) else { continue };
                let page = Arc::clone(&page);
                open.spawn(async move {
                    let _place = place;
                    // Whoever is too slow or gone gets nothing.
                    let _ = tokio::time::timeout(PATIENCE, answer(stream, &*page)).await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn answer(mut stream: TcpStream, page: &(impl Fn(&str) -> Page + Sync)) -> std::io::Result<()> {
    let mut request: Vec<u8> = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        if request.len() > REQUEST_BYTES || stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    let Page { status, kind, body } = path(&request).map_or_else(Page::not_found, page);
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await
}

/// The path of a GET.
fn path(request: &[u8]) -> Option<&str> {
    let line = request.split(|byte| *byte == b'\r').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    let (method, target) = (words.next()?, words.next()?);
    (method == "GET").then(|| target.split('?').next().unwrap_or(target))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(address: std::net::SocketAddr, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// A connection that comes from this address.
    async fn from(own: [u8; 4], to: std::net::SocketAddr) -> TcpStream {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind((own, 0).into()).unwrap();
        socket.connect(to).await.unwrap()
    }

    #[tokio::test]
    async fn who_holds_connections_open_keeps_nobody_else_out() {
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let address = ([127, 0, 0, 1], listener.local_addr().unwrap().port()).into();
        let server = tokio::spawn(serve(listener, |_| Page::ok("ok".to_owned())));
        let mut held = Vec::new();
        for _ in 0..CONNECTIONS.each {
            let mut stream = from([127, 0, 0, 1], address).await;
            stream.write_all(b"GET /hea").await.unwrap();
            held.push(stream);
        }
        let mut one_more = from([127, 0, 0, 1], address).await;
        let mut nothing = Vec::new();
        assert!(one_more.read_to_end(&mut nothing).await.is_err() || nothing.is_empty(), "turned away");
        let mut other = from([127, 0, 0, 2], address).await;
        other.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        other.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
        server.abort();
    }

    #[tokio::test]
    async fn pages_are_found_by_path_and_garbage_gets_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server =
            tokio::spawn(serve(
                listener,
                |path| if path == "/healthz" { Page::ok("ok\n".to_owned()) } else { Page::not_found() },
            ));
        let answer = ask(address, b"GET /healthz?verbose HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nok\n"), "{answer}");
        assert!(ask(address, b"GET / HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 404"));
        assert!(ask(address, b"POST /healthz HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 404"));
        assert!(ask(address, b"\xff\xfe\r\n\r\n").await.starts_with("HTTP/1.1 404"));
        let mut long = TcpStream::connect(address).await.unwrap();
        let _ = long.write_all(&vec![b'a'; 64 << 10]).await;
        let mut nothing = Vec::new();
        let read = long.read_to_end(&mut nothing).await;
        assert!(read.is_err() || nothing.is_empty());
        server.abort();
    }
}
