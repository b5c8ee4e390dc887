//! The `Work` stream to the operator: opened with the run's certificate and token, told apart by numbers, ended without losing what was sent.

use std::path::PathBuf;
use std::time::Duration;

use proto::MasterClient;
use proto::master::{FromSlot, ToSlot};
use proto::transport::{self, To};
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Request;

use crate::passport::{Passport, PassportError};

/// Messages on their way out: results are few, progress comes once a second.
const OUTGOING: usize = 64;
/// The largest message of the operator: a task names every piece that it reads.
const MESSAGE_LIMIT: usize = 64 << 20;

/// How long the other side may take to end a stream that we ended, and how often it is looked whether we did.
const CLOSE_PATIENCE: Duration = Duration::from_secs(1);
const CLOSE_INTERVAL: Duration = Duration::from_secs(1);

/// Why there is no link.
#[derive(Debug, Error)]
pub(super) enum LinkError {
    #[error(transparent)]
    Passport(#[from] PassportError),
    #[error("failed to set up a connection to {address}")]
    SetUp {
        address: String,
        #[source]
        source: tonic::transport::Error,
    },
    #[error("the operator at {address} refused: {status}")]
    Refused { address: String, status: String },
}

/// What comes over a link.
#[derive(Debug)]
pub(super) enum Heard {
    Said(ToSlot),
    Down(String),
}

/// Where operators are, and what lets us in.
#[derive(Clone, Debug)]
pub(super) struct Dialer {
    /// The Service, which reaches any of them.
    pub(super) operator: String,
    pub(super) credentials: PathBuf,
}

/// An open link. Closed or dropped: what was sent still goes out, then it ends.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) number: u64,
    outgoing: mpsc::Sender<FromSlot>,
    task: JoinHandle<()>,
}

impl Link {
    /// Opens a link; what happens to it is told with its number.
    pub(super) fn open(
        number: u64,
        dialer: &Dialer,
        leader: Option<String>,
        hello: FromSlot,
        to: mpsc::Sender<(u64, Heard)>,
    ) -> Link {
        let (outgoing, messages) = mpsc::channel(OUTGOING);
        outgoing.try_send(hello).expect("a new channel has room");
        let dialer = dialer.clone();
        let open = outgoing.downgrade();
        // Ends with the stream, or a while after `outgoing`.
        let task = tokio::spawn(async move {
            let why = tokio::select! {
                talked = talk(number, &dialer, leader, messages, &to) => match talked {
                    Ok(()) => "it ended".to_owned(),
                    Err(error) => plan::in_full(&error),
                },
                () = long_closed(&open) => return,
            };
            // Nobody listens any more when the slot is over.
            let _ = to.send((number, Heard::Down(why))).await;
        });
        Link { number, outgoing, task }
    }

    /// Lets go of it; done when all that was sent is out, or it takes too long.
    pub(super) fn close(self) -> JoinHandle<()> {
        self.task
    }

    /// Sends a message; false: the link does not take it, and so is none.
    pub(super) fn send(&self, message: FromSlot) -> bool {
        let progress = matches!(message, FromSlot::Progress { .. });
        match self.outgoing.try_send(message) {
            Ok(()) => true,
            // Progress that is late is worth nothing.
            Err(_) => progress,
        }
    }
}

/// Done a while after a link was let go of: the other side may keep its half open for ever.
async fn long_closed(open: &mpsc::WeakSender<FromSlot>) {
    while open.strong_count() > 0 {
        tokio::time::sleep(CLOSE_INTERVAL).await;
    }
    tokio::time::sleep(CLOSE_PATIENCE).await;
}

async fn talk(
    number: u64,
    dialer: &Dialer,
    leader: Option<String>,
    messages: mpsc::Receiver<FromSlot>,
    to: &mpsc::Sender<(u64, Heard)>,
) -> Result<(), LinkError> {
    let address = leader.unwrap_or_else(|| dialer.operator.clone());
    // Read each time: the kubelet renews what is mounted.
    let passport = Passport::mounted(&dialer.credentials)?;
    let way = To::operator(&address, passport.credentials());
    let channel = transport::channel(way).map_err(|source| LinkError::SetUp { address: address.clone(), source })?;
    let mut request = Request::new(ReceiverStream::new(messages));
    request.metadata_mut().insert("authorization", passport.token());
    let refused = |status: tonic::Status| LinkError::Refused { address: address.clone(), status: explain(&status) };
    let mut client = MasterClient::new(channel).max_decoding_message_size(MESSAGE_LIMIT).max_encoding_message_size(MESSAGE_LIMIT);
    let mut incoming = client.work(request).await.map_err(refused)?.into_inner();
    while let Some(said) = incoming.message().await.map_err(refused)? {
        if to.send((number, Heard::Said(said))).await.is_err() {
            break;
        }
    }
    Ok(())
}

fn explain(status: &tonic::Status) -> String {
    let source = std::error::Error::source(status).map(|source| format!(": {}", plan::in_full(source)));
    format!("{:?}, {}{}", status.code(), status.message(), source.unwrap_or_default())
}
