//! An S3-compatible object store of a few lines, at an address that pods reach: objects, uploads in parts, listings. It asks for a
//! signature (which it does not compare), and can keep requests waiting, so that whoever asks stands still there.

mod bucket;
mod request;

use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use e2e::Cluster;

use self::bucket::Bucket;
pub(crate) use self::bucket::Object;
use self::request::Request;
use crate::product::{self, until};

/// What it holds from the beginning.
pub(crate) const KEY: &str = "in.txt";
pub(crate) const LINES: &str = "one\ntwo\nthree\n";
/// The bucket of that.
const BUCKET: &str = "bucket";

/// The store; serves for as long as the process lives.
pub(crate) struct Store {
    /// For `endpoint`.
    pub(crate) endpoint: String,
    inside: Arc<Inside>,
}

#[derive(Default)]
struct Inside {
    bucket: Mutex<Bucket>,
    heads: Mutex<Vec<String>>,
    doors: Mutex<Vec<Door>>,
    opened: Condvar,
}

/// Requests of this kind wait until it is opened; then they are done, though their client may be dead.
pub(crate) struct Door {
    name: String,
    method: &'static str,
    /// All of them are in the target.
    parts: Vec<String>,
    came: usize,
    is_open: bool,
}

impl Door {
    /// A name, and what the targets of its requests have in them.
    pub(crate) fn new(name: &str, method: &'static str, parts: &[&str]) -> Door {
        let parts = parts.iter().map(|part| (*part).to_owned()).collect();
        Door { name: name.to_owned(), method, parts, came: 0, is_open: false }
    }

    fn fits(&self, request: &Request) -> bool {
        request.method == self.method && self.parts.iter().all(|part| request.target.contains(part.as_str()))
    }
}

impl Store {
    pub(crate) fn start(cluster: &Cluster) -> Result<Store> {
        let listener = TcpListener::bind("0.0.0.0:0").context("no port is free")?;
        let port = listener.local_addr().context("it is bound")?.port();
        let inside = Arc::new(Inside::default());
        held(&inside.bucket).put(&format!("{BUCKET}/{KEY}"), LINES.as_bytes().to_vec());
        let serving = Arc::clone(&inside);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let serving = Arc::clone(&serving);
                std::thread::spawn(move || serving.answer(&stream));
            }
        });
        Ok(Store { endpoint: format!("http://{}:{port}", gateway(cluster)?), inside })
    }

    /// Whether a request came that was signed with this id.
    pub(crate) fn was_asked_by(&self, id: &str) -> bool {
        held(&self.inside.heads).iter().any(|head| head.contains(&format!("Credential={id}/")))
    }

    /// Has requests wait from now on.
    pub(crate) fn close(&self, door: Door) {
        held(&self.inside.doors).push(door);
    }

    /// Waits until a request waits at a door.
    pub(crate) fn await_waiting(&self, name: &str) -> Result<()> {
        until(product::PATIENCE, &format!("a request that waits at {name}"), || {
            Ok(held(&self.inside.doors).iter().any(|door| door.name == name && door.came > 0).then_some(()))
        })
    }

    /// Lets all requests go on.
    pub(crate) fn open(&self) {
        held(&self.inside.doors).iter_mut().for_each(|door| door.is_open = true);
        self.inside.opened.notify_all();
    }

    /// Objects whose keys, behind the name of their bucket, begin like this.
    pub(crate) fn objects(&self, prefix: &str) -> Vec<Object> {
        held(&self.inside.bucket).objects(prefix)
    }

    /// Keys of uploads that were begun and neither completed nor aborted.
    pub(crate) fn uploads(&self) -> Vec<String> {
        held(&self.inside.bucket).uploads()
    }
}

impl Inside {
    fn answer(&self, mut stream: &TcpStream) {
        use std::io::Write as _;
        let Some(request) = Request::read(stream) else { return };
        held(&self.heads).push(request.head.clone());
        self.pass(&request);
        let response = held(&self.bucket).answer(&request);
        // The client may have gone.
        let _ = stream.write_all(&response);
    }

    fn pass(&self, request: &Request) {
        let mut doors = held(&self.doors);
        doors.iter_mut().filter(|door| door.fits(request)).for_each(|door| door.came += 1);
        while doors.iter().any(|door| !door.is_open && door.fits(request)) {
            doors = self.opened.wait(doors).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where this process is for nodes and pods: the first address of the nodes' network.
fn gateway(cluster: &Cluster) -> Result<String> {
    let address =
        cluster.kubectl(&["get", "nodes", "-o", "jsonpath={.items[0].status.addresses[?(@.type==\"InternalIP\")].address}"])?;
    let (network, _) = address.trim().rsplit_once('.').with_context(|| format!("a node's address is {address:?}"))?;
    Ok(format!("{network}.1"))
}
