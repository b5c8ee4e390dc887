//! The record of a run: one ConfigMap per entry, never changed. Who makes the `n`-th first has the say; everybody else is superseded.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::Arc;

use proto::RunId;
use proto::codec::whole;
use serde_json::{Value, json};

use crate::manifest::run::{output, record, record_bytes};
use crate::master::api::{Entry, KeepError, RecordError, Recorder};
use crate::naming;
use crate::server::{ApiError, Kind, Ref, Server};
use crate::view::{self, FlowView};

/// Bytes in one ConfigMap: objects may be 1 MiB, and base64 adds a third.
const PART: usize = 700 * 1024;
/// The place of an entry, who wrote it, and its further parts, in order.
const AT: &str = "gleamflow.io/at";
const WRITER: &str = "gleamflow.io/writer";
const PARTS: &str = "gleamflow.io/parts";

/// Whose record it is.
#[derive(Clone, Debug)]
pub struct Place {
    pub flow: FlowView,
    pub run: RunId,
    pub base: String,
}

/// Writes a run's record.
#[derive(Debug)]
pub struct RunRecorder {
    server: Arc<dyn Server>,
    place: Place,
    writer: String,
}

impl RunRecorder {
    /// `writer` is this process in this term.
    #[must_use]
    pub fn new(server: Arc<dyn Server>, place: Place, writer: String) -> RunRecorder {
        RunRecorder { server, place, writer }
    }

    async fn create(&self, object: &Value) -> Result<(), ApiError> {
        self.server.create(Kind::ConfigMap, &self.place.flow.key.namespace, object).await.map(drop)
    }

    /// Parts beyond the first; their names tell their content, so that one that is there already is the same.
    async fn parts(&self, name: &str, rest: &[u8]) -> Result<Vec<String>, ApiError> {
        let mut names = Vec::new();
        for part in rest.chunks(PART) {
            let part_name = format!("{name}-{}", &naming::hash(part)[..16]);
            let object = record(&self.place.flow, self.place.run.as_str(), &part_name, json!({}), part);
            match self.create(&object).await {
                Ok(()) | Err(ApiError::AlreadyExists(_)) => names.push(part_name),
                Err(error) => return Err(error),
            }
        }
        Ok(names)
    }

    /// An entry is there already: ours, if the answer to its making was lost; a later leader's, which has the run then; or an
    /// earlier leader's, whose write was on its way when we read the record.
    async fn met(&self, name: &str, made: &Value) -> Result<(), RecordError> {
        let place = Ref::new(Kind::ConfigMap, &self.place.flow.key.namespace, name);
        let there = self.server.get(&place).await.map_err(trouble)?;
        let writer = view::marked(&there, "annotations", WRITER);
        let of_record = view::marked(&there, "labels", naming::RECORD).is_some();
        if view::controller(&there) != self.place.flow.uid || !of_record {
            return Err(RecordError::Impossible(format!("{place} is there already and belongs to something else")));
        }
        if writer == Some(self.writer.as_str()) && there.get("binaryData") == made.get("binaryData") {
            return Ok(());
        }
        if writer.and_then(term) > term(&self.writer) { Err(RecordError::Superseded) } else { Err(RecordError::Behind) }
    }
}

#[tonic::async_trait]
impl Recorder for RunRecorder {
    async fn append(&self, run: &RunId, at: usize, entry: &Entry) -> Result<(), RecordError> {
        if *run != self.place.run {
            return Err(RecordError::Impossible(format!("run {run} is not the one of this record, {}", self.place.run)));
        }
        let bytes = encode(entry)?;
        let name = naming::record(&self.place.base, at);
        let (first, rest) = bytes.split_at(bytes.len().min(PART));
        let parts = self.parts(&name, rest).await.map_err(trouble)?;
        let annotations = json!({AT: at.to_string(), WRITER: self.writer, PARTS: parts.join(",")});
        let object = record(&self.place.flow, run.as_str(), &name, annotations, first);
        match self.create(&object).await {
            Ok(()) => Ok(()),
            Err(ApiError::AlreadyExists(_)) => self.met(&name, &object).await,
            Err(error) => Err(trouble(error)),
        }
    }

    async fn read(&self, run: &RunId) -> Result<Vec<Entry>, RecordError> {
        read_record(self.server.as_ref(), &self.place.flow.key.namespace, run).await.map_err(trouble)
    }

    async fn keep_output(&self, run: &RunId, rows: &BTreeMap<String, Vec<u8>>) -> Result<(), KeepError> {
        let mut object = output(&self.place.flow, run.as_str(), &self.place.base, rows);
        object["metadata"]["annotations"] = json!({WRITER: self.writer});
        let namespace = &self.place.flow.key.namespace;
        match self.server.create(Kind::Secret, namespace, &object).await {
            Ok(_) => return Ok(()),
            Err(ApiError::AlreadyExists(_)) => {}
            Err(error) => return Err(error.into()),
        }
        // Rows were kept before: by us, by a leader that went before it committed, or by one after us. Those of the last one count,
        // in whatever order they come; an object goes only as it was looked at.
        let place = Ref::new(Kind::Secret, namespace, &naming::output(&self.place.base));
        let there = self.server.get(&place).await?;
        if view::controller(&there) != self.place.flow.uid {
            return Err(KeepError::Impossible(format!("{place} is there already and belongs to something else")));
        }
        if view::marked(&there, "annotations", WRITER).and_then(term) > term(&self.writer) {
            return Err(KeepError::Superseded);
        }
        if there.get("data") == object.get("data") && view::marked(&there, "annotations", WRITER) == Some(&self.writer) {
            return Ok(());
        }
        self.server.delete(&place, view::text(&there, "/metadata/uid")).await?;
        Ok(self.server.create(Kind::Secret, namespace, &object).await.map(drop)?)
    }
}

