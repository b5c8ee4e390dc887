//! Finds the operator that leads, by the address of its Service, and keeps a channel to it.
//!
//! The Service reaches any operator; one that does not lead says who does ([`proto::transport::not_leader`] or an answer of its
//! own), and [`Leader::follow`] goes there. Whatever fails goes back to the Service, after a pause that grows.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use proto::credentials::Credentials;
use proto::transport::{self, To};
use tonic::transport::Channel;

/// The first pause after a failure; doubles with each one.
const PAUSE: Duration = Duration::from_millis(100);
/// Short beside the time that a new leader waits for those who knew the one before.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The way to the leader.
#[derive(Debug)]
pub struct Leader {
    service: String,
    credentials: Option<Arc<Credentials>>,
    way: Mutex<Way>,
}

#[derive(Debug)]
struct Way {
    /// Of the leader, where it is known.
    address: Option<String>,
    channel: Option<Channel>,
    /// Answers in a row that were none of a leader.
    misses: u32,
}

/// No channel can be made.
#[derive(Debug, thiserror::Error)]
#[error("no channel to the operator at {address:?}: bad address")]
pub struct NoWay {
    address: String,
    #[source]
    source: tonic::transport::Error,
}

impl Leader {
    /// Nothing is connected yet. `credentials`: `None` without TLS, for tests of one process.
    #[must_use]
    pub fn new(service: &str, credentials: Option<Arc<Credentials>>) -> Leader {
        let way = Way { address: None, channel: None, misses: 0 };
        Leader { service: service.to_owned(), credentials, way: Mutex::new(way) }
    }

    /// Lets go of the connection; the next call makes another, with what the credentials are then.
    pub fn hang_up(&self) {
        self.lock().channel = None;
    }

    /// A channel to the leader, or to the Service while the leader is not known. Connects at the first call.
    ///
    /// # Errors
    /// If the address is none.
    pub fn channel(&self) -> Result<Channel, NoWay> {
        let mut way = self.lock();
        if let Some(channel) = &way.channel {
            return Ok(channel.clone());
        }
        let address = way.address.clone().unwrap_or_else(|| self.service.clone());
        let made = transport::channel(To::operator(&address, self.credentials.as_ref()));
        let channel = made.map_err(|source| NoWay { address, source })?;
        way.channel = Some(channel.clone());
        Ok(channel)
    }

    /// The leader answered: the next failure is the first.
    pub fn answered(&self) {
        self.lock().misses = 0;
    }

    /// An operator answered that it does not lead: the next channel goes to `leader`, or again to the Service. The first
    /// time at once; operators that point at each other are asked more and more rarely.
    pub async fn follow(&self, leader: Option<&str>) {
        let misses = self.miss(leader.map(ToOwned::to_owned));
        if misses > 1 || leader.is_none() {
            tokio::time::sleep(pause(misses)).await;
        }
    }

    /// A call failed: the next channel goes to the Service, after a pause.
    pub async fn failed(&self) {
        let misses = self.miss(None);
        tokio::time::sleep(pause(misses)).await;
    }

    fn miss(&self, address: Option<String>) -> u32 {
        let mut way = self.lock();
        way.address = address;
        way.channel = None;
        way.misses = way.misses.saturating_add(1);
        way.misses
    }

    fn lock(&self) -> MutexGuard<'_, Way> {
        self.way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn pause(misses: u32) -> Duration {
    PAUSE.saturating_mul(1 << misses.saturating_sub(1).min(10)).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn pauses_grow_up_to_a_limit() {
        assert_eq!(pause(1), PAUSE);
        assert_eq!(pause(3), 4 * PAUSE);
        assert_eq!(pause(u32::MAX), LONGEST_PAUSE);
    }

    #[tokio::test]
    async fn a_named_leader_is_asked_at_once_and_a_ring_of_them_ever_more_rarely() {
        let leader = Leader::new("10.0.0.1:7400", None);
        assert!(leader.follow(Some("10.0.0.2:7400")).now_or_never().is_some(), "nothing is waited for");
        let begin = std::time::Instant::now();
        assert_eq!(leader.lock().address.as_deref(), Some("10.0.0.2:7400"));
        leader.follow(Some("10.0.0.3:7400")).await;
        assert!(begin.elapsed() >= 2 * PAUSE);
        leader.answered();
        leader.failed().await;
        assert_eq!(leader.lock().address, None);
        assert!(begin.elapsed() >= 3 * PAUSE);
        assert!(leader.channel().is_ok());
    }

    #[test]
    fn a_bad_address_is_an_error() {
        assert!(Leader::new("not an address", None).channel().is_err());
    }
}
