//! The gRPC service: checks who calls, then hands on.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt};
use proto::chunk::{MESSAGE_BYTES, Message};
use proto::gate::{Call, Gate, Keeper, Pass, claims};
use proto::master::{Beat, Enroll, Enrolled, FromSlot, Orders, OutputRequest, ToSlot};
use proto::peer::Peer;
use proto::token::{Refused, Role, bearer};
use proto::transport::not_leader;
use proto::{MasterServer, RunId, Term, master_server};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use super::actor::Told;
use super::calls::{Caller, piece};
use super::trust::{KeptOutput, Trust};
use super::{Counters, Inner, KnownAgent, Lead, Master, words};
use crate::master::api::NODE_LOCAL;
use crate::master::machine::event::{Event, OutputRequest as Pieces, SlotHello, SlotId, Unfetched};

/// Messages to a slot that it has not taken yet: a plan, a task, a word or two. A slot that is further behind is as good as gone.
const ANSWERS: usize = 64;
/// A task's report: names of all its pieces.
const REPORT_LIMIT: usize = 64 << 20;
/// A beat names runs, a request for a certificate holds little.
const SMALL_LIMIT: usize = 512 << 10;
/// Beats that are read at a time.
const BEATS: usize = 64;
/// A slot says hello at once.
const HELLO: Duration = Duration::from_secs(10);
/// An agent that was not heard of for so long is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(600);
/// What to do about rows that are lost.
const AGAIN: &str = "run the flow again, and write what is large to files";
/// Messages of output on their way to the command line.
const OUTPUT: usize = 4;

impl Master {
    /// The service, to be added to a server.
    #[must_use]
    pub fn service(&self) -> Gate<MasterServer<Master>, Master> {
        let service = |limit| MasterServer::new(self.clone()).max_decoding_message_size(limit);
        Gate::new((service(REPORT_LIMIT).max_encoding_message_size(REPORT_LIMIT), service(SMALL_LIMIT)), self.clone(), BEATS)
    }
}

/// Lets in who shows the certificate and the token of an executor or an agent, and those who have none yet where that is meant:
/// agents that enroll and people show tokens of Kubernetes, which the API server is asked about.
impl Keeper for Master {
    fn admit(&self, method: &str, metadata: &MetadataMap, peer: &Peer) -> Result<Pass, Status> {
        if matches!(method, "Enroll" | "Output") {
            bearer(metadata).map_err(|refused| self.inner.unknown(refused))?;
            return Ok(Pass { claims: None, kind: Call::Stranger });
        }
        let keys = self.inner.trust.get().map(|trust| trust.keys()).unwrap_or_default();
        let checked = proto::token::check(metadata, peer, &keys, proto::token::now());
        let claims = checked.map_err(|refused| self.inner.unknown(refused))?;
        let kind = if method == "Work" { Call::Stream } else { Call::Message };
        Ok(Pass { claims: Some(claims), kind })
    }
}

impl Inner {
    fn trust(&self) -> Result<&Arc<dyn Trust>, Status> {
        self.trust.get().ok_or_else(|| Status::unavailable("there is no authority yet"))
    }

    fn unknown(&self, refused: Refused) -> Status {
        Counters::count(&self.counters.calls_refused);
        Status::unauthenticated(refused.to_string())
    }

    fn refuse(&self, why: &str) -> Status {
        Counters::count(&self.counters.calls_refused);
        Status::permission_denied(why)
    }

    fn hear(&self, beat: &Beat) -> Option<Orders> {
        let mut state = self.state();
        let term = match &state.lead {
            Lead::Leader(term) => *term,
            Lead::Standby { leader } => return Some(Orders::NotLeader { leader: leader.clone() }),
        };
        state.agents.retain(|_, agent| {
            agent.heard.elapsed() < FORGOTTEN && (agent.beat.node != beat.node || agent.beat.address == beat.address)
        });
        state.agents.insert(beat.address.clone(), KnownAgent { beat: beat.clone(), heard: Instant::now() });
        for (run, told) in &state.runs {
            // Where an actor is behind, the next beat will do.
            let _ = told.events.try_send(Told::Event(Event::Beat(Inner::beat_of(beat, run))));
        }
        drop(state);
        let keys = self.trust.get()?.keys();
        Some(Orders::Leader { term, runs: self.needed_runs(), keys })
    }
}

type Answers = Pin<Box<dyn Stream<Item = Result<ToSlot, Status>> + Send>>;
type Output = Pin<Box<dyn Stream<Item = Result<Message, Status>> + Send>>;

#[tonic::async_trait]
impl master_server::Master for Master {
    type WorkStream = Answers;
    type OutputStream = Output;

