//! What an executor and its slot processes say to each other: MessagePack behind a length, over a socket pair that is the
//! slot's standard input. Holds no user code's data beyond the limit below.

use std::io::{self, Read, Write};
use std::path::PathBuf;

use plan::task::{Attempt, Done, Failed, Task};
use proto::RunId;
use proto::codec::whole;
use proto::master::Settings;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The longest message: a task names pieces, which are a few hundred bytes each.
pub const LIMIT: usize = 256 << 20;

/// To a slot process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToChild {
    /// The first message.
    Open(Box<Opening>),
    /// For the tasks from now on.
    Settings(Settings),
    /// For the tasks from now on: MessagePack, zstd-compressed, as it came.
    Plan(#[serde(with = "serde_bytes")] Vec<u8>),
    Run {
        task: Box<Task>,
        output: String,
    },
    /// Stop soon, if this is what runs.
    Stop {
        attempt: Attempt,
    },
}

/// Who a slot process is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Opening {
    pub run: RunId,
    pub pod: String,
    pub slot: u32,
    /// Where the run's Secret is mounted: `token`, `ca.crt`, `tls.crt`, `tls.key`.
    pub credentials: PathBuf,
    /// Relative paths of a flow resolve here.
    pub base: PathBuf,
    /// Of this process alone.
    pub scratch: PathBuf,
    pub stores: Vec<StoreAccess>,
}

/// How a part of an object store is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StoreAccess {
    pub prefix: String,
    #[serde(default)]
    pub endpoint: Option<String>,
    #[serde(default)]
    pub region: Option<String>,
    /// A directory of files, each named as a variable and holding its value.
    #[serde(default)]
    pub secret_dir: Option<PathBuf>,
}

/// From a slot process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FromChild {
    /// Takes orders from now on.
    Ready,
    /// At most once a second.
    Progress {
        attempt: Attempt,
        rows: u64,
        bytes: u64,
    },
    Done {
        attempt: Attempt,
        done: Box<Done>,
    },
    Failed {
        attempt: Attempt,
        failed: Box<Failed>,
    },
}

/// Writes a message.
///
/// # Errors
/// If the other side is gone.
pub fn write(to: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    to.write_all(&pack(message)?)
}

/// Reads a message; `None`: the other side is gone.
///
/// # Errors
/// If the bytes are no message.
pub fn read<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let mut bytes = vec![0; checked(length)?];
    from.read_exact(&mut bytes)?;
    unpack(&bytes).map(Some)
}

/// As `write`.
///
/// # Errors
/// If the other side is gone.
pub async fn send(to: &mut (impl AsyncWrite + Unpin), message: &impl Serialize) -> io::Result<()> {
    let bytes = pack(message)?;
    to.write_all(&bytes).await
}

/// As `read`.
///
/// # Errors
/// If the bytes are no message.
pub async fn receive<T: DeserializeOwned>(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length).await {
        // A process that dies with orders unread resets the socket.
        Err(error) if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) => return Ok(None),
        other => other?,
    };
    let mut bytes = vec![0; checked(length)?];
    from.read_exact(&mut bytes).await?;
    unpack(&bytes).map(Some)
}

fn pack(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 4];
    rmp_serde::encode::write_named(&mut bytes, message).map_err(io::Error::other)?;
    let length = u32::try_from(bytes.len() - 4).ok().filter(|&length| length as usize <= LIMIT);
    let length = length.ok_or_else(|| invalid("a message is too long"))?;
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    Ok(bytes)
}

fn checked(length: [u8; 4]) -> io::Result<usize> {
    let length = u32::from_le_bytes(length) as usize;
    if length <= LIMIT { Ok(length) } else { Err(invalid("a message is too long")) }
}

fn unpack<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    whole(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

fn invalid(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back_as_they_were_until_the_end() {
        let attempt = Attempt { task: plan::task::TaskId::Stage, number: 2 };
        let sent = [FromChild::Ready, FromChild::Progress { attempt, rows: 1, bytes: 2 }];
        let mut bytes = Vec::new();
        sent.iter().for_each(|message| write(&mut bytes, message).unwrap());
        let mut rest = bytes.as_slice();
        assert_eq!(read::<FromChild>(&mut rest).unwrap().as_ref(), Some(&sent[0]));
        assert_eq!(read::<FromChild>(&mut rest).unwrap().as_ref(), Some(&sent[1]));
        assert_eq!(read::<FromChild>(&mut rest).unwrap(), None);
    }

    #[test]
    fn what_is_no_message_is_refused_before_it_is_held() {
        let check = |mut bytes: &[u8], expected: &str| {
            let error = read::<FromChild>(&mut bytes).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        };
        check(b"hello world", "too long");
        check(&[1, 0, 0, 0, 0xc1], "");
        check(&[9, 0, 0, 0, 1], "fill whole buffer");
    }
}
