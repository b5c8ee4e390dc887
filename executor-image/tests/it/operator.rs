//! An operator that does what the test says: every `Work` stream is handed to the test.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use operator::authority::{Authority, Lives, RunPapers};
use plan::task::Attempt;
use proto::chunk::Message;
use proto::credentials::{Credentials, Door, Papers};
use proto::listen::{Limits, connections};
use proto::master::{Beat, Enroll, Enrolled, FromSlot, Orders, OutputRequest, ToSlot};
use proto::peer::{Member, Peer, Shown};
use proto::token::now;
use proto::transport::{self, Serves};
use proto::{MasterServer, RunId, master_server};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) const LIVES: Lives = Lives { certificate: 3600, authority: 86_400 };

pub(crate) struct Operator {
    authority: Arc<Authority>,
    address: SocketAddr,
    streams: Mutex<mpsc::Receiver<Stream>>,
    stop: std::sync::Mutex<Option<oneshot::Sender<()>>>,
    server: std::sync::Mutex<Option<tokio::task::JoinHandle<()>>>,
}

/// A slot's stream.
pub(crate) struct Stream {
    to: mpsc::Sender<Result<ToSlot, Status>>,
    from: Streaming<FromSlot>,
    authorization: String,
}

impl Operator {
    pub(crate) async fn start() -> Operator {
        Operator::serve(Arc::new(Authority::new(LIVES, now()).unwrap()), "127.0.0.1:0".parse().unwrap()).await
    }

    async fn serve(authority: Arc<Authority>, address: SocketAddr) -> Operator {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (to_streams, streams) = mpsc::channel(16);
        let (stop, stopped) = oneshot::channel::<()>();
        let service = transport::server(Serves::Operator).add_service(MasterServer::new(Master(to_streams)));
        let connections = connections(listener, Some(credentials(&authority)), Limits { all: 100, each: 100 });
        let serving = tokio::spawn(async move {
            tokio::select! {
                served = service.serve_with_incoming(connections) => served.unwrap(),
                _ = stopped => {}
            }
        });
        Operator { authority, address, streams: Mutex::new(streams), stop: Some(stop).into(), server: Some(serving).into() }
    }

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// What executors of a run are given.
    pub(crate) fn papers(&self, run: &str) -> RunPapers {
        self.authority.executors(&RunId::try_from(run.to_owned()).unwrap(), now()).unwrap()
    }

    /// The next stream that a slot opens.
    pub(crate) async fn stream(&self) -> Stream {
        let mut streams = self.streams.lock().await;
        tokio::time::timeout(PATIENCE, streams.recv()).await.expect("a slot opens a stream").expect("the operator runs")
    }

    /// Ends, with all its connections.
    pub(crate) async fn stop(&self) {
        drop(self.stop.lock().unwrap().take());
        let server = self.server.lock().unwrap().take();
        server.expect("it runs").await.unwrap();
    }

    /// Comes back at the same address, as another process would.
    pub(crate) async fn restart(&self) -> Operator {
        Operator::serve(Arc::clone(&self.authority), self.address).await
    }
}

impl Stream {
    pub(crate) async fn say(&self, order: ToSlot) {
        self.to.send(Ok(order)).await.expect("the slot listens");
    }

    /// The next message; `None`: the slot closed the stream.
    pub(crate) async fn next(&mut self) -> Option<FromSlot> {
        tokio::time::timeout(PATIENCE, self.from.message()).await.expect("the slot says something").ok().flatten()
    }

    /// The next message that is a result.
    pub(crate) async fn result(&mut self) -> FromSlot {
        loop {
            match self.next().await.expect("the slot reports") {
                FromSlot::Progress { .. } | FromSlot::Draining => {}
                other => return other,
            }
        }
    }

    /// What the slot says in its greeting that it works on.
    pub(crate) async fn busy(&mut self) -> Option<Attempt> {
        match self.next().await {
            Some(FromSlot::Hello { run, pod, node, busy, .. }) => {
                assert_eq!((run.as_str(), pod.as_str(), node.as_str()), ("abc-1", "pod-1", "node-1"));
                busy
            }
            other => panic!("no greeting: {other:?}"),
        }
    }

    pub(crate) fn authorization(&self) -> &str {
        &self.authorization
    }
}

struct Master(mpsc::Sender<Stream>);

#[tonic::async_trait]
impl master_server::Master for Master {
    type WorkStream = ReceiverStream<Result<ToSlot, Status>>;
    type OutputStream = ReceiverStream<Result<Message, Status>>;

    async fn work(&self, request: Request<Streaming<FromSlot>>) -> Result<Response<Self::WorkStream>, Status> {
        let executor = Member::Executor { run: RunId::try_from("abc-1".to_owned()).unwrap() };
        assert_eq!(request.extensions().get::<Peer>().unwrap().shown, Shown::Member(executor));
        let authorization =
            request.metadata().get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        let (to, orders) = mpsc::channel(16);
        let stream = Stream { to, from: request.into_inner(), authorization };
        self.0.send(stream).await.map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(ReceiverStream::new(orders)))
    }

    async fn enroll(&self, _: Request<Enroll>) -> Result<Response<Enrolled>, Status> {
        Err(Status::unimplemented("no agents here"))
    }

    async fn beat(&self, _: Request<Beat>) -> Result<Response<Orders>, Status> {
        Err(Status::unimplemented("no agents here"))
    }

    async fn output(&self, _: Request<OutputRequest>) -> Result<Response<Self::OutputStream>, Status> {
        Err(Status::unimplemented("no command line here"))
    }
}

/// As an operator serves with.
pub(crate) fn credentials(authority: &Authority) -> Arc<Credentials> {
    let issued = authority.operator([127, 0, 0, 1].into(), now()).unwrap();
    let papers = Papers { authority: authority.bundle(), own: Some((issued.certificate, issued.key)) };
    Credentials::new(papers, Door::Anybody).unwrap()
}
