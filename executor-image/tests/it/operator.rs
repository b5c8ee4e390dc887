//! An operator that does what the test says: every `Work` stream is handed to the test.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use plan::task::Attempt;
use proto::chunk::Message;
use proto::master::{Beat, Enroll, Enrolled, FromSlot, Orders, OutputRequest, ToSlot};
use proto::{MasterServer, master_server, transport};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// Keys and certificates of an operator.
pub(crate) struct Identity {
    pub(crate) authority: String,
    certificate: String,
    key: String,
}

pub(crate) struct Operator {
    pub(crate) identity: Arc<Identity>,
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
        Operator::serve(Arc::new(identity()), "127.0.0.1:0".parse().unwrap()).await
    }

    async fn serve(identity: Arc<Identity>, address: SocketAddr) -> Operator {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (to_streams, streams) = mpsc::channel(16);
        let (stop, stopped) = oneshot::channel::<()>();
        let mut server = transport::server(Some((&identity.certificate, &identity.key))).unwrap();
        let service = server.add_service(MasterServer::new(Master(to_streams)));
        let serving = tokio::spawn(async move {
            tokio::select! {
                served = service.serve_with_incoming(TcpListenerStream::new(listener)) => served.unwrap(),
                _ = stopped => {}
            }
        });
        Operator { identity, address, streams: Mutex::new(streams), stop: Some(stop).into(), server: Some(serving).into() }
    }

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
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
        Operator::serve(Arc::clone(&self.identity), self.address).await
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

fn identity() -> Identity {
    let authority_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&authority_key).unwrap().pem();
    let issuer = Issuer::new(params, authority_key);
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![transport::SERVER_NAME.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    Identity { authority, certificate: certificate.pem(), key: key.serialize_pem() }
}
