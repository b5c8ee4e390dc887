//! The data path of executors: puts a task's pieces to an agent, and fetches pieces from agents. For threads that block; what
//! is asynchronous stays on the runtime that [`Agents`] is given.
//!
//! ```text
//!  task's thread ──frame──► Sender ──1 MiB messages, a few──► Put stream ──► agent
//!  task's thread ◄──frame── Fetched ◄──one bounded queue per agent── Fetch streams ◄── agents
//! ```

mod fetch;
mod put;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};

use plan::task::{Attempt, Fault};
use proto::transport::To;
use proto::{AgentClient, RunId, transport};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tonic::transport::Channel;
use tonic::{Code, Status};

pub use fetch::Fetched;
pub use put::Sender;

use crate::passport::Passport;

/// Every agent that a slot speaks with: one channel to each, and what lets it in there.
#[derive(Clone, Debug)]
pub struct Agents {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    runtime: Handle,
    run: RunId,
    passport: Passport,
    /// By address and width.
    channels: Mutex<HashMap<(String, Width), Channel>>,
    /// Fetch streams that are open.
    streams: AtomicUsize,
    stop: watch::Sender<u64>,
}

/// How much a stream may hold unread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Width {
    Wide,
    /// Of many: a merge of hundreds of runs must not hold megabytes of each.
    Narrow,
}

/// What went wrong on the way to or from an agent.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    #[error("{} at agent {agent} are lost: {}", outputs(attempts), names(attempts))]
    Lost {
        agent: String,
        attempts: Vec<Attempt>,
        #[source]
        source: Option<Box<Status>>,
    },
    #[error("agent {agent} did not take the output of {attempt}")]
    Put {
        agent: String,
        attempt: Attempt,
        #[source]
        source: Box<Status>,
    },
    #[error("agent {agent} refused the output of {attempt}")]
    Refused {
        agent: String,
        attempt: Attempt,
        #[source]
        source: Box<Status>,
    },
    #[error("agent {agent} does not give what was asked for")]
    Denied {
        agent: String,
        #[source]
        source: Box<Status>,
    },
    #[error("agent {agent} sent {what}")]
    Protocol { agent: String, what: &'static str },
    #[error("{address:?} is no address of an agent")]
    Address {
        address: String,
        #[source]
        source: tonic::transport::Error,
    },
    #[error("a piece is at agent {at} of only {agents}")]
    NoAgent { at: u32, agents: usize },
    #[error("stopped")]
    Stopped,
}

fn outputs(attempts: &[Attempt]) -> String {
    if attempts.len() == 1 { "an output".to_owned() } else { format!("{} outputs", attempts.len()) }
}

fn names(attempts: &[Attempt]) -> String {
    let names: Vec<String> = attempts.iter().take(3).map(ToString::to_string).collect();
    format!("{}{}", names.join(", "), if attempts.len() > 3 { ", ..." } else { "" })
}

impl WireError {
    /// Whose fault a task's failure by this is.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            WireError::Lost { attempts, .. } => Fault::Lost(attempts.clone()),
            WireError::Stopped => Fault::Stopped,
            WireError::Put { .. }
            | WireError::Refused { .. }
            | WireError::Denied { .. }
            | WireError::Protocol { .. }
            | WireError::Address { .. }
            | WireError::NoAgent { .. } => Fault::Infrastructure,
        }
    }
}

impl Agents {
    /// For executors of a run; `passport` is the run's.
    #[must_use]
    pub fn new(runtime: Handle, run: RunId, passport: Passport) -> Agents {
        let (channels, streams) = (Mutex::default(), AtomicUsize::new(0));
        Agents { inner: Arc::new(Inner { runtime, run, passport, channels, streams, stop: watch::Sender::new(0) }) }
    }

    /// Breaks off every stream that is open: whoever is blocked in one gets [`WireError::Stopped`]. Later ones are not touched.
    pub fn stop(&self) {
        self.inner.stop.send_modify(|round| *round += 1);
    }
}

impl Inner {
    fn client(&self, address: &str, width: Width) -> Result<AgentClient<Channel>, WireError> {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = channels.get(&(address.to_owned(), width)) {
            return Ok(AgentClient::new(channel.clone()));
        }
        // A connection belongs to the runtime that drives it.
        let _entered = self.runtime.enter();
        let to = To::agent(address, self.passport.credentials());
        let made = match width {
            Width::Narrow => transport::narrow_channel(to),
            Width::Wide => transport::channel(to),
        };
        let channel = made.map_err(|source| WireError::Address { address: address.to_owned(), source })?;
        channels.insert((address.to_owned(), width), channel.clone());
        Ok(AgentClient::new(channel))
    }

    fn request<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        request.metadata_mut().insert("authorization", self.passport.token());
        request
    }

    /// Done when [`Agents::stop`] is called after `round` began.
    fn stopped(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut stop = self.stop.subscribe();
        async move {
            // The sender lives as long as any stream; gone means the same as stopped.
            let _ = stop.changed().await;
        }
    }
}

/// Whether trying again cannot help.
fn is_final(status: &Status) -> bool {
    use Code::{
        AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, OutOfRange, PermissionDenied, Unauthenticated,
        Unimplemented,
    };
    let codes = [
        AlreadyExists,
        FailedPrecondition,
        InvalidArgument,
        NotFound,
        OutOfRange,
        PermissionDenied,
        Unauthenticated,
        Unimplemented,
    ];
    codes.contains(&status.code())
}