impl From<ApiError> for KeepError {
    fn from(error: ApiError) -> KeepError {
        if is_passing(&error) { KeepError::Unavailable(error.to_string()) } else { KeepError::Impossible(error.to_string()) }
    }
}

/// The same writer, of so many terms later: what an earlier installation has written is older than all of it.
#[must_use]
pub fn raised(writer: &str, terms: u64) -> String {
    match (writer.rsplit_once('/'), term(writer)) {
        (Some((name, _)), Some(term)) if terms > 0 => format!("{name}/{}", term.saturating_add(terms)),
        _ => writer.to_owned(),
    }
}

/// The term of a writer, which is named `pod/term`.
fn term(writer: &str) -> Option<u64> {
    writer.rsplit_once('/')?.1.parse().ok()
}

fn trouble(error: ApiError) -> RecordError {
    if is_passing(&error) { RecordError::Unavailable(error.to_string()) } else { RecordError::Impossible(error.to_string()) }
}

/// Whether it is worth another try.
fn is_passing(error: &ApiError) -> bool {
    match error {
        // A lease that could not be renewed in time may be renewed yet; where it is lost, this process ends.
        ApiError::NotLeading
        | ApiError::Unavailable(_)
        | ApiError::Conflict(_)
        | ApiError::NotFound(_)
        | ApiError::Quota(_)
        | ApiError::AlreadyExists(_) => true,
        ApiError::Terminating(_) | ApiError::Forbidden(_) | ApiError::Invalid(_) => false,
    }
}

fn encode(entry: &Entry) -> Result<Vec<u8>, RecordError> {
    let impossible = |error: &dyn std::error::Error| RecordError::Impossible(error.to_string());
    let packed = rmp_serde::to_vec_named(entry).map_err(|error| impossible(&error))?;
    zstd::bulk::compress(&packed, 3).map_err(|error| impossible(&error))
}

/// The entries of a run, in order.
///
/// # Errors
/// If they cannot be read, or one is damaged: a run is not continued on half of its record.
pub async fn read_record(server: &dyn Server, namespace: &str, run: &RunId) -> Result<Vec<Entry>, ApiError> {
    let labels = format!("{}={run},{}=true", naming::RUN, naming::RECORD);
    let objects = server.list(Kind::ConfigMap, namespace, &labels).await?;
    assemble(&objects).map_err(|what| ApiError::Invalid(format!("the record of run {run}: {what}")))
}

/// The newest term of all who wrote entries of a run.
///
/// # Errors
/// If they cannot be listed.
pub async fn newest_term(server: &dyn Server, namespace: &str, run: &RunId) -> Result<u64, ApiError> {
    let labels = format!("{}={run},{}=true", naming::RUN, naming::RECORD);
    let objects = server.list(Kind::ConfigMap, namespace, &labels).await?;
    Ok(objects.iter().filter_map(|object| term(view::marked(object, "annotations", WRITER)?)).max().unwrap_or(0))
}

/// What is read of a run's objects is at most so long: others than we may have written them.
const LONGEST: u64 = 256 << 20;

/// Decompresses something of a run.
///
/// # Errors
/// If it is no zstd, or longer than anything of ours.
pub fn unzipped(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut whole = Vec::new();
    zstd::Decoder::new(bytes)?.take(LONGEST + 1).read_to_end(&mut whole)?;
    if whole.len() as u64 > LONGEST { Err(io::Error::other("it is longer than anything of ours")) } else { Ok(whole) }
}

fn assemble(objects: &[Value]) -> Result<Vec<Entry>, String> {
    let named = |object: &Value| Some((view::text(object, "/metadata/name")?.to_owned(), record_bytes(object)?));
    let parts: BTreeMap<String, Vec<u8>> = objects.iter().filter_map(named).collect();
    let mut heads: BTreeMap<usize, &Value> = BTreeMap::new();
    for object in objects {
        if let Some(at) = view::marked(object, "annotations", AT).and_then(|at| at.parse().ok()) {
            heads.insert(at, object);
        }
    }
    let mut entries = Vec::with_capacity(heads.len());
    for (expected, (at, head)) in heads.into_iter().enumerate() {
        if at != expected {
            return Err(format!("entry {expected} is missing"));
        }
        let mut bytes = record_bytes(head).ok_or_else(|| format!("entry {at} has no content"))?;
        let more = view::marked(head, "annotations", PARTS).unwrap_or_default();
        for part in more.split(',').filter(|part| !part.is_empty()) {
            bytes.extend(parts.get(part).ok_or_else(|| format!("part {part} of entry {at} is missing"))?);
        }
        let packed = unzipped(&bytes).map_err(|error| format!("entry {at} is damaged: {error}"))?;
        entries.push(whole(&packed).map_err(|error| format!("entry {at} is damaged: {error}"))?);
    }
    Ok(entries)
}
