//! Calls to agents, with the leader's own tokens; tried again until they are answered, where the machine needs the answer.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use plan::task::{Attempt, Held};
use proto::agent::{Fetch, FetchItem, InventoryRequest, Name, Release};
use proto::chunk::{Frames, MESSAGE_LIMIT};
use proto::codec::whole;
use proto::credentials::Credentials;
use proto::transport::To;
use proto::{AgentClient, RunId, Term};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use super::{Counters, Inner, lines};
use crate::master::api::OUTPUT_LIMIT;
use crate::master::machine::event::{Event, Found, OutputRequest, Unfetched};

/// A call that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(10);
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// What is read at a time of standard output: eight frames at most, of which one may be a long line.
const MOST: usize = 2 * lines::LONGEST;
/// Releases are best effort: what is left goes with its run.
const RELEASE_TRIES: u32 = 5;
/// The trailers of all that an agent holds of a run.
const INVENTORY_LIMIT: usize = 256 << 20;

/// Makes channels to agents.
pub trait Connect: Send + Sync + Debug {
    /// A channel to an agent's address; connects at the first call. `credentials`: `None` without TLS, for tests of one process.
    ///
    /// # Errors
    /// In words, if the address is none.
    fn channel(&self, address: &str, credentials: Option<&Arc<Credentials>>) -> Result<Channel, String>;
    /// The agent is gone, or has restarted.
    fn forget(&self, address: &str);
}

/// TLS channels, one per agent.
#[derive(Debug, Default)]
pub struct TlsConnect {
    channels: Mutex<BTreeMap<String, Channel>>,
}

impl Connect for TlsConnect {
    fn channel(&self, address: &str, credentials: Option<&Arc<Credentials>>) -> Result<Channel, String> {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = channels.get(address) {
            return Ok(channel.clone());
        }
        let channel = proto::transport::channel(To::agent(address, credentials))
            .map_err(|error| format!("{address:?} cannot be connected to: {error}"))?;
        channels.insert(address.to_owned(), channel.clone());
        Ok(channel)
    }

    fn forget(&self, address: &str) {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner).remove(address);
    }
}

/// Who calls: a leader, for a run.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) inner: Arc<Inner>,
    pub(super) run: RunId,
    pub(super) term: Term,
}

impl Caller {
    fn client(&self, address: &str) -> Result<AgentClient<Channel>, Status> {
        let trust = self.inner.trust.get().ok_or_else(|| Status::unavailable("there is no authority yet"))?;
        let channel = self.inner.connect.channel(address, trust.credentials().as_ref()).map_err(Status::unavailable)?;
        Ok(AgentClient::new(channel).max_decoding_message_size(INVENTORY_LIMIT).max_encoding_message_size(MESSAGE_LIMIT))
    }

    fn request<T>(&self, message: T) -> Result<Request<T>, Status> {
        let mut request = Request::new(message);
        request.set_timeout(PATIENCE);
        self.sign(&mut request)?;
        Ok(request)
    }

    fn sign<T>(&self, request: &mut Request<T>) -> Result<(), Status> {
        let trust = self.inner.trust.get().ok_or_else(|| Status::unavailable("there is no authority yet"))?;
        let token = proto::token::authorization(&trust.operator_token(self.term));
        let token = token.ok_or_else(|| Status::internal("the leader's own token fits no header"))?;
        request.metadata_mut().insert("authorization", token);
        Ok(())
    }

