//! An object store of a few lines: one bucket with one object, which asks for a signature; at an address that pods reach.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use e2e::Cluster;

/// What it holds.
pub(crate) const KEY: &str = "in.txt";
pub(crate) const LINES: &str = "one\ntwo\nthree\n";

/// The store; serves for as long as the process lives.
pub(crate) struct Store {
    /// For `endpoint`.
    pub(crate) endpoint: String,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Store {
    pub(crate) fn start(cluster: &Cluster) -> Result<Store> {
        let listener = TcpListener::bind("0.0.0.0:0").context("no port is free")?;
        let port = listener.local_addr().context("it is bound")?.port();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&heads);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let seen = Arc::clone(&seen);
                std::thread::spawn(move || answer(&stream, &seen));
            }
        });
        Ok(Store { endpoint: format!("http://{}:{port}", gateway(cluster)?), heads })
    }

    /// Whether a request came that was signed with this id.
    pub(crate) fn was_asked_by(&self, id: &str) -> bool {
        let heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
        heads.iter().any(|head| head.contains(&format!("Credential={id}/")))
    }
}

/// Where this process is for nodes and pods: the first address of the nodes' network.
fn gateway(cluster: &Cluster) -> Result<String> {
    let address =
        cluster.kubectl(&["get", "nodes", "-o", "jsonpath={.items[0].status.addresses[?(@.type==\"InternalIP\")].address}"])?;
    let (network, _) = address.trim().rsplit_once('.').with_context(|| format!("a node's address is {address:?}"))?;
    Ok(format!("{network}.1"))
}

fn answer(mut stream: &TcpStream, seen: &Mutex<Vec<String>>) {
    let mut head = String::new();
    let mut reader = BufReader::new(stream);
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).unwrap_or(0) == 0 {
            return;
        }
    }
    let response = respond(&head);
    seen.lock().unwrap_or_else(PoisonError::into_inner).push(head);
    // The client may have gone.
    let _ = stream.write_all(&response);
}

fn respond(head: &str) -> Vec<u8> {
    let target = head.split(' ').nth(1).unwrap_or_default();
    let signed = head.lines().any(|line| line.to_ascii_lowercase().starts_with("authorization: aws4-hmac-sha256"));
    if !signed || target.contains("denied") {
        return reply(head, "403 Forbidden", "", b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>");
    }
    if target.contains("list-type=2") {
        let prefix = target.split(['?', '&']).find_map(|part| part.strip_prefix("prefix=")).unwrap_or_default();
        let size = LINES.len();
        let found = format!(
            "<Contents><Key>{KEY}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>\"e\"</ETag><Size>{size}</Size></Contents>"
        );
        let found = if KEY.starts_with(prefix) { found.as_str() } else { "" };
        let list = format!("<?xml version=\"1.0\"?><ListBucketResult><IsTruncated>false</IsTruncated>{found}</ListBucketResult>");
        return reply(head, "200 OK", "Content-Type: application/xml\r\n", list.as_bytes());
    }
    if !target.ends_with(KEY) {
        return reply(head, "404 Not Found", "", b"<Error><Code>NoSuchKey</Code><Message>no such key</Message></Error>");
    }
    let headers = "ETag: \"e\"\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n";
    match range(head) {
        Some((from, to)) => {
            let headers = format!("{headers}Content-Range: bytes {from}-{}/{}\r\n", to - 1, LINES.len());
            reply(head, "206 Partial Content", &headers, &LINES.as_bytes()[from..to])
        }
        None => reply(head, "200 OK", headers, LINES.as_bytes()),
    }
}

/// First byte and end of what is asked for, where it is a part.
fn range(head: &str) -> Option<(usize, usize)> {
    let line = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("range: bytes=").map(str::to_owned))?;
    let (from, to) = line.trim().split_once('-')?;
    let from = from.parse().ok()?;
    let to = to.parse().map_or(LINES.len(), |last: usize| (last + 1).min(LINES.len()));
    (from < to).then_some((from, to))
}

fn reply(request: &str, status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n", body.len());
    let body = if request.starts_with("HEAD") { &[] } else { body };
    [head.as_bytes(), body].concat()
}
