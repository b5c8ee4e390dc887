//! `write`: where rows go.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A sink: exactly one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-gleamflow-one-of" = {"noun": "sink", "of": ["stdout", "text", "csv", "tsv", "json", "parquet"]}))]
pub struct Write {
    /// Standard output of `gleamflow run`; on a cluster, `gleamflow output NAME` shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdout: Option<Stdout>,
    /// Text files: fields joined by tabs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<PlainSink>,
    /// CSV files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csv: Option<CsvSink>,
    /// Files with tabs between fields.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tsv: Option<TsvSink>,
    /// JSON lines: an object per row where all fields are named, else an array.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json: Option<PlainSink>,
    /// Parquet files: columns named by the fields, else `_1`, `_2`, ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parquet: Option<PlainSink>,
}

/// Standard output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Stdout {
    /// C's printf verbs over the fields in order (`%s %v %q %d %x %f %e %g`, widths and precisions, `%%`); a newline is added.
    /// Default: the fields joined by tabs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// On a cluster: whether the first lines show in `status.outputs`. Default true.
    #[serde(default = "yes")]
    pub preview: bool,
}

fn yes() -> bool {
    true
}

impl Default for Stdout {
    fn default() -> Self {
        Self { format: None, preview: true }
    }
}

/// Files without options.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlainSink {
    /// A directory or object-store prefix; it is made, with its parents. A relative one is relative to the flow file.
    #[schemars(length(min = 1))]
    pub path: String,
    /// What to do where something is already there.
    #[serde(default)]
    pub mode: WriteMode,
}

/// CSV files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CsvSink {
    /// A directory or object-store prefix; it is made, with its parents. A relative one is relative to the flow file.
    #[schemars(length(min = 1))]
    pub path: String,
    /// What to do where something is already there.
    #[serde(default)]
    pub mode: WriteMode,
    /// Whether each file begins with the names of the fields.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub header: bool,
    /// What separates fields: one byte, by default a comma.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delimiter: Option<String>,
    /// What fields are quoted with where they must be: one byte, by default `"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quote: Option<String>,
}

/// Files with tabs between fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TsvSink {
    /// A directory or object-store prefix; it is made, with its parents. A relative one is relative to the flow file.
    #[schemars(length(min = 1))]
    pub path: String,
    /// What to do where something is already there.
    #[serde(default)]
    pub mode: WriteMode,
    /// Whether each file begins with the names of the fields.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub header: bool,
}

/// What a sink does where something is already there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WriteMode {
    /// The flow fails.
    #[default]
    Fail,
    /// What is there is replaced when the flow commits.
    Replace,
    /// Files are added.
    Append,
}
