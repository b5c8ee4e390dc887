//! Flow files: read with the place of every key and value, checked as a whole against the model, every problem at once.
//!
//! ```text
//! text --tree--> marked nodes --check (by the model)--> JSON --serde--> GleamFlow
//! ```
//!
//! A YAML 1.1 reader (kubectl) and a 1.2 reader must see the same flow in the file; where they would not, that is a problem.

mod check;
mod json;
mod places;
mod plain;
mod problem;
mod scalar;
mod tree;

#[cfg(test)]
mod tests;

pub use places::SourceMap;
pub use plain::read_yaml;
pub use problem::{Place, Problem};

use std::sync::LazyLock;

use serde_json::Value;

use crate::GleamFlow;
use crate::schema;

/// A flow file as far as it was understood.
#[derive(Debug)]
pub struct Reading {
    /// The flow; where there are problems, without the fields that have them, or with something made up for those that must be
    /// there ([`SourceMap::is_mended`]). It is good for finding what else is wrong, not for running.
    pub document: Option<Document>,
    /// Every problem of the YAML and its structure, in the order of the file.
    pub problems: Vec<Problem>,
}

/// A flow file that is structurally right.
#[derive(Clone, Debug)]
pub struct Document {
    pub flow: GleamFlow,
    /// Where everything of it stands.
    pub places: SourceMap,
}

impl Document {
    /// Reads a flow file's text; `file_name` is for messages.
    ///
    /// # Errors
    /// Every problem of its YAML and structure, in the order of the file.
    pub fn parse(text: &str, file_name: &str) -> Result<Self, Vec<Problem>> {
        Self::read(text, file_name).whole()
    }

    /// Reads a flow file's text as far as it can be understood.
    #[must_use]
    pub fn read(text: &str, file_name: &str) -> Reading {
        let tree::Parsed { root, mut problems } = tree::parse(text, file_name);
        let Some(root) = &root else { return Reading { document: None, problems } };
        static MODEL: LazyLock<Value> = LazyLock::new(schema::file_model);
        let mut checked = check::check(root, &MODEL, file_name);
        problems.append(&mut checked.problems);
        let document = match serde_json::from_value(checked.value.clone()) {
            Ok(flow) => Some(Self { flow, places: checked.places }),
            Err(error) if problems.is_empty() => {
                // All but the metadata, which is Kubernetes' own, was checked against the model.
                let message = format!("the metadata is not understood: {error}");
                problems.push(Problem::new(checked.places.place("metadata"), message));
                without_metadata(checked)
            }
            Err(_) => without_metadata(checked),
        };
        problems.sort_by_key(|problem| (problem.place.line, problem.place.column));
        Reading { document, problems }
    }

    /// Reads a flow file's bytes.
    ///
    /// # Errors
    /// As [`Document::parse`], and where the bytes are not UTF-8.
    pub fn parse_bytes(bytes: &[u8], file_name: &str) -> Result<Self, Vec<Problem>> {
        Self::read_bytes(bytes, file_name).whole()
    }

    /// Reads a flow file's bytes as far as they can be understood.
    #[must_use]
    pub fn read_bytes(bytes: &[u8], file_name: &str) -> Reading {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::read(text, file_name),
            Err(error) => {
                let before = &bytes[..error.valid_up_to()];
                let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
                let message = "this is not YAML: the file is not UTF-8 text";
                Reading { document: None, problems: vec![Problem::new(Place::new(file_name, line, 1), message)] }
            }
        }
    }
}

impl Reading {
    /// The document, if nothing is wrong with it.
    fn whole(self) -> Result<Document, Vec<Problem>> {
        match self.document {
            Some(document) if self.problems.is_empty() => Ok(document),
            Some(_) | None => Err(self.problems),
        }
    }
}

/// The flow with a bare name, for finding what else is wrong with it.
fn without_metadata(mut checked: check::Checked) -> Option<Document> {
    checked.places.doubt("metadata");
    checked.value.as_object_mut()?.insert("metadata".to_owned(), Value::Object(serde_json::Map::new()));
    let flow = serde_json::from_value(checked.value).ok()?;
    Some(Document { flow, places: checked.places })
}
