//! The record of a run: one ConfigMap per entry, never changed. Who makes the `n`-th first has the say; everybody else is superseded.

use std::collections::BTreeMap;
use std::sync::Arc;

use proto::RunId;
use serde_json::{Value, json};

use crate::manifest::run::{output, record, record_bytes};
use crate::master::api::{Entry, RecordError, Recorder};
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

    /// An entry is there already: ours, if the answer to its making was lost; else somebody else leads.
    async fn met(&self, name: &str, made: &Value) -> Result<(), RecordError> {
        let there = self.server.get(&Ref::new(Kind::ConfigMap, &self.place.flow.key.namespace, name)).await.map_err(trouble)?;
        let same = there.get("binaryData") == made.get("binaryData")
            && view::marked(&there, "annotations", WRITER) == Some(self.writer.as_str())
            && view::controller(&there) == self.place.flow.uid;
        if same { Ok(()) } else { Err(RecordError::Superseded) }
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

    async fn keep_output(&self, run: &RunId, rows: &BTreeMap<String, Vec<u8>>) -> Result<(), RecordError> {
        let object = output(&self.place.flow, run.as_str(), &self.place.base, rows);
        let namespace = &self.place.flow.key.namespace;
        match self.server.create(Kind::Secret, namespace, &object).await {
            Ok(_) => return Ok(()),
            Err(ApiError::AlreadyExists(_)) => {}
            Err(error) => return Err(trouble(error)),
        }
        // An earlier leader kept its rows and went before it committed: those of this one count.
        let place = Ref::new(Kind::Secret, namespace, &naming::output(&self.place.base));
        let there = self.server.get(&place).await.map_err(trouble)?;
        if view::controller(&there) != self.place.flow.uid {
            return Err(RecordError::Impossible(format!("{place} is there already and belongs to something else")));
        }
        if there.get("data") == object.get("data") {
            return Ok(());
        }
        self.server.delete(&place, view::text(&there, "/metadata/uid")).await.map_err(trouble)?;
        self.server.create(Kind::Secret, namespace, &object).await.map(drop).map_err(trouble)
    }
}

fn trouble(error: ApiError) -> RecordError {
    match error {
        // Its lease may only be late: it goes on once it is renewed. If another leads, this process ends.
        ApiError::NotLeading
        | ApiError::Unavailable(_)
        | ApiError::Conflict(_)
        | ApiError::NotFound(_)
        | ApiError::Quota(_)
        | ApiError::AlreadyExists(_) => RecordError::Unavailable(error.to_string()),
        ApiError::Terminating(_) | ApiError::Forbidden(_) | ApiError::Invalid(_) => RecordError::Impossible(error.to_string()),
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
        let packed = zstd::decode_all(bytes.as_slice()).map_err(|error| format!("entry {at} is damaged: {error}"))?;
        entries.push(rmp_serde::from_slice(&packed).map_err(|error| format!("entry {at} is damaged: {error}"))?);
    }
    Ok(entries)
}
