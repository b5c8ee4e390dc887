//! The whole agent against an operator of the test's own: enrolls, serves with TLS, beats, renews, finds the leader.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::Stream;
use operator::authority::Authority;
use proto::chunk::Message;
use proto::credentials::{Credentials, Door};
use proto::listen::connections;
use proto::master::{Beat, Enroll, Enrolled, FromSlot, Orders, OutputRequest, ToSlot};
use proto::peer::{Member, Peer, Shown};
use proto::token::{bearer, check, now};
use proto::transport::{self, Serves, not_leader};
use proto::{MasterServer, RunId, Term, master_server};
use tokio::net::TcpListener;
use tonic::{Request, Response, Status, Streaming};

use crate::agent::{LIMITS, serve};
use crate::passport::Passport;
use crate::rig::{attempt, authority, executors, frame, operators, options, put_to, run, until};
use crate::wire::Agents;

/// An operator, as far as agents know it.
struct Operator {
    authority: Arc<Authority>,
    /// Seconds that a certificate is good for.
    lasts: u64,
    enrolled: AtomicU32,
    beats: Mutex<Vec<Beat>>,
    runs: Mutex<Option<Vec<RunId>>>,
    /// Somebody else leads.
    leader: Mutex<Option<String>>,
}

impl Operator {
    fn new(authority: &Arc<Authority>, lasts: u64, leader: Option<SocketAddr>) -> Arc<Operator> {
        let (beats, runs, leader) = (Mutex::default(), Mutex::default(), Mutex::new(leader.map(|leader| leader.to_string())));
        Arc::new(Operator { authority: Arc::clone(authority), lasts, enrolled: AtomicU32::new(0), beats, runs, leader })
    }

    /// Serves; returns its address.
    async fn start(self: &Arc<Operator>) -> SocketAddr {
        self.start_at(([127, 0, 0, 1], 0).into()).await
    }

    async fn start_at(self: &Arc<Operator>, address: SocketAddr) -> SocketAddr {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = connections(listener, Some(operators(&self.authority)), LIMITS);
        let service = MasterServer::from_arc(Arc::clone(self));
        tokio::spawn(transport::server(Serves::Operator).add_service(service).serve_with_incoming(connections));
        address
    }

    fn elsewhere(&self) -> Option<Status> {
        self.leader.lock().unwrap().as_deref().map(|leader| not_leader(Some(leader)))
    }
}

#[tonic::async_trait]
impl master_server::Master for Operator {
    type WorkStream = Pin<Box<dyn Stream<Item = Result<ToSlot, Status>> + Send>>;
    type OutputStream = Pin<Box<dyn Stream<Item = Result<Message, Status>> + Send>>;

    async fn work(&self, _: Request<Streaming<FromSlot>>) -> Result<Response<Self::WorkStream>, Status> {
        Err(Status::unimplemented("no slots here"))
    }

    async fn output(&self, _: Request<OutputRequest>) -> Result<Response<Self::OutputStream>, Status> {
        Err(Status::unimplemented("no output here"))
    }

    async fn enroll(&self, request: Request<Enroll>) -> Result<Response<Enrolled>, Status> {
        if let Some(elsewhere) = self.elsewhere() {
            return Err(elsewhere);
        }
        assert_eq!(bearer(request.metadata()), Ok("projected"));
        assert_eq!(request.extensions().get::<Peer>().unwrap().shown, Shown::Nothing, "who enrolls has no certificate yet");
        let enroll = request.into_inner();
        self.enrolled.fetch_add(1, Ordering::Relaxed);
        let issued = self.authority.agent(&enroll.csr, &enroll.node, [127, 0, 0, 1].into(), now()).unwrap();
        // Long before it ends.
        let expires = now() + self.lasts;
        let (authority, keys) = (self.authority.bundle(), self.authority.keys());
        let token = self.authority.agent_token(&enroll.node, expires, now());
        Ok(Response::new(Enrolled { certificate: issued.certificate, expires, authority, keys, token }))
    }

    async fn beat(&self, request: Request<Beat>) -> Result<Response<Orders>, Status> {
        if let Some(leader) = self.leader.lock().unwrap().clone() {
            return Ok(Response::new(Orders::NotLeader { leader: Some(leader) }));
        }
        let peer = request.extensions().get::<Peer>().unwrap();
        assert_eq!(peer.shown, Shown::Member(Member::Agent { node: "node".to_owned() }));
        check(request.metadata(), peer, &self.authority.keys(), now()).unwrap();
        self.beats.lock().unwrap().push(request.into_inner());
        let (runs, keys) = (self.runs.lock().unwrap().clone(), self.authority.keys());
        Ok(Response::new(Orders::Leader { term: Term(3), runs, keys }))
    }
}