    /// Tries until it is answered. A newer leader's agent refuses for ever; the record will tell us.
    async fn until_answered<T, F>(&self, what: &str, address: &str, mut call: impl FnMut() -> F) -> T
    where
        F: Future<Output = Result<T, Status>>,
    {
        let mut wait = FIRST_WAIT;
        loop {
            match call().await {
                Ok(answer) => return answer,
                Err(status) => {
                    Counters::count(&self.inner.counters.calls_retried);
                    tracing::debug!(run = %self.run, agent = address, %status, "{what} is tried again");
                }
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }
}

pub(super) async fn name(caller: Caller, agent: String, winners: Vec<Attempt>, fenced: Vec<Attempt>) -> Option<Event> {
    let message = Name { run: caller.run.clone(), term: caller.term, winners: winners.clone(), fenced };
    let call = || async {
        let answer = caller.client(&agent)?.name(caller.request(message.clone())?).await?;
        Ok(answer.into_inner().missing)
    };
    let missing = caller.until_answered("naming winners", &agent, call).await;
    Some(Event::Named { agent, winners, missing })
}

pub(super) async fn inventory(caller: Caller, agent: String, incarnation: u64) -> Option<Event> {
    let message = InventoryRequest { run: caller.run.clone(), term: caller.term };
    let call = || async { Ok(caller.client(&agent)?.inventory(caller.request(message.clone())?).await?.into_inner().outputs) };
    let outputs = caller.until_answered("an inventory", &agent, call).await;
    let found =
        outputs.into_iter().map(|output| Found { attempt: output.attempt, named: output.named, done: whole(&output.done).ok() });
    Some(Event::Inventory { agent, incarnation, outputs: found.collect() })
}

pub(super) async fn release(caller: Caller, agent: String, attempts: Vec<Attempt>) -> Option<Event> {
    try_release(&caller, &agent, Some(attempts)).await;
    None
}

/// Everything of a run goes.
pub(super) async fn release_all(inner: Arc<Inner>, term: Term, run: RunId, agent: String) {
    try_release(&Caller { inner, run, term }, &agent, None).await;
}

async fn try_release(caller: &Caller, agent: &str, attempts: Option<Vec<Attempt>>) {
    let mut wait = FIRST_WAIT;
    for _ in 0..RELEASE_TRIES {
        let message = Release { run: caller.run.clone(), term: caller.term, attempts: attempts.clone() };
        let released = async { caller.client(agent)?.release(caller.request(message)?).await };
        match released.await {
            Ok(_) => return,
            Err(status) => tracing::debug!(run = %caller.run, agent, %status, "outputs could not be released"),
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// Fetches the text of standard output.
pub(super) async fn output(caller: Caller, request: OutputRequest) -> Option<Event> {
    let mut output = BTreeMap::new();
    for (step, pieces) in &request.steps {
        let mut text = Vec::new();
        for held in pieces {
            let Some(agent) = request.agents.get(held.agent as usize) else {
                let why = format!("it is not said which agent holds {}", held.attempt);
                return Some(Event::OutputFetched { result: Err(Unfetched::Unavailable(why)) });
            };
            match piece(&caller, agent, held).await {
                Ok(part) if text.len() + part.len() > 4 * OUTPUT_LIMIT as usize => {
                    let why = format!("agent {agent} holds more standard output of step {step:?} than was told of");
                    return Some(Event::OutputFetched { result: Err(Unfetched::Unavailable(why)) });
                }
                Ok(part) => text.extend(part),
                Err(why) => return Some(Event::OutputFetched { result: Err(why) }),
            }
        }
        output.insert(step.clone(), text);
    }
    Some(Event::OutputFetched { result: Ok(output) })
}

/// The text of one piece.
pub(super) async fn piece(caller: &Caller, agent: &str, held: &Held) -> Result<Vec<u8>, Unfetched> {
    let fetched = tokio::time::timeout(PATIENCE, fetch(caller, agent, held)).await;
    match fetched {
        Ok(Ok(text)) => Ok(text),
        Ok(Err(status)) if status.code() == Code::NotFound => Err(Unfetched::Lost(vec![held.attempt])),
        Ok(Err(status)) => Err(Unfetched::Unavailable(format!("agent {agent}: {}", status.message()))),
        Err(_) => Err(Unfetched::Unavailable(format!("agent {agent} did not answer"))),
    }
}

async fn fetch(caller: &Caller, agent: &str, held: &Held) -> Result<Vec<u8>, Status> {
    let item = FetchItem { attempt: held.attempt, piece: held.piece, first: held.first, end: held.end };
    let mut request = Request::new(Fetch { run: caller.run.clone(), items: vec![item] });
    caller.sign(&mut request)?;
    let mut client = caller.client(agent)?.max_decoding_message_size(MESSAGE_LIMIT);
    let mut messages = client.fetch(request).await?.into_inner();
    let (mut frames, mut text, mut whole, mut came) = (Frames::default(), Vec::new(), 0, 0);
    while let Some(message) = messages.message().await? {
        came += message.wire_bytes();
        if came.max(text.len()) > MOST {
            return Err(Status::data_loss("more came than standard output may hold"));
        }
        for chunk in message.chunks {
            if let Some(frame) = frames.push(chunk) {
                text.extend(lines::text(&frame).map_err(|bad| Status::data_loss(bad.to_string()))?);
                whole += 1;
            }
        }
    }
    let expected = held.end.saturating_sub(held.first);
    if whole == expected { Ok(text) } else { Err(Status::data_loss(format!("{whole} frames came of {expected}"))) }
}
