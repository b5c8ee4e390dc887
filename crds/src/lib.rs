//! The `GleamFlow` object: its types (the users' documentation is their comments), its schema, and how its file is read.
//!
//! ```text
//! flow.yaml --Document::parse--> Document { flow: GleamFlow, places: SourceMap }     or every problem with its place
//! ```
//!
//! One model serves all: the types make the schema, the schema makes the CRD, the editors' JSON schema and the check of a file.

pub mod cluster;
pub mod document;
pub mod field;
pub mod flow;
pub mod label;
pub mod nearest;
pub mod operator;
pub mod pods;
pub mod quantity;
pub mod read;
pub mod schema;
pub mod status;
pub mod step;
pub mod write;
mod yaml;

pub use document::{Document, Place, Problem, Reading, SourceMap};
pub use field::{Direction, FieldRef, OrderField};
pub use flow::{GleamFlow, GleamFlowSpec, Param};
pub use nearest::nearest;
pub use operator::{Operator, OperatorName};
pub use quantity::Quantity;
pub use schema::{crd, crd_yaml, json_schema};
pub use step::Step;
