//! An agent in the test's own process, those who call it, and what they are known by.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use operator::authority::{Authority, Lives};
use plan::MscrId;
use plan::task::{Attempt, Held, TaskId};
use proto::agent::{Inventory, InventoryRequest, Name, Named, Release, Released, Stored};
use proto::credentials::{Credentials, Door, Papers};
use proto::listen::connections;
use proto::token::{Claims, Role, Signer, authorization, now};
use proto::transport::{self, Serves, To};
use proto::{AgentClient, RunId, Term};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tonic::Status;

use crate::agent::options::Options;
use crate::agent::service::Service;
use crate::agent::{LIMITS, make_service};
use crate::passport::Passport;
use crate::wire::{Agents, WireError};

pub(crate) const TERM: Term = Term(7);
pub(crate) const LIVES: Lives = Lives { certificate: 3600, authority: 86_400 };

pub(crate) fn authority() -> Authority {
    Authority::new(LIVES, now()).unwrap()
}

/// As an operator.
pub(crate) fn operators(authority: &Authority) -> Arc<Credentials> {
    let issued = authority.operator([127, 0, 0, 1].into(), now()).unwrap();
    let papers = Papers { authority: authority.bundle(), own: Some((issued.certificate, issued.key)) };
    Credentials::new(papers, Door::Anybody).unwrap()
}

/// As the agent of a node.
pub(crate) fn agents(authority: &Authority, node: &str) -> Arc<Credentials> {
    let key = rcgen::KeyPair::generate().unwrap();
    let request = rcgen::CertificateParams::new(Vec::new()).unwrap().serialize_request(&key).unwrap().pem().unwrap();
    let issued = authority.agent(&request, node, [127, 0, 0, 1].into(), now()).unwrap();
    let papers = Papers { authority: authority.bundle(), own: Some((issued.certificate, key.serialize_pem())) };
    Credentials::new(papers, Door::Members).unwrap()
}

/// As an executor of a run.
pub(crate) fn executors(authority: &Authority, run: &RunId) -> Papers {
    executors_at(authority, run, now())
}

/// As an executor of a run whose certificate was made then.
pub(crate) fn executors_at(authority: &Authority, run: &RunId, made: u64) -> Papers {
    let papers = authority.executors(run, made).unwrap();
    Papers { authority: papers.authority, own: Some((papers.certificate, papers.key)) }
}

/// An agent without TLS on a port of its own, which has heard from a leader.
#[derive(Debug)]
pub(crate) struct Rig {
    pub(crate) runtime: Runtime,
    pub(crate) address: SocketAddr,
    pub(crate) service: Service,
    pub(crate) signer: Signer,
    /// What it serves with; `None`: without TLS.
    credentials: Option<Arc<Credentials>>,
    /// Has all connections, so that they end with it.
    server: Option<Runtime>,
    spill: tempfile::TempDir,
}

/// Enough memory for the process itself, and so much beside.
pub(crate) fn options(memory: u64, disk: u64, spill: &std::path::Path) -> Options {
    Options {
        operator: "127.0.0.1:1".to_owned(),
        node: "node".to_owned(),
        address: [127, 0, 0, 1].into(),
        port: 0,
        health_port: 0,
        memory: memory + (16 << 20),
        disk,
        spill: spill.to_owned(),
        token_file: spill.join("token"),
        authority_file: spill.join("ca.crt"),
    }
}

impl Rig {
    pub(crate) fn new(memory: u64, disk: u64) -> Rig {
        Rig::with(memory, disk, None)
    }

    /// With TLS, as any agent has it.
    pub(crate) fn secured(memory: u64, disk: u64, credentials: Arc<Credentials>) -> Rig {
        Rig::with(memory, disk, Some(credentials))
    }

    fn with(memory: u64, disk: u64, credentials: Option<Arc<Credentials>>) -> Rig {
        let runtime = two_threads();
        let spill = tempfile::tempdir().unwrap();
        let service = make_service(&options(memory, disk, spill.path()));
        let signer = Signer::new(&Signer::generate().unwrap()).unwrap();
        service.access.learn(TERM, &[signer.public_key()]);
        let mut rig = Rig { runtime, address: ([127, 0, 0, 1], 0).into(), service, signer, credentials, server: None, spill };
        rig.start();
        rig
    }

    pub(crate) fn token(&self, role: Role) -> String {
        self.signer.sign(&Claims { role, expires: now() + 60 })
    }

    /// The agents as an executor of a run sees them.
    pub(crate) fn agents(&self, run: &RunId) -> Agents {
        self.agents_with(run, &self.token(Role::Executor { run: run.clone() }))
    }

    pub(crate) fn agents_with(&self, run: &RunId, token: &str) -> Agents {
        Agents::new(self.runtime.handle().clone(), run.clone(), Passport::given(None, token).unwrap())
    }

    /// An executor with these papers and this token.
    pub(crate) fn stranger(&self, run: &RunId, papers: Papers, token: &str) -> Agents {
        let credentials = Credentials::new(papers, Door::Members).unwrap();
        Agents::new(self.runtime.handle().clone(), run.clone(), Passport::given(Some(credentials), token).unwrap())
    }

