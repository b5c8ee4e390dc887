//! The gRPC server, on leader and standby alike, and what it is known by: kept new while it serves.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use proto::credentials::{Credentials, Door, Papers};
use proto::listen::{Limits, connections};
use proto::transport::{Serves, server};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::trusted::Trusted;
use super::{Process, now, set_ready};
use crate::authority::{Authority, Issued};
use crate::http::Health;
use crate::master::service::Master;
use crate::review::Reviewer;

/// How often a standby looks whether the leader has made the authority.
const LOOK: Duration = Duration::from_secs(1);
/// Each slot of an executor is a connection.
const LIMITS: Limits = Limits { all: 16_384, each: 1100 };

/// Serves; ends only if it cannot.
pub(super) async fn grpc(
    process: Process,
    master: Master,
    (health, trusted): (Arc<Health>, watch::Sender<bool>),
    mut listed: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let authority = process.authority.set(authority(&process).await?);
    let own = Own::new(&process, &authority)?;
    // Agents without a certificate ask for one here, and people have none.
    let credentials = Credentials::new(own.papers.clone(), Door::Anybody).context("could not set the server up")?;
    let reviewer = Reviewer::new(Arc::clone(&process.free), process.arguments.namespace.clone());
    master.set_trust(Arc::new(Trusted {
        authority: Arc::clone(&process.authority),
        credentials: Arc::clone(&credentials),
        reviewer,
        server: Arc::clone(&process.free),
    }));
    // Nobody listens on a standby yet; the value is what counts.
    trusted.send_replace(true);
    let address = SocketAddr::new([0, 0, 0, 0].into(), process.arguments.port);
    let listener = TcpListener::bind(address).await.with_context(|| format!("could not listen on {address}"))?;
    listed.wait_for(|listed| *listed).await.context("the watches ended")?;
    set_ready(&health);
    let connections = connections(listener, Some(Arc::clone(&credentials)), LIMITS);
    tokio::select! {
        served = server(Serves::Operator).add_service(master.service()).serve_with_incoming(connections) => {
            served.with_context(|| format!("could not serve on {address}"))?;
            Err(anyhow!("the gRPC server ended"))
        }
        ended = keep_new(&process, &credentials, own) => ended,
    }
}

/// What this operator has from the authority.
struct Own {
    papers: Papers,
    renew: u64,
}

impl Own {
    fn new(process: &Process, authority: &Authority) -> anyhow::Result<Own> {
        let now = now();
        let issued = authority.operator(process.arguments.pod_ip, now).context("could not make the operator's certificate")?;
        let Issued { certificate, key, expires } = issued;
        let papers = Papers { authority: authority.bundle(), own: Some((certificate, key)) };
        Ok(Own { papers, renew: now + (expires - now) / 3 * 2 })
    }
}

/// Follows the authority, and has a new certificate made in time. What is connected stays so.
async fn keep_new(process: &Process, credentials: &Credentials, mut own: Own) -> anyhow::Result<()> {
    loop {
        tokio::time::sleep(pause(process)).await;
        let authority = match find(process).await {
            Some(authority) => process.authority.set(authority),
            None => continue,
        };
        if now() >= own.renew || authority.bundle() != own.papers.authority {
            own = Own::new(process, &authority)?;
            credentials.change(own.papers.clone()).context("the operator's new certificate cannot be used")?;
            tracing::info!("the operator has a new certificate");
        }
    }
}

/// How often the authority is looked at: many times in the life of a certificate.
pub(super) fn pause(process: &Process) -> Duration {
    Duration::from_secs((process.config.certificates.life_seconds / 20).clamp(1, 60))
}

/// The authority, once the leader has made it.
async fn authority(process: &Process) -> anyhow::Result<Authority> {
    loop {
        if let Some(authority) = find(process).await {
            return Ok(authority);
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn find(process: &Process) -> Option<Authority> {
    let lives = process.config.certificates.lives();
    match Authority::find(process.server.as_ref(), &process.arguments.namespace, lives).await {
        Ok(authority) => authority,
        Err(error) => {
            tracing::warn!(error = format!("{:#}", anyhow::Error::from(error)), "the authority cannot be read");
            None
        }
    }
}
