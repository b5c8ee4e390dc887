//! The agent: one on each node, holds what tasks leave for other tasks, and gives it to them.
//!
//! ```text
//!  executors ──Put──► put ─► output ──► store ──► give ──Fetch──► executors
//!                      │ room? ▲          ▲ Name, Release, Inventory
//!                      ▼       │          └───────────────────────────── operator
//!                     room: budget                                           ▲
//!                              ▲ order of runs          link: Enroll, Beat ──┘
//! ```
//!
//! Memory first, then disk, then writers wait (`budget`). All is bounded: what is held, what is on its way in (writers times
//! the window of a stream) and out (smaller messages for more readers), connections, and what a message may cost.

pub mod access;
pub mod budget;
pub mod give;
pub mod identity;
pub mod link;
pub mod metrics;
pub mod options;
pub mod output;
pub mod process;
pub mod put;
pub mod room;
pub mod service;
pub mod store;
#[cfg(test)]
mod tests;

use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;

use proto::footprint;
use proto::listen::{Limits, connections};
use proto::pages::{self, Page};
use proto::transport::{Serves, server};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use access::Access;
use give::Outgo;
use link::Link;
use metrics::Metrics;
use options::Options;
use put::Intake;
use room::Room;
use service::Service;
use store::Store;

/// Threads for calls: encryption is what costs, and the node's cores belong to executors.
const THREADS: usize = 4;
/// Each slot of an executor is a connection or two.
pub const LIMITS: Limits = Limits { all: 2048, each: 256 };

/// Why an agent ended.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error("the system does not give what an agent needs")]
    Process(#[source] std::io::Error),
    #[error(transparent)]
    Options(#[from] options::BadOptions),
    #[error("could not listen on port {port}")]
    Listen {
        port: u16,
        #[source]
        source: std::io::Error,
    },
    #[error("could not write to the spill folder {}", folder.display())]
    Spill {
        folder: std::path::PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(transparent)]
    Link(#[from] link::LinkError),
    #[error("the server ended")]
    Server(#[source] tonic::transport::Error),
}

/// Runs an agent as its pod's environment says, until it is told to end.
///
/// # Errors
/// [`AgentError`]: if it cannot begin, or its server ends by itself.
pub fn run() -> Result<(), AgentError> {
    process::prepare().map_err(AgentError::Process)?;
    let options = Options::new(|name| std::env::var(name).ok())?;
    let threads = std::thread::available_parallelism().map_or(2, usize::from).clamp(2, THREADS);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build().map_err(AgentError::Process)?;
    let ended = runtime.block_on(async {
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
        let stop = async {
            tokio::select! {
                () = told(&mut terminate) => {}
                () = told(&mut interrupt) => {}
            }
        };
        serve(options, stop).await
    });
    // What is held goes with the pod's volume: nothing is worth waiting for.
    runtime.shutdown_background();
    ended
}

async fn told(signal: &mut std::io::Result<tokio::signal::unix::Signal>) {
    match signal {
        Ok(signal) => drop(signal.recv().await),
        Err(error) => {
            tracing::warn!(%error, "a signal cannot be waited for");
            std::future::pending::<()>().await;
        }
    }
}

/// Runs an agent until `stop`.
///
/// # Errors
/// [`AgentError`].
pub async fn serve(options: Options, stop: impl Future<Output = ()>) -> Result<(), AgentError> {
    // Found out now rather than in the middle of a run.
    drop(tempfile::tempfile_in(&options.spill).map_err(|source| AgentError::Spill { folder: options.spill.clone(), source })?);
    let pages = listen(options.health_port).await?;
    let calls = listen(options.port).await?;
    let port = calls.local_addr().map_err(|source| AgentError::Listen { port: options.port, source })?.port();
    let address = SocketAddr::new(options.address, port).to_string();
    let service = make_service(&options);
    let link = Arc::new(Link::new(options, address, service.clone())?);
    let (ready, intake) = (Arc::clone(&link), service.intake.clone());
    let work = async {
        // Until it is enrolled it has no certificate to serve with.
        let badge = link.enrolled().await;
        let connections = connections(calls, Some(Arc::clone(link.credentials())), LIMITS);
        let serving = server(Serves::Agent).add_service(service.gated()).serve_with_incoming(connections);
        tokio::select! {
            ended = serving => ended.map_err(AgentError::Server),
            () = link.beat_on(badge) => Ok(()),
        }
    };
    tokio::select! {
        ended = work => ended,
        () = pages::serve(pages, move |path| page(path, &ready, &intake)) => Ok(()),
        () = footprint::keep_small() => Ok(()),
        () = stop => Ok(()),
    }
}

/// All parts of an agent but its link.
#[must_use]
pub fn make_service(options: &Options) -> Service {
    let (store, metrics) = (Arc::new(Store::default()), Arc::new(Metrics::new()));
    let room = Room::new(options.budget());
    let outgo = Outgo { store: Arc::clone(&store), metrics: Arc::clone(&metrics), memory: options.outgoing_memory() };
    let intake = Intake { store, room, spill: options.spill.clone(), metrics };
    Service { access: Arc::new(Access::new(proto::token::now)), intake, outgo }
}

fn page(path: &str, link: &Link, intake: &Intake) -> Page {
    match path {
        "/healthz" => Page::ok("ok\n".to_owned()),
        "/readyz" if link.is_ready() => Page::ok("ok\n".to_owned()),
        "/readyz" => Page::unavailable("not enrolled, or no leader has answered for 30 s\n"),
        "/metrics" => intake.metrics_page(),
        _ => Page::not_found(),
    }
}

impl Intake {
    fn metrics_page(&self) -> Page {
        let metrics = &self.metrics;
        metrics.runs.set(self.store.runs().len() as u64);
        let budget = self.room.budget();
        metrics.memory_used.set(budget.memory_used);
        metrics.memory_limit.set(budget.memory_limit);
        metrics.disk_used.set(budget.disk_used);
        metrics.disk_limit.set(budget.disk_limit);
        metrics.waiting.set(budget.waiting().len() as u64);
        metrics.writers.set(budget.writers() as u64);
        drop(budget);
        metrics.page().map_or_else(|_| Page::unavailable("the metrics cannot be written\n"), Page::metrics)
    }
}

/// On all addresses, of both families where there are two.
async fn listen(port: u16) -> Result<TcpListener, AgentError> {
    let all = [SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)), SocketAddr::from(([0, 0, 0, 0], port))];
    TcpListener::bind(&all[..]).await.map_err(|source| AgentError::Listen { port, source })
}
