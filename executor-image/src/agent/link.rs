//! The agent's link to the operator: enrolls, renews, and beats. The answers to beats say which runs there are, in which order,
//! and what tokens are signed with.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use proto::RunId;
use proto::credentials::{BadPapers, Credentials, Door, Papers};
use proto::master::{Beat, Enroll, Enrolled, Orders};
use proto::token::{authorization, now};
use proto::transport::{leader_of, master_client};
use tonic::{Code, Request, Status};

use super::identity::IdentityError;
use super::options::Options;
use super::service::{Service, drop_apart};
use super::{identity, process};
use crate::leader::{Leader, NoWay};

const BEAT: Duration = Duration::from_secs(2);
/// An operator that has not answered by then is asked elsewhere.
const PATIENCE: Duration = Duration::from_secs(5);
/// Not ready once no leader answered for so long.
const SILENCE_SECONDS: u64 = 30;
/// Between tries to renew a certificate that still holds.
const RENEW_PAUSE_SECONDS: u64 = 10;
/// So many bytes must have become free before the heap is trimmed.
const WORTH_TRIMMING: u64 = 32 << 20;

/// The link.
#[derive(Debug)]
pub struct Link {
    options: Options,
    address: String,
    /// Without a certificate, for who is to get one: the service-account token counts there.
    entry: Leader,
    stranger: Arc<Credentials>,
    /// With it.
    leader: Leader,
    credentials: Arc<Credentials>,
    service: Service,
    incarnation: u64,
    /// When a leader last answered a beat; seconds since 1970.
    answered: AtomicU64,
}

/// What makes beats ours, and for how long.
#[derive(Clone, Debug)]
pub struct Badge {
    token: String,
    renew: u64,
    /// The operator's authority, as it was mounted then.
    authority: String,
}

