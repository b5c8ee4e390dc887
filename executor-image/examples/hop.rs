//! One hop of a shuffle against a bare tonic stream of `Bytes`, under the same TLS, over loopback, in one process:
//! `cargo run --release -p executor --example hop` (more rounds: `-- 20`). Prints bytes per second of each, and the ratios;
//! the same by processor time (of both ends), which neighbours on the machine do not change much.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::{Buf, BufMut, Bytes};
use executor::agent::options::Options;
use executor::agent::{LIMITS, make_service};
use executor::passport::Passport;
use executor::wire::Agents;
use futures::StreamExt;
use futures::stream;
use operator::authority::{Authority, Lives};
use plan::task::{Attempt, Held, TaskId};
use proto::credentials::{Credentials, Door, Papers};
use proto::listen::connections;
use proto::token::now;
use proto::transport::{self, Serves, To};
use proto::{RunId, Term};
use rcgen::{CertificateParams, KeyPair};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::{BoxFuture, Service};
use tonic::server::{ClientStreamingService, NamedService, ServerStreamingService};
use tonic::{Response, Status, Streaming};

/// Of one round.
const BYTES: usize = 256 << 20;
const FRAME: usize = 256 << 10;
const MESSAGE: usize = 1 << 20;

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let rounds = std::env::args().nth(1).map_or(Ok(8), |text| text.parse())?;
    let bench = Bench::new()?;
    let mut spent: [Spent; 4] = Default::default();
    for round in 0..rounds {
        let attempt = Attempt { task: TaskId::Stage, number: round + 1 };
        spent[0].add(|| bench.bare("/bare.Bare/In"))?;
        spent[1].add(|| bench.put(attempt))?;
        spent[2].add(|| bench.bare("/bare.Bare/Out"))?;
        bench.service.intake.store.name(&bench.run, &[attempt], &[]);
        spent[3].add(|| bench.fetch(attempt))?;
        bench.service.intake.store.release(&bench.run, Some(&[attempt]));
    }
    let mut report = String::new();
    for (name, bare, ours) in [("put  ", &spent[0], &spent[1]), ("fetch", &spent[2], &spent[3])] {
        report +=
            &format!("{name} wall {}, processor {}\n", ratio(bare.wall(), ours.wall()), ratio(bare.processor, ours.processor));
    }
    std::io::Write::write_all(&mut std::io::stdout(), report.as_bytes())?;
    Ok(())
}

/// Of rates, in GB/s.
fn ratio(bare: (f64, u32), ours: (f64, u32)) -> String {
    let rate = |(seconds, rounds): (f64, u32)| f64::from(rounds) * BYTES as f64 / seconds / 1e9;
    format!("{:.2} GB/s of bare {:.2}: {:.2}", rate(ours), rate(bare), rate(ours) / rate(bare))
}

/// Seconds of one kind of hop.
#[derive(Default)]
struct Spent {
    walls: Vec<f64>,
    /// Sum, and over how many rounds.
    processor: (f64, u32),
}

impl Spent {
    fn add(&mut self, work: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
        let (begin, processor) = (Instant::now(), processor_seconds()?);
        work()?;
        self.walls.push(begin.elapsed().as_secs_f64());
        self.processor = (self.processor.0 + processor_seconds()? - processor, self.processor.1 + 1);
        Ok(())
    }

    /// The best round.
    fn wall(&self) -> (f64, u32) {
        (self.walls.iter().copied().fold(f64::INFINITY, f64::min), 1)
    }
}

/// Of this process: user and system ticks, 100 a second on Linux.
fn processor_seconds() -> Result<f64, Failure> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit_once(')').ok_or("no name in /proc/self/stat")?.1;
    let ticks = after_name.split_whitespace().skip(11).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    Ok(ticks as f64 / 100.0)
}

struct Bench {
    client: Runtime,
    _server: Runtime,
    credentials: Arc<Credentials>,
    address: String,
    agents: Agents,
    run: RunId,
    service: executor::agent::service::Service,
    bare: std::sync::OnceLock<tonic::transport::Channel>,
}

impl Bench {
    fn new() -> Result<Bench, Failure> {
        let (client, server) = (threads(1)?, threads(1)?);
        let run = RunId::try_from("bench".to_owned())?;
        let authority = Authority::new(Lives { certificate: 86_400, authority: 10 * 86_400 }, now())?;
        let (identity, credentials) = (agents(&authority)?, executors(&authority, &run)?);
        let spill = std::env::temp_dir();
        let options = Options {
            operator: String::new(),
            node: String::new(),
            address: [127, 0, 0, 1].into(),
            port: 0,
            health_port: 0,
            memory: 2 << 30,
            disk: 0,
            spill,
            token_file: "/".into(),
            authority_file: "/".into(),
        };
        let service = make_service(&options);
        service.access.learn(Term(1), &authority.keys());
        let listener = server.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?.to_string();
        let calls = service.clone().gated();
        server.spawn(async move {
            let connections = connections(listener, Some(identity), LIMITS);
            transport::server(Serves::Agent).add_service(calls).add_service(Bare).serve_with_incoming(connections).await
        });
        let token = authority.executor_token(&run, u64::MAX, now());
        let passport = Passport::given(Some(Arc::clone(&credentials)), &token)?;
        let agents = Agents::new(client.handle().clone(), run.clone(), passport);
        Ok(Bench { client, _server: server, credentials, address, agents, run, service, bare: std::sync::OnceLock::new() })
    }