    async fn work(&self, request: Request<Streaming<FromSlot>>) -> Result<Response<Answers>, Status> {
        let claims = claims(&request)?.clone();
        let Role::Executor { run: allowed } = claims.role else {
            return Err(self.inner.refuse("only executors work"));
        };
        let good_for = Duration::from_secs(claims.expires.saturating_sub(proto::token::now()));
        let mut said = request.into_inner();
        let hello =
            tokio::time::timeout(HELLO, said.message()).await.map_err(|_| Status::deadline_exceeded("no hello came"))??;
        let Some(FromSlot::Hello { run, pod, node, slot, incarnation, busy }) = hello.and_then(words::checked) else {
            return Err(Status::invalid_argument("a slot's first word is Hello"));
        };
        if run != allowed {
            return Err(self.inner.refuse("the token is for another run"));
        }
        let hello = SlotHello { pod, node, number: slot, incarnation, busy };
        match self.inner.find(&run) {
            Found::NotLeader(leader) => Ok(Response::new(one(ToSlot::NotLeader { leader }))),
            // A run that is not started here yet may be soon.
            Found::Unknown { complete: false } => Ok(Response::new(one(ToSlot::NotLeader { leader: None }))),
            Found::Unknown { complete: true } => {
                let reason = "there is no such run (any more)".to_owned();
                Ok(Response::new(one(ToSlot::Leave { reason })))
            }
            Found::Run(events) => Ok(Response::new(self.join(events, hello, (said, good_for)).await?)),
        }
    }

    async fn enroll(&self, request: Request<Enroll>) -> Result<Response<Enrolled>, Status> {
        let trust = self.inner.trust()?;
        let token = bearer(request.metadata()).map_err(|refused| Status::unauthenticated(refused.to_string()))?.to_owned();
        let enrolled =
            trust.enroll(&token, request.into_inner()).await.inspect_err(|_| Counters::count(&self.inner.counters.calls_refused));
        Ok(Response::new(enrolled?))
    }

    async fn beat(&self, request: Request<Beat>) -> Result<Response<Orders>, Status> {
        let role = claims(&request)?.role.clone();
        let beat = request.into_inner();
        if !matches!(&role, Role::Agent { node } if *node == beat.node) {
            return Err(self.inner.refuse("the token is not this agent's"));
        }
        let orders = self.inner.hear(&beat).ok_or_else(|| Status::unavailable("there is no authority yet"))?;
        Ok(Response::new(orders))
    }

    async fn output(&self, request: Request<OutputRequest>) -> Result<Response<Output>, Status> {
        let trust = self.inner.trust()?;
        let token = bearer(request.metadata()).map_err(|refused| Status::unauthenticated(refused.to_string()))?.to_owned();
        match trust.output(&token, request.get_ref()).await? {
            KeptOutput::Text(text) => {
                let mut message = Message::default();
                message.push_frame(0, text);
                // One message may not be larger than its limit: chunks travel one by one.
                let messages = message.chunks.into_iter().map(|chunk| Ok(Message { chunks: vec![chunk] }));
                Ok(Response::new(Box::pin(futures::stream::iter(messages.collect::<Vec<_>>()))))
            }
            KeptOutput::Agents { run, step } => {
                let (pieces, term) = self.inner.pieces(&run).await?;
                let caller = Caller { inner: Arc::clone(&self.inner), run, term };
                let (messages, stream) = mpsc::channel(OUTPUT);
                tokio::spawn(stream_output(caller, pieces, step, messages));
                Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
            }
        }
    }
}

/// What is known of a run.
enum Found {
    NotLeader(Option<String>),
    Unknown { complete: bool },
    Run(mpsc::Sender<Told>),
}

impl Inner {
    fn find(&self, run: &RunId) -> Found {
        let state = self.state();
        match (&state.lead, state.runs.get(run)) {
            (Lead::Standby { leader }, _) => Found::NotLeader(leader.clone()),
            (Lead::Leader(_), Some(run)) => Found::Run(run.events.clone()),
            (Lead::Leader(_), None) => Found::Unknown { complete: state.complete },
        }
    }

