//! The process: watches, lease, trust, servers, and the loop that looks at flows. Standing by differs from leading only in what it writes.

mod leader;
mod serve;
mod trusted;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, anyhow};
use kube::Client;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::cache::Cache;
use crate::config::{Arguments, Config};
use crate::http::{Health, serve};
use crate::lead::{Candidate, Lead, RENEW, Standing};
use crate::master::service::{Master, TlsConnect};
use crate::metrics::Metrics;
use crate::queue::Queue;
use crate::server::Server;
use crate::server::kube::KubeServer;
use crate::watch::{follow, watches};

use self::trusted::Held;

/// Longer than a request to the API server takes, shorter than the lease is trusted.
const ATTEMPT: Duration = Duration::from_secs(5);

/// The end of a leader that could not renew its lease in time: it begins anew, as one who stands by.
#[derive(Debug, thiserror::Error)]
#[error("the lease is lost: another operator leads, or the API server does not answer")]
pub struct LeaseLost;

/// What all parts of the process share.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    pub(crate) arguments: Arc<Arguments>,
    pub(crate) config: Arc<Config>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) lead: Arc<Lead>,
    pub(crate) cache: Arc<Mutex<Cache>>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) authority: Arc<Held>,
    /// Writes while this process leads.
    pub(crate) server: Arc<dyn Server>,
    /// Writes always: the lease, reviews, events.
    pub(crate) free: Arc<dyn Server>,
}

/// Runs the operator until `shutdown`.
///
/// # Errors
/// If it cannot start; [`LeaseLost`], if it is to begin anew.
pub async fn operate(arguments: Arguments, config: Config, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
    // Only the first caller of a process installs it; that it is installed is all that matters.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let client = Client::try_default().await.context("could not find the API server")?;
    let process = Process::new(arguments, config, client.clone());
    let mut tasks = JoinSet::new();
    let health = Arc::new(Health { ready: AtomicBool::new(false), metrics: Arc::clone(&process.metrics) });
    let address = SocketAddr::new([0, 0, 0, 0].into(), process.arguments.metrics_port);
    let listener = TcpListener::bind(address).await.with_context(|| format!("could not listen on {address}"))?;
    tasks.spawn({
        let health = Arc::clone(&health);
        async move {
            serve(listener, health).await;
            Err(anyhow!("the server of health and metrics ended"))
        }
    });
    let listed = process.watch(client, &mut tasks);
    let (standing, follows) = watch::channel(None);
    let master = Master::new(Arc::new(TlsConnect::default()));
    tasks.spawn(process.clone().keep_lease(standing, master.clone()));
    let (trust, trusted) = watch::channel(false);
    tasks.spawn(serve::grpc(process.clone(), master.clone(), (health, trust), listed.clone()));
    tasks.spawn(leader::lead(process.clone(), master, follows, (listed, trusted)));
    let ended = tokio::select! {
        () = shutdown => Ok(()),
        () = proto::footprint::keep_small() => Ok(()),
        Some(ended) = tasks.join_next() => ended.context("a part of the operator panicked").and_then(|ended| ended),
    };
    tasks.shutdown().await;
    process.lead.release(process.free.as_ref(), &process.candidate()).await;
    tracing::info!("the operator has ended");
    ended
}

impl Process {
    fn new(arguments: Arguments, config: Config, client: Client) -> Process {
        let metrics = Metrics::new();
        let lead = Arc::new(Lead::default());
        let fenced = KubeServer::new(client.clone(), Some(Arc::clone(&lead)), Arc::clone(&metrics));
        let free = KubeServer::new(client, None, Arc::clone(&metrics));
        Process {
            arguments: Arc::new(arguments),
            config: Arc::new(config),
            metrics,
            lead,
            cache: Arc::default(),
            queue: Arc::default(),
            authority: Arc::default(),
            server: Arc::new(fenced),
            free: Arc::new(free),
        }
    }

    /// Where this process is found.
    pub(crate) fn address(&self) -> String {
        SocketAddr::new(self.arguments.pod_ip, self.arguments.port).to_string()
    }

    fn candidate(&self) -> Candidate {
        Candidate {
            namespace: self.arguments.namespace.clone(),
            identity: self.arguments.pod_name.clone(),
            address: self.address(),
            now: jiff::Timestamp::now().as_microsecond(),
        }
    }

    /// Starts the watches; tells when all have listed.
    fn watch(&self, client: Client, tasks: &mut JoinSet<anyhow::Result<()>>) -> watch::Receiver<bool> {
        let server = KubeServer::new(client, None, Arc::clone(&self.metrics));
        let (all, listed) = watch::channel(false);
        let mut parts = Vec::new();
        for of in watches(&self.config.served(&self.arguments.namespace), self.config.cluster_scoped) {
            let (ready, part) = watch::channel(false);
            parts.push(part);
            let (server, cache, queue) = (server.clone(), Arc::clone(&self.cache), Arc::clone(&self.queue));
            tasks.spawn(async move {
                follow(server, of.clone(), cache, queue, ready).await;
                Err(anyhow!("the watch of {} ended", of.kind.names().3))
            });
        }
        tasks.spawn(async move {
            for mut part in parts {
                part.wait_for(|listed| *listed).await.context("a watch ended")?;
            }
            let _ = all.send(true);
            std::future::pending().await
        });
        listed
    }

    /// Takes the lease, or waits for it; ends when it was held and is lost.
    async fn keep_lease(self, standing: watch::Sender<Option<Standing>>, master: Master) -> anyhow::Result<()> {
        let mut led = false;
        loop {
            let candidate = self.candidate();
            let attempt = self.lead.attempt(self.free.as_ref(), &candidate);
            match tokio::time::timeout(ATTEMPT, attempt).await {
                Ok(Ok(now)) => {
                    led |= matches!(now, Standing::Leads(_));
                    if let (false, Standing::Follows(leader)) = (led, &now) {
                        master.stand_by(leader.clone());
                    }
                    standing.send_if_modified(|before| {
                        let changed = before.as_ref() != Some(&now);
                        *before = Some(now);
                        changed
                    });
                }
                Ok(Err(error)) => tracing::warn!(%error, "the lease could not be asked for"),
                Err(_) => tracing::warn!("the lease was asked for and no answer came"),
            }
            self.metrics.leads(self.lead.holds());
            if led && !self.lead.holds() {
                self.lead.lost();
                return Err(LeaseLost.into());
            }
            tokio::time::sleep(RENEW).await;
        }
    }
}

pub(crate) fn set_ready(health: &Health) {
    health.ready.store(true, Ordering::Release);
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or(0)
}