fn http(port: u16, path: &str) -> String {
    use std::io::{Read, Write};
    let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", port)) else { return String::new() };
    write!(stream, "GET {path} HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("[::]:0").unwrap().local_addr().unwrap().port()
}

/// An agent of its own runtime, whose operator is at `operator`; gone when the runtime is dropped.
fn agent(runtime: &tokio::runtime::Runtime, operator: SocketAddr, authority: &str, folder: &std::path::Path) -> (u16, u16) {
    std::fs::write(folder.join("token"), "projected\n").unwrap();
    std::fs::write(folder.join("ca.crt"), authority).unwrap();
    let (port, health_port) = (free_port(), free_port());
    let options =
        crate::agent::options::Options { operator: operator.to_string(), port, health_port, ..options(64 << 20, 0, folder) };
    runtime.spawn(async move { serve(options, std::future::pending()).await.unwrap() });
    (port, health_port)
}

#[test]
fn an_agent_enrolls_serves_with_tls_and_renews_without_breaking_a_stream() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let authority = Arc::new(authority());
    let operator = Operator::new(&authority, 4, None);
    let leader = runtime.block_on(operator.start());
    // The Service reaches a standby first.
    let standby = Operator::new(&authority, 4, Some(leader));
    let service = runtime.block_on(standby.start());
    let (port, health) = agent(&runtime, service, &authority.bundle(), folder.path());
    until("it is ready", || http(health, "/readyz").starts_with("HTTP/1.1 200"));
    assert!(http(health, "/healthz").starts_with("HTTP/1.1 200"));
    assert_eq!(standby.enrolled.load(Ordering::Relaxed), 0);

    let a = run("a");
    *operator.runs.lock().unwrap() = Some(vec![a.clone()]);
    let token = authority.executor_token(&a, now() + 60, now());
    let credentials = Credentials::new(executors(&authority, &a), Door::Members).unwrap();
    let agents =
        || Agents::new(runtime.handle().clone(), a.clone(), Passport::given(Some(Arc::clone(&credentials)), &token).unwrap());
    let (late, agents) = (agents(), agents());
    let address = format!("127.0.0.1:{port}");
    until("it has heard of the leader", || operator.beats.lock().unwrap().len() > 1);
    put_to(&agents, &address, attempt(1, 1), &[(0, frame(1, 3 << 20))]).unwrap();
    let mut open = agents.put(&address, attempt(2, 1)).unwrap();
    open.send_blocking(0, frame(1, 2 << 20)).unwrap();
    until("it renews its certificate", || operator.enrolled.load(Ordering::Relaxed) > 1);
    open.send_blocking(0, Bytes::from_static(b"more")).unwrap();
    open.finish(Bytes::from_static(b"done")).unwrap();
    until("a beat names the run", || {
        operator.beats.lock().unwrap().last().is_some_and(|beat| beat.runs == [a.clone()] && beat.memory_used > 5 << 20)
    });
    // A connection that begins now gets the new certificate.
    put_to(&late, &address, attempt(3, 1), &[]).unwrap();
    let page = http(health, "/metrics");
    assert!(page.contains("\ngleamflow_agent_puts_total 3\n") && page.contains("\ngleamflow_agent_runs 1\n"), "{page}");
}

#[test]
fn an_agent_enrolls_again_where_the_authority_is_another_one() {
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (agents, before, after) = (runtime(), runtime(), runtime());
    let folder = tempfile::tempdir().unwrap();
    let (lost, made) = (Arc::new(authority()), Arc::new(authority()));
    let operator = Operator::new(&lost, 3600, None);
    let service = before.block_on(operator.start());
    agent(&agents, service, &lost.bundle(), folder.path());
    until("it beats", || !operator.beats.lock().unwrap().is_empty());
    drop(before);
    let operator = Operator::new(&made, 3600, None);
    after.block_on(operator.start_at(service));
    std::fs::write(folder.path().join("ca.crt"), made.bundle()).unwrap();
    until("it beats for the new operator", || !operator.beats.lock().unwrap().is_empty());
    assert_eq!(operator.enrolled.load(Ordering::Relaxed), 1);
}

#[test]
fn an_agent_that_cannot_write_its_spill_folder_says_so_at_once() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let missing = std::path::Path::new("/no/such/folder");
    let ended = runtime.block_on(serve(options(64 << 20, 0, missing), std::future::pending()));
    assert_eq!(ended.unwrap_err().to_string(), "could not write to the spill folder /no/such/folder");
}