    /// Where the standard output of a run is that is still held by agents.
    async fn pieces(&self, run: &RunId) -> Result<(Pieces, Term), Status> {
        let gone = || {
            Status::data_loss(format!(
                "these rows are lost: they were too many for a Secret and stayed on the agents ({NODE_LOCAL}), and nobody knows any more where; {AGAIN}"
            ))
        };
        let term = match &self.state().lead {
            Lead::Leader(term) => *term,
            Lead::Standby { leader } => return Err(not_leader(leader.as_deref())),
        };
        let held = self.state().held.get(run).cloned();
        if let Some(held) = held {
            return Ok((held.ok_or_else(gone)?, term));
        }
        let events = match self.find(run) {
            Found::Run(events) => events,
            Found::Unknown { complete: true } => return Err(gone()),
            Found::Unknown { complete: false } | Found::NotLeader(_) => {
                return Err(Status::unavailable("this leader has just begun, and does not know yet what there is"));
            }
        };
        let (answer, pieces) = oneshot::channel();
        events.send(Told::Output { answer }).await.map_err(|_| gone())?;
        let pieces = pieces.await.ok().flatten().ok_or_else(gone)?;
        Ok((pieces, term))
    }
}

impl Master {
    /// Joins a slot to its run, for as long as its stream lasts and it may speak.
    async fn join(
        &self,
        events: mpsc::Sender<Told>,
        hello: SlotHello,
        (said, good_for): (Streaming<FromSlot>, Duration),
    ) -> Result<Answers, Status> {
        let slot = SlotId(self.inner.next_slot.fetch_add(1, Ordering::Relaxed));
        let (answers, stream) = mpsc::channel(ANSWERS);
        let joined = Event::SlotJoined { slot, hello };
        let over = |_| Status::unavailable("the run ended just now");
        events.send(Told::Slot { slot, answers, joined }).await.map_err(over)?;
        tokio::spawn(listen(Arc::clone(&self.inner), slot, (said, good_for), events));
        Ok(Box::pin(ReceiverStream::new(stream).map(Ok)))
    }
}

/// Hears a slot to the end of its stream, of its token, or of its run. A slot whose token has run out comes back with a newer one.
async fn listen(inner: Arc<Inner>, slot: SlotId, (said, good_for): (Streaming<FromSlot>, Duration), events: mpsc::Sender<Told>) {
    inner.counters.slots_connected.fetch_add(1, Ordering::Relaxed);
    tokio::select! {
        () = hear(slot, said, &events) => {}
        () = events.closed() => {}
        () = tokio::time::sleep(good_for) => Counters::count(&inner.counters.calls_refused),
    }
    inner.counters.slots_connected.fetch_sub(1, Ordering::Relaxed);
    // A run that has ended does not mind.
    let _ = events.send(Told::Event(Event::SlotLeft { slot })).await;
}

async fn hear(slot: SlotId, mut said: Streaming<FromSlot>, events: &mpsc::Sender<Told>) {
    while let Ok(Some(word)) = said.message().await {
        let Some(word) = words::checked(word) else { break };
        let event = match word {
            // It has said so already; one more is a mistake that ends the connection.
            FromSlot::Hello { .. } => break,
            FromSlot::Progress { attempt, rows, bytes } => Event::Progress { slot, attempt, rows, bytes },
            FromSlot::Done { attempt, agent, done } => Event::Done { slot, attempt, agent, done },
            FromSlot::Failed { attempt, failed } => Event::Failed { slot, attempt, failed },
            FromSlot::Draining => Event::Draining { slot },
        };
        if events.send(Told::Event(event)).await.is_err() {
            break;
        }
    }
}

async fn stream_output(caller: Caller, pieces: Pieces, step: String, messages: mpsc::Sender<Result<Message, Status>>) {
    for held in pieces.steps.get(&step).into_iter().flatten() {
        let Some(agent) = pieces.agents.get(held.agent as usize) else { continue };
        // Piece by piece in parts that fit into memory.
        for first in (held.first..held.end).step_by(8) {
            let part = plan::task::Held { first, end: held.end.min(first + 8), ..held.clone() };
            let text = match piece(&caller, agent, &part).await {
                Ok(text) => text,
                Err(why) => {
                    let status = match why {
                        Unfetched::Lost(_) => {
                            Status::data_loss(format!("the rest is lost: the agent that held it has restarted; {AGAIN}"))
                        }
                        Unfetched::Unavailable(why) => Status::unavailable(format!(
                            "the rest cannot be had now ({why}); if the node of that agent is gone, so are the rows: {AGAIN}"
                        )),
                    };
                    let _ = messages.send(Err(status)).await;
                    return;
                }
            };
            for block in text.chunks(MESSAGE_BYTES) {
                let mut message = Message::default();
                message.push_frame(0, block.to_vec().into());
                if messages.send(Ok(message)).await.is_err() {
                    return;
                }
            }
        }
    }
}

fn one(answer: ToSlot) -> Answers {
    Box::pin(futures::stream::iter([Ok(answer)]))
}
