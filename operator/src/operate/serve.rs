//! The gRPC server, on leader and standby alike.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use tokio::sync::watch;

use super::trusted::Trusted;
use super::{Process, now, set_ready};
use crate::authority::{Authority, SERVER_LIFE};
use crate::http::Health;
use crate::master::service::Master;
use crate::review::Reviewer;

/// How often a standby looks whether the leader has made the authority.
const LOOK: Duration = Duration::from_secs(1);

/// Serves until its certificate is to be renewed.
pub(super) async fn grpc(
    process: Process,
    master: Master,
    (health, trusted): (Arc<Health>, watch::Sender<bool>),
    mut listed: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let authority = Arc::new(authority(&process).await?);
    let issued = authority.server(process.arguments.pod_ip, now()).context("could not make the server's certificate")?;
    let mut server = proto::transport::server(Some((&issued.certificate, &issued.key))).context("could not set the server up")?;
    let reviewer = Reviewer::new(Arc::clone(&process.free), process.arguments.namespace.clone());
    master.set_trust(Arc::new(Trusted { authority, reviewer, server: Arc::clone(&process.free) }));
    // Nobody listens on a standby yet; the value is what counts.
    trusted.send_replace(true);
    let router = server.add_service(master.service());
    let address = SocketAddr::new([0, 0, 0, 0].into(), process.arguments.port);
    listed.wait_for(|listed| *listed).await.context("the watches ended")?;
    set_ready(&health);
    let renewal = tokio::time::sleep(Duration::from_secs(SERVER_LIFE / 3 * 2));
    router.serve_with_shutdown(address, renewal).await.with_context(|| format!("could not serve on {address}"))?;
    Err(anyhow!("the server's certificate is to be renewed: the operator starts anew"))
}

/// The authority, once the leader has made it.
async fn authority(process: &Process) -> anyhow::Result<Authority> {
    loop {
        match Authority::find(process.server.as_ref(), &process.arguments.namespace).await {
            Ok(Some(authority)) => return Ok(authority),
            Ok(None) => {}
            Err(error) => tracing::warn!(error = format!("{:#}", anyhow::Error::from(error)), "the authority cannot be read"),
        }
        tokio::time::sleep(LOOK).await;
    }
}