    fn put(&self, attempt: Attempt) -> Result<(), Failure> {
        let frame = Bytes::from(vec![7; FRAME]);
        let mut sender = self.agents.put(&self.address, attempt)?;
        for at in 0..BYTES / FRAME {
            sender.send_blocking(at as u32 % 4, frame.clone())?;
        }
        sender.finish(Bytes::from_static(b"done"))?;
        Ok(())
    }

    fn fetch(&self, attempt: Attempt) -> Result<(), Failure> {
        let end = (BYTES / FRAME / 4) as u32;
        let pieces: Vec<Held> = (0..4).map(|piece| Held { agent: 0, attempt, piece, first: 0, end }).collect();
        let mut bytes = 0;
        for frame in self.agents.fetch(&pieces, std::slice::from_ref(&self.address))? {
            bytes += frame?.len();
        }
        if bytes == BYTES { Ok(()) } else { Err(format!("{bytes} bytes came back").into()) }
    }

    fn bare(&self, path: &'static str) -> Result<(), Failure> {
        let _entered = self.client.enter();
        let channel = transport::channel(To::agent(&self.address, Some(&self.credentials)))?;
        let channel = self.bare.get_or_init(|| channel).clone();
        self.client.block_on(async move {
            let mut grpc = tonic::client::Grpc::new(channel);
            grpc.ready().await?;
            let path = path.parse()?;
            if path == "/bare.Bare/In" {
                grpc.client_streaming(tonic::Request::new(messages()), path, Raw).await?;
                return Ok(());
            }
            let mut stream = grpc.server_streaming(tonic::Request::new(Bytes::new()), path, Raw).await?.into_inner();
            while let Some(message) = stream.message().await? {
                drop(message);
            }
            Ok(())
        })
    }
}

fn threads(count: usize) -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(count).enable_all().build()
}

/// As an agent serves with.
fn agents(authority: &Authority) -> Result<Arc<Credentials>, Failure> {
    let key = KeyPair::generate()?;
    let request = CertificateParams::new(Vec::new())?.serialize_request(&key)?.pem()?;
    let issued = authority.agent(&request, "node", [127, 0, 0, 1].into(), now())?;
    let papers = Papers { authority: authority.bundle(), own: Some((issued.certificate, key.serialize_pem())) };
    Ok(Credentials::new(papers, Door::Members)?)
}

/// As the executors of a run call.
fn executors(authority: &Authority, run: &RunId) -> Result<Arc<Credentials>, Failure> {
    let papers = authority.executors(run, now())?;
    let papers = Papers { authority: papers.authority, own: Some((papers.certificate, papers.key)) };
    Ok(Credentials::new(papers, Door::Members)?)
}

fn messages() -> impl futures::Stream<Item = Bytes> + Send + 'static {
    let message = Bytes::from(vec![7; MESSAGE]);
    stream::iter((0..BYTES / MESSAGE).map(move |_| message.clone()))
}

/// Takes or gives bytes and does nothing with them.
#[derive(Clone)]
struct Bare;

impl NamedService for Bare {
    const NAME: &'static str = "bare.Bare";
}

impl Service<tonic::codegen::http::Request<tonic::body::Body>> for Bare {
    type Response = tonic::codegen::http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: tonic::codegen::http::Request<tonic::body::Body>) -> Self::Future {
        Box::pin(async move {
            let mut grpc = tonic::server::Grpc::new(Raw);
            Ok(match request.uri().path() {
                "/bare.Bare/In" => grpc.client_streaming(In, request).await,
                _ => grpc.server_streaming(Out, request).await,
            })
        })
    }
}

struct In;

impl ClientStreamingService<Bytes> for In {
    type Response = Bytes;
    type Future = BoxFuture<Response<Bytes>, Status>;

    fn call(&mut self, request: tonic::Request<Streaming<Bytes>>) -> Self::Future {
        Box::pin(async move {
            let mut messages = request.into_inner();
            while let Some(message) = messages.message().await? {
                drop(message);
            }
            Ok(Response::new(Bytes::new()))
        })
    }
}

struct Out;

impl ServerStreamingService<Bytes> for Out {
    type Response = Bytes;
    type ResponseStream = std::pin::Pin<Box<dyn futures::Stream<Item = Result<Bytes, Status>> + Send>>;
    type Future = BoxFuture<Response<Self::ResponseStream>, Status>;

    fn call(&mut self, _: tonic::Request<Bytes>) -> Self::Future {
        let stream: Self::ResponseStream = Box::pin(messages().map(Ok));
        Box::pin(async move { Ok(Response::new(stream)) })
    }
}

struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.reserve(item.len());
        out.put(item);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(8 << 10, 64 << 10)
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(8 << 10, 64 << 10)
    }
}
