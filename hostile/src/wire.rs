//! What comes over a connection, from a slot's process, or back from what we kept: messages, chunks, frames, tokens, manifests.

use std::fmt::Debug;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use executor::slot::frame;
use executor::slot::protocol::{self, FromChild, ToChild};
use operator::manifest::run::RunFile;
use operator::master::api::Entry;
use plan::task::{Attempt, Done, Manifest, StagedSink, Task};
use proto::chunk::{Frames, Message};
use proto::codec::whole;
use proto::peer::Member;
use proto::token::{Claims, PublicKey, Refused, Signer, verify};
use proto::{agent, master};
use serde::Serialize;
use serde::de::DeserializeOwned;

type Read = fn(&[u8]);

/// Every message of both services, entries of run records, and what is kept with pieces.
const MESSAGES: [Read; 21] = [
    again::<master::FromSlot>,
    again::<master::ToSlot>,
    again::<master::Enroll>,
    again::<master::Enrolled>,
    again::<master::Beat>,
    again::<master::Orders>,
    again::<master::OutputRequest>,
    again::<agent::PutHeader>,
    again::<agent::Stored>,
    again::<agent::Fetch>,
    again::<agent::Name>,
    again::<agent::Named>,
    again::<agent::Release>,
    again::<agent::Released>,
    again::<agent::InventoryRequest>,
    again::<agent::Inventory>,
    // Those whose outputs are not held, in the status of an answer.
    again::<Vec<Attempt>>,
    again::<Done>,
    again::<Task>,
    again::<Claims>,
    again::<Entry>,
];

/// How many kinds of messages there are: the first byte of [`message`]'s bytes picks one.
pub const KINDS: usize = MESSAGES.len();

/// A message that can be read is written back as one that means the same.
fn again<T: Serialize + DeserializeOwned + Debug>(bytes: &[u8]) {
    let Ok(value) = whole::<T>(bytes) else { return };
    let packed = rmp_serde::to_vec_named(&value).expect("what was read can be written");
    let back: T = whole(&packed).expect("what was written can be read");
    assert_eq!(packed, rmp_serde::to_vec_named(&back).expect("as before"), "{value:?}");
}

/// A message of a kind that the first byte names.
pub(crate) fn message(bytes: &[u8]) {
    if let Some((kind, rest)) = bytes.split_first() {
        MESSAGES[usize::from(*kind) % KINDS](rest);
    }
}

/// Chunks of pieces, and the frames that they make.
pub(crate) fn chunks(bytes: &[u8]) {
    let Ok(message) = Message::decode(Bytes::copy_from_slice(bytes)) else { return };
    assert_eq!(message.wire_bytes(), bytes.len());
    let mut written = BytesMut::new();
    message.clone().encode(&mut written);
    assert_eq!(written, bytes);
    let (mut frames, total) = (Frames::default(), message.wire_bytes());
    let made: usize = message.chunks.into_iter().filter_map(|chunk| frames.push(chunk)).map(|frame| frame.len()).sum();
    assert!(made <= total);
}

/// A frame of rows, as a slot takes it apart; and a batch of a spill file is `spilled`.
pub(crate) fn frame(bytes: &[u8]) {
    if let Ok(batch) = frame::decode(bytes) {
        assert!(batch.rows <= batch.bytes.len(), "a row takes a byte at least");
        let back = frame::decode(&frame::encode(&batch).expect("it is not too large")).expect("it is whole");
        assert_eq!((back.rows, back.bytes), (batch.rows, batch.bytes));
    }
}

/// What a slot's process says to its executor, and hears from it: user code may have taken that process over.
pub(crate) fn child(bytes: &[u8]) {
    for mut rest in [bytes, bytes.get(1..).unwrap_or_default()] {
        while let Ok(Some(said)) = protocol::read::<FromChild>(&mut rest) {
            let _ = format!("{said:?}");
        }
    }
    let mut rest = bytes;
    while let Ok(Some(_)) = protocol::read::<ToChild>(&mut rest) {}
}

/// A token that nobody signed, whatever it looks like; and the name in a certificate.
pub(crate) fn token(bytes: &[u8]) {
    let _ = Member::of_certificate(bytes);
    let text = String::from_utf8_lossy(bytes);
    if let Some(member) = Member::parse(&text) {
        assert_eq!(member.to_string(), text);
    }
    let refused = verify(&text, &[PublicKey(vec![7; 32]), PublicKey(Vec::new())], 0);
    assert!(matches!(refused, Err(Refused::Forged)), "{refused:?}");
}

/// The manifest of a sink: whatever passes names nothing but the sink's own.
pub(crate) fn manifest(bytes: &[u8]) {
    let _ = whole::<Manifest>(bytes);
    let staged = StagedSink { encoded: bytes.to_vec(), location: String::new(), files: 0, rows: 0, bytes: 0 };
    if engine::sink::manifest::check(&staged).is_err() {
        return;
    }
    let value: serde_json::Value = serde_json::from_slice(bytes).expect("it passed");
    // Some other order of fields, or a struct as a list, is as good; what it says is looked at where it says it by name.
    let directory = &value["Directory"];
    if let (Some(target), Some(staging)) = (path(&directory["target"]), path(&directory["staging"])) {
        let beside = target.parent().map(Path::to_owned);
        assert!(staging.parent() == Some(&target) || staging.parent() == beside.as_deref(), "{staging:?} of {target:?}");
        assert_ne!(staging, target);
        for file in directory["how"]["OneByOne"]["files"].as_array().into_iter().flatten() {
            let file = file.as_str().expect("it passed");
            assert!(!file.contains(['/', '\0']) && !["", ".", ".."].contains(&file), "{file:?}");
        }
    }
}

fn path(bytes: &serde_json::Value) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    let bytes: Vec<u8> = bytes.as_array()?.iter().map(|byte| byte.as_u64().unwrap_or_default() as u8).collect();
    Some(std::ffi::OsString::from_vec(bytes).into())
}

/// The objects in which the operator keeps what a run is: others than the operator may have written them.
pub(crate) fn kept(bytes: &[u8]) {
    if let Ok(unzipped) = operator::record::unzipped(bytes) {
        again::<Entry>(&unzipped);
        let _ = serde_json::from_slice::<RunFile>(&unzipped);
    }
    again::<Entry>(bytes);
}

/// A signed token, for examples.
///
/// # Panics
/// If there is no randomness.
#[must_use]
pub fn signed(claims: &Claims) -> String {
    let key = Signer::generate().expect("there is randomness");
    Signer::new(&key).expect("it was just made").sign(claims)
}