    pub(crate) fn spill(&self) -> &std::path::Path {
        self.spill.path()
    }

    pub(crate) fn put(&self, run: &RunId, attempt: Attempt, frames: &[(u32, Bytes)]) -> Result<Stored, WireError> {
        put_to(&self.agents(run), &self.address.to_string(), attempt, frames)
    }

    pub(crate) fn fetch(&self, run: &RunId, pieces: &[Held]) -> Result<Vec<Bytes>, WireError> {
        self.agents(run).fetch(pieces, &[self.address.to_string()])?.collect()
    }

    pub(crate) fn client(&self) -> AgentClient<tonic::transport::Channel> {
        let _entered = self.runtime.enter();
        transport::agent_client(transport::channel(To::agent(&self.address.to_string(), None)).unwrap())
    }

    pub(crate) fn call<T>(&self, message: T, role: Role) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        request.metadata_mut().insert("authorization", authorization(&self.token(role)).unwrap());
        request
    }

    pub(crate) fn name(&self, run: &RunId, winners: &[Attempt], fenced: &[Attempt]) -> Named {
        self.try_name(TERM, run, winners, fenced).unwrap()
    }

    pub(crate) fn try_name(&self, term: Term, run: &RunId, winners: &[Attempt], fenced: &[Attempt]) -> Result<Named, Status> {
        let name = Name { run: run.clone(), term, winners: winners.to_vec(), fenced: fenced.to_vec() };
        let mut client = self.client();
        self.runtime.block_on(client.name(self.call(name, Role::Operator { term }))).map(tonic::Response::into_inner)
    }

    pub(crate) fn release(&self, run: &RunId, attempts: Option<&[Attempt]>) -> Released {
        let release = Release { run: run.clone(), term: TERM, attempts: attempts.map(<[Attempt]>::to_vec) };
        let mut client = self.client();
        self.runtime.block_on(client.release(self.call(release, Role::Operator { term: TERM }))).unwrap().into_inner()
    }

    pub(crate) fn inventory(&self, run: &RunId) -> Inventory {
        let asked = InventoryRequest { run: run.clone(), term: TERM };
        let mut client = self.client();
        self.runtime.block_on(client.inventory(self.call(asked, Role::Operator { term: TERM }))).unwrap().into_inner()
    }

    /// Memory and disk that outputs take.
    pub(crate) fn used(&self) -> (u64, u64) {
        let budget = self.service.intake.room.budget();
        (budget.memory_used, budget.disk_used)
    }

    pub(crate) fn waiting(&self) -> Vec<RunId> {
        self.service.intake.room.budget().waiting()
    }

    /// Ends the server, and with it all connections; [`Rig::start`] begins again with what the store holds.
    pub(crate) fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.shutdown_timeout(Duration::from_secs(5));
        }
    }

    pub(crate) fn start(&mut self) {
        let server = two_threads();
        let listener = server.block_on(TcpListener::bind(self.address)).unwrap();
        self.address = listener.local_addr().unwrap();
        let (service, credentials) = (self.service.clone().gated(), self.credentials.clone());
        server.spawn(async move {
            let connections = connections(listener, credentials, LIMITS);
            transport::server(Serves::Agent).add_service(service).serve_with_incoming(connections).await.unwrap();
        });
        self.server = Some(server);
    }

    /// As a container that starts again: on the same address, with nothing.
    pub(crate) fn restart_empty(&mut self) {
        self.service = make_service(&options(64 << 20, 0, self.spill.path()));
        self.service.access.learn(TERM, &[self.signer.public_key()]);
        self.start();
    }
}

fn two_threads() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

pub(crate) fn put_to(agents: &Agents, address: &str, attempt: Attempt, frames: &[(u32, Bytes)]) -> Result<Stored, WireError> {
    let mut sender = agents.put(address, attempt)?;
    for (piece, frame) in frames {
        sender.send_blocking(*piece, frame.clone())?;
    }
    sender.finish(Bytes::from(format!("done {attempt}")))
}

pub(crate) fn run(name: &str) -> RunId {
    RunId::try_from(name.to_owned()).unwrap()
}

pub(crate) fn attempt(at: u32, number: u32) -> Attempt {
    Attempt { task: TaskId::Map { stage: MscrId(1), at }, number }
}

pub(crate) fn held(agent: u32, attempt: Attempt, piece: u32, frames: std::ops::Range<u32>) -> Held {
    Held { agent, attempt, piece, first: frames.start, end: frames.end }
}

/// Bytes that are different everywhere.
pub(crate) fn frame(seed: u32, length: usize) -> Bytes {
    let mut state = u64::from(seed) + 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect::<Vec<u8>>().into()
}

/// Waits until something is so.
pub(crate) fn until(what: &str, is_so: impl Fn() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < Duration::from_secs(60), "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn in_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> std::thread::JoinHandle<T> {
    std::thread::spawn(work)
}

/// A shared rig, for threads.
pub(crate) fn shared(memory: u64, disk: u64) -> Arc<Rig> {
    Arc::new(Rig::new(memory, disk))
}
