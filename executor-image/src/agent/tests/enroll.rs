//! The whole agent against an operator of the test's own: enrolls, serves with TLS, beats, renews, finds the leader.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::Stream;
use proto::chunk::Message;
use proto::master::{Beat, Enroll, Enrolled, FromSlot, Orders, OutputRequest, ToSlot};
use proto::token::{Claims, Role, Signer, bearer, now};
use proto::transport::{self, SERVER_NAME, not_leader};
use proto::{MasterServer, RunId, Term, master_server};
use rcgen::{BasicConstraints, CertificateParams, CertificateSigningRequestParams, IsCa, Issuer, KeyPair};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, Streaming};

use crate::agent::serve;
use crate::rig::{attempt, frame, options, put_to, run, until};
use crate::wire::Agents;

/// What all operators have from their Secret.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    signer: Signer,
}

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

impl Authority {
    fn new() -> Arc<Authority> {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        let signer = Signer::new(&Signer::generate().unwrap()).unwrap();
        Arc::new(Authority { issuer: Issuer::new(params, key), pem, signer })
    }
}

impl Operator {
    fn new(authority: &Arc<Authority>, lasts: u64, leader: Option<SocketAddr>) -> Arc<Operator> {
        let (beats, runs, leader) = (Mutex::default(), Mutex::default(), Mutex::new(leader.map(|leader| leader.to_string())));
        Arc::new(Operator { authority: Arc::clone(authority), lasts, enrolled: AtomicU32::new(0), beats, runs, leader })
    }

    /// Serves; returns its address.
    async fn start(self: &Arc<Operator>) -> SocketAddr {
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(vec![SERVER_NAME.to_owned()]).unwrap().signed_by(&key, &self.authority.issuer).unwrap().pem();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut server = transport::server(Some((&certificate, &key.serialize_pem()))).unwrap();
        let service = MasterServer::from_arc(Arc::clone(self));
        tokio::spawn(server.add_service(service).serve_with_incoming(TcpListenerStream::new(listener)));
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
        let enroll = request.into_inner();
        let csr = CertificateSigningRequestParams::from_pem(&enroll.csr).unwrap();
        assert_eq!(csr.params.subject_alt_names.len(), 2);
        self.enrolled.fetch_add(1, Ordering::Relaxed);
        let expires = now() + self.lasts;
        let token = self.authority.signer.sign(&Claims { role: Role::Agent { node: enroll.node }, expires });
        let certificate = csr.signed_by(&self.authority.issuer).unwrap().pem();
        Ok(Response::new(Enrolled {
            certificate,
            expires,
            authority: self.authority.pem.clone(),
            keys: vec![self.authority.signer.public_key()],
            token,
        }))
    }

    async fn beat(&self, request: Request<Beat>) -> Result<Response<Orders>, Status> {
        if let Some(leader) = self.leader.lock().unwrap().clone() {
            return Ok(Response::new(Orders::NotLeader { leader: Some(leader) }));
        }
        proto::token::verify(bearer(request.metadata()).unwrap(), &[self.authority.signer.public_key()], now()).unwrap();
        self.beats.lock().unwrap().push(request.into_inner());
        let (runs, keys) = (self.runs.lock().unwrap().clone(), vec![self.authority.signer.public_key()]);
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
    let authority = Authority::new();
    let operator = Operator::new(&authority, 4, None);
    let leader = runtime.block_on(operator.start());
    // The Service reaches a standby first.
    let standby = Operator::new(&authority, 4, Some(leader));
    let service = runtime.block_on(standby.start());
    let (port, health) = agent(&runtime, service, &authority.pem, folder.path());
    until("it is ready", || http(health, "/readyz").starts_with("HTTP/1.1 200"));
    assert!(http(health, "/healthz").starts_with("HTTP/1.1 200"));
    assert_eq!(standby.enrolled.load(Ordering::Relaxed), 0);

    let a = run("a");
    *operator.runs.lock().unwrap() = Some(vec![a.clone()]);
    let token = authority.signer.sign(&Claims { role: Role::Executor { run: a.clone() }, expires: now() + 60 });
    let agents = Agents::new(runtime.handle().clone(), a.clone(), Some(authority.pem.clone()), &token).unwrap();
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
    let late = Agents::new(runtime.handle().clone(), a, Some(authority.pem.clone()), &token).unwrap();
    put_to(&late, &address, attempt(3, 1), &[]).unwrap();
    let page = http(health, "/metrics");
    assert!(page.contains("\ngleamflow_agent_puts_total 3\n") && page.contains("\ngleamflow_agent_runs 1\n"), "{page}");
}

#[test]
fn an_agent_that_cannot_write_its_spill_folder_says_so_at_once() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let missing = std::path::Path::new("/no/such/folder");
    let ended = runtime.block_on(serve(options(64 << 20, 0, missing), std::future::pending()));
    assert_eq!(ended.unwrap_err().to_string(), "could not write to the spill folder /no/such/folder");
}
