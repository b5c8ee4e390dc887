//! Flow files: read with the place of every key and value, checked as a whole against the model, every problem at once.
//!
//! ```text
//! text --tree--> marked nodes --check (by the model)--> JSON --serde--> GleamFlow
//! ```
//!
//! A YAML 1.1 reader (kubectl) and a 1.2 reader must see the same flow in the file; where they would not, that is a problem.

mod check;
mod plain;
mod places;
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
        let mut parsed = tree::parse(text, file_name);
        let Some(root) = &parsed.root else { return Err(parsed.problems) };
        static MODEL: LazyLock<Value> = LazyLock::new(schema::file_model);
        let mut checked = check::check(root, &MODEL, file_name);
        parsed.problems.append(&mut checked.problems);
        if parsed.problems.is_empty() {
            match serde_json::from_value(checked.value) {
                Ok(flow) => return Ok(Self { flow, places: checked.places }),
                // All but the metadata, which is Kubernetes' own, was checked against the model.
                Err(error) => {
                    let message = format!("the metadata is not understood: {error}");
                    parsed.problems.push(Problem::new(checked.places.place("metadata"), message));
                }
            }
        }
        parsed.problems.sort_by_key(|problem| (problem.place.line, problem.place.column));
        Err(parsed.problems)
    }

    /// Reads a flow file's bytes.
    ///
    /// # Errors
    /// As [`Document::parse`], and where the bytes are not UTF-8.
    pub fn parse_bytes(bytes: &[u8], file_name: &str) -> Result<Self, Vec<Problem>> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::parse(text, file_name),
            Err(error) => {
                let before = &bytes[..error.valid_up_to()];
                let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
                let message = "this is not YAML: the file is not UTF-8 text";
                Err(vec![Problem::new(Place::new(file_name, line, 1), message)])
            }
        }
    }
}
