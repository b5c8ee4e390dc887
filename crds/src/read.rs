//! `read`: where rows come from.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::FieldRef;
use crate::schema::any_value;

/// Rows from outside: exactly one source.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-gleamflow-one-of" = {
    "noun": "source", "of": ["text", "csv", "tsv", "json", "parquet", "orc", "files", "inline", "range"]
}))]
pub struct Read {
    /// Text files: a row per line, one field. (A byte order mark at the beginning of a text, csv, tsv or json file is skipped.)
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<PlainFiles>,
    /// CSV files (RFC 4180): a row per record, a field per column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csv: Option<CsvFiles>,
    /// Files split at tabs and nothing else: a row per line, a field per column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tsv: Option<TsvFiles>,
    /// JSON lines: a row per value; blank lines are skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json: Option<JsonFiles>,
    /// Parquet files: a field per column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parquet: Option<ColumnFiles>,
    /// ORC files: a field per column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orc: Option<ColumnFiles>,
    /// Whole files: a row (path, content) per file, and per member of a zip.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<PlainFiles>,
    /// Rows written here in the flow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inline: Option<Inline>,
    /// Integers from `from` up to, but not including, `to`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<Range>,
}

/// Files without options.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-gleamflow-one-of" = {"noun": "place to read from", "of": ["paths", "pathsFrom"]}))]
pub struct PlainFiles {
    /// Files, directories, wildcards (`**` too) or URLs (`s3://`, `gs://`, `az://`, `http(s)://`); `.gz`, `.bz2` and `.zst`
    /// (or `.GZ`...) are decompressed. Relative ones are relative to the flow file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024), inner(length(min = 1)))]
    pub paths: Option<Vec<String>>,
    /// The step whose rows are the paths (the first field of each).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paths_from: Option<String>,
    /// Accepts that nothing is found; otherwise that fails the flow.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_empty: bool,
}

/// CSV files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-gleamflow-one-of" = {"noun": "place to read from", "of": ["paths", "pathsFrom"]}))]
pub struct CsvFiles {
    /// Files, directories, wildcards (`**` too) or URLs (`s3://`, `gs://`, `az://`, `http(s)://`); `.gz`, `.bz2` and `.zst`
    /// (or `.GZ`...) are decompressed. Relative ones are relative to the flow file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024), inner(length(min = 1)))]
    pub paths: Option<Vec<String>>,
    /// The step whose rows are the paths (the first field of each).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paths_from: Option<String>,
    /// Accepts that nothing is found; otherwise that fails the flow.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_empty: bool,
    /// Whether the first record of each file names the fields.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub header: bool,
    /// What separates fields: one byte, by default a comma.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delimiter: Option<String>,
    /// What fields are quoted with: one byte, by default `"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quote: Option<String>,
    /// The columns to read, in the order of the row: names or positions counted from 1. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub columns: Option<Vec<FieldRef>>,
    /// Columns, by name or position, that are not strings. A value that does not parse (a float beyond 64 bits such as `1e999`
    /// among them; `inf` and `nan` do) fails the flow; an empty one is nil.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub types: BTreeMap<String, ColumnType>,
}

/// Files split at tabs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-gleamflow-one-of" = {"noun": "place to read from", "of": ["paths", "pathsFrom"]}))]
pub struct TsvFiles {
    /// Files, directories, wildcards (`**` too) or URLs (`s3://`, `gs://`, `az://`, `http(s)://`); `.gz`, `.bz2` and `.zst`
    /// (or `.GZ`...) are decompressed. Relative ones are relative to the flow file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024), inner(length(min = 1)))]
    pub paths: Option<Vec<String>>,
    /// The step whose rows are the paths (the first field of each).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paths_from: Option<String>,
    /// Accepts that nothing is found; otherwise that fails the flow.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_empty: bool,
    /// Whether the first line of each file names the fields.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub header: bool,
    /// The columns to read, in the order of the row: names or positions counted from 1. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub columns: Option<Vec<FieldRef>>,
    /// Columns, by name or position, that are not strings. A value that does not parse (a float beyond 64 bits such as `1e999`
    /// among them; `inf` and `nan` do) fails the flow; an empty one is nil.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub types: BTreeMap<String, ColumnType>,
}

/// What the text of a column is parsed as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ColumnType {
    Integer,
    Float,
    Bool,
    String,
}

/// JSON lines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-gleamflow-one-of" = {"noun": "place to read from", "of": ["paths", "pathsFrom"]}))]
pub struct JsonFiles {
    /// Files, directories, wildcards (`**` too) or URLs (`s3://`, `gs://`, `az://`, `http(s)://`); `.gz`, `.bz2` and `.zst`
    /// (or `.GZ`...) are decompressed. Relative ones are relative to the flow file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024), inner(length(min = 1)))]
    pub paths: Option<Vec<String>>,
    /// The step whose rows are the paths (the first field of each).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paths_from: Option<String>,
    /// Accepts that nothing is found; otherwise that fails the flow.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_empty: bool,
    /// The members of each object that become fields, in this order, and name them (an absent one is nil). Default: the whole
    /// value is one field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub columns: Option<Vec<String>>,
}

/// Files that know their columns.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-gleamflow-one-of" = {"noun": "place to read from", "of": ["paths", "pathsFrom"]}))]
pub struct ColumnFiles {
    /// Files, directories, wildcards (`**` too) or URLs (`s3://`, `gs://`, `az://`, `http(s)://`). Relative ones are relative to
    /// the flow file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024), inner(length(min = 1)))]
    pub paths: Option<Vec<String>>,
    /// The step whose rows are the paths (the first field of each).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paths_from: Option<String>,
    /// Accepts that nothing is found; otherwise that fails the flow.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_empty: bool,
    /// The columns to read, in the order of the row: names or positions counted from 1. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub columns: Option<Vec<FieldRef>>,
}

/// Rows written in the flow: `lines` or `rows`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-gleamflow-one-of" = {"noun": "kind of rows", "of": ["lines", "rows"]}))]
pub struct Inline {
    /// A row of one string each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lines: Option<Vec<String>>,
    /// A row of any values each: null, booleans, numbers, strings, lists, maps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rows_of_values")]
    pub rows: Option<Vec<Vec<serde_json::Value>>>,
}

fn rows_of_values(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "array", "items": {"type": "array", "items": any_value(generator)}})
}

/// Integers in a row each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Range {
    /// The first integer; default 0.
    #[serde(default)]
    pub from: i64,
    /// The end, excluded.
    pub to: i64,
    /// From one integer to the next; negative counts down, 0 is refused; default 1.
    #[serde(default = "one")]
    pub step: i64,
}

fn one() -> i64 {
    1
}