/// The agent could not enroll, or not beat.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("could not read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the token is no text that a call can carry")]
    Token,
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("the certificates cannot be used")]
    Papers(#[from] BadPapers),
    #[error(transparent)]
    NoWay(#[from] NoWay),
    #[error("the operator did not answer within {} s", PATIENCE.as_secs())]
    Silent,
    #[error("the call to the operator failed: {}", .0.message())]
    Refused(Box<Status>),
}

impl Link {
    /// `address`: where executors reach this agent.
    ///
    /// # Errors
    /// If the operator's authority cannot be read.
    pub fn new(options: Options, address: String, service: Service) -> Result<Link, LinkError> {
        let papers = Papers { authority: read(&options.authority_file)?, own: None };
        let (stranger, credentials) =
            (Credentials::new(papers.clone(), Door::Members)?, Credentials::new(papers, Door::Members)?);
        let entry = Leader::new(&options.operator, Some(Arc::clone(&stranger)));
        let leader = Leader::new(&options.operator, Some(Arc::clone(&credentials)));
        let incarnation = RandomState::new().build_hasher().finish();
        let answered = AtomicU64::new(0);
        Ok(Link { options, address, entry, stranger, leader, credentials, service, incarnation, answered })
    }

    /// The agent's certificate, and whom it knows: once it is enrolled.
    #[must_use]
    pub fn credentials(&self) -> &Arc<Credentials> {
        &self.credentials
    }

    /// Whether a leader answered lately.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        now().saturating_sub(self.answered.load(Ordering::Relaxed)) < SILENCE_SECONDS
    }

    /// Enrolls; tries until it is done.
    pub async fn enrolled(&self) -> Badge {
        loop {
            match self.enroll().await {
                Ok(badge) => return badge,
                Err(error) => after(&self.entry, &error, "could not enroll").await,
            }
        }
    }

    /// Beats, and renews the certificate at two thirds of its time; never ends.
    pub async fn beat_on(&self, mut badge: Badge) {
        let mut ticks = tokio::time::interval(BEAT);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut highest = 0;
        loop {
            ticks.tick().await;
            highest = self.trim(highest);
            if now() >= badge.renew {
                badge = self.renew(badge).await;
            }
            match self.beat(&badge).await {
                Ok(()) => {}
                Err(LinkError::Refused(status)) if status.code() == Code::Unauthenticated => {
                    tracing::info!(%status, "the operator does not know us any more; enrolling again");
                    badge = self.enrolled().await;
                }
                Err(error) => {
                    after(&self.leader, &error, "a beat failed").await;
                    if self.is_of_another_authority(&badge) {
                        tracing::info!("the operator's authority is another one; enrolling again");
                        badge = self.enrolled().await;
                    }
                    // The pause is over already.
                    ticks.reset_immediately();
                }
            }
        }
    }

    /// Whether who issued the badge may be gone, so that no operator knows us nor we it.
    fn is_of_another_authority(&self, badge: &Badge) -> bool {
        read(&self.options.authority_file).is_ok_and(|mounted| mounted != badge.authority)
    }

    async fn renew(&self, badge: Badge) -> Badge {
        match self.enroll().await {
            Ok(badge) => badge,
            Err(error) => {
                after(&self.entry, &error, "could not renew the certificate").await;
                Badge { renew: now() + RENEW_PAUSE_SECONDS, ..badge }
            }
        }
    }

    async fn enroll(&self) -> Result<Badge, LinkError> {
        let begun = now();
        // What is mounted may have changed.
        let authority = read(&self.options.authority_file)?;
        self.stranger.trust(&authority)?;
        let request = identity::Request::new(self.options.address)?;
        let enroll = Enroll { csr: request.csr.clone(), node: self.options.node.clone(), address: self.address.clone() };
        let call = with_token(enroll, &read(&self.options.token_file)?)?;
        let mut client = master_client(self.entry.channel()?);
        let answer = tokio::time::timeout(PATIENCE, client.enroll(call)).await.map_err(|_| LinkError::Silent)?;
        let enrolled: Enrolled = answer.map_err(|status| LinkError::Refused(Box::new(status)))?.into_inner();
        self.entry.answered();
        drop(client);
        self.entry.hang_up();
        self.credentials.change(request.papers(&enrolled))?;
        self.leader.hang_up();
        tracing::info!(expires = enrolled.expires, "enrolled");
        let lasts = enrolled.expires.saturating_sub(begun);
        Ok(Badge { token: enrolled.token, renew: begun + (lasts * 2 / 3).max(1), authority })
    }

    async fn beat(&self, badge: &Badge) -> Result<(), LinkError> {
        let call = with_token(self.state(), &badge.token)?;
        let mut client = master_client(self.leader.channel()?);
        let answer = tokio::time::timeout(PATIENCE, client.beat(call)).await.map_err(|_| LinkError::Silent)?;
        match answer.map_err(|status| LinkError::Refused(Box::new(status)))?.into_inner() {
            Orders::Leader { term, runs, keys } if self.service.access.learn(term, &keys) => {
                self.leader.answered();
                self.answered.store(now(), Ordering::Relaxed);
                if let Some(runs) = runs {
                    self.obey(&runs);
                }
                Ok(())
            }
            Orders::Leader { .. } => Err(LinkError::Refused(Box::new(proto::transport::not_leader(None)))),
            Orders::NotLeader { leader } => Err(LinkError::Refused(Box::new(proto::transport::not_leader(leader.as_deref())))),
        }
    }

    /// The leader's list of runs: the order in which room is given, and what can go.
    fn obey(&self, runs: &[RunId]) {
        let intake = &self.service.intake;
        intake.room.budget().set_order(runs);
        intake.room.wake();
        drop_apart(intake.store.keep_only(runs));
    }

    fn state(&self) -> Beat {
        let intake = &self.service.intake;
        let runs = intake.store.runs();
        let budget = intake.room.budget();
        Beat {
            node: self.options.node.clone(),
            address: self.address.clone(),
            incarnation: self.incarnation,
            memory_used: budget.memory_used,
            memory_limit: budget.memory_limit,
            disk_used: budget.disk_used,
            disk_limit: budget.disk_limit,
            runs,
            waiting: budget.waiting(),
        }
    }

    /// Gives memory back once much less is held than was; returns the highest use since then.
    fn trim(&self, highest: u64) -> u64 {
        let used = self.service.intake.room.budget().memory_used;
        if used + WORTH_TRIMMING <= highest {
            process::trim();
            return used;
        }
        highest.max(used)
    }
}

/// Where to go after a failure, and when.
async fn after(way: &Leader, error: &LinkError, what: &str) {
    let leader = if let LinkError::Refused(status) = error { leader_of(status) } else { None };
    if let Some(leader) = leader {
        tracing::debug!(?leader, "not the leader");
        return way.follow(leader.as_deref()).await;
    }
    tracing::warn!(error = plan::in_full(error), "{what}");
    way.failed().await;
}

fn read(path: &std::path::Path) -> Result<String, LinkError> {
    std::fs::read_to_string(path).map_err(|source| LinkError::Read { path: path.to_owned(), source })
}

fn with_token<T>(message: T, token: &str) -> Result<Request<T>, LinkError> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", authorization(token).ok_or(LinkError::Token)?);
    Ok(request)
}
