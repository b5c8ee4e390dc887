//! What a node does: operators with every name resolved to a position, every default filled in.

use serde::{Deserialize, Serialize};

use crate::Fingerprint;

/// A Lua function as the user wrote it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Function {
    /// The text: an expression that evaluates to a function.
    pub source: String,
    /// Where it stands in the flow file, such as `flow.yaml:12:14`, for messages; empty where unknown.
    pub place: String,
}

/// An elementary operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Op {
    /// Rows from outside. Has one input only for [`Paths::Rows`].
    Read(Source),
    /// Element by element (or partition by partition, for a pipe) from one input to one or more outputs.
    ParallelDo(Do),
    /// Multiset union of the inputs, a view; `ordered`: the inputs one after the other, as a sequence.
    Flatten { ordered: bool },
    /// A shuffle: rows that belong together meet in one partition.
    Group(Group),
    /// Folds the values of each group; its input is the output of a [`Group::ByKey`].
    Combine(Fold),
    /// Arbitrary code over side inputs, run once.
    Operate(Function),
}

/// A ParallelDo.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Do {
    Map(Function),
    FlatMap(Function),
    Filter(Function),
    ForEach(Function),
    /// `parallelDo`: node output `i` is `outputs[i]` of the step.
    Split {
        function: Function,
        outputs: Vec<String>,
    },
    /// Projection: 0-based columns, repeats allowed.
    Select(Vec<u32>),
    Pipe {
        command: String,
    },
    PipeAsArgs {
        command: String,
    },
    /// The ParallelDo of an expanded `count`, `distinct`, `reduce` or `top`: the row as it is.
    Identity,
    /// Before an operator whose step sets bad rows aside: the row as it is, where the operator can take it.
    Fit(Fit),
    /// Leg `leg` of a join or coGroup: the row, tagged, keyed by its columns `key`. Its consumer is a [`Group::ByLeg`].
    Tag {
        leg: u32,
        key: Vec<u32>,
    },
    /// Behind a [`Group::ByLeg`]: key fields, then one list per leg.
    UntagCoGroup {
        legs: u32,
    },
    /// Behind a [`Group::ByLeg`]: key fields, then the values of each leg, the cartesian product per key.
    UntagJoin {
        kind: JoinKind,
        legs: u32,
        widths: Vec<Option<u32>>,
    },
    /// Behind a [`Do::UntagCoGroup`]: its lists in the form that they have where some of the sides were grouped by the same key before
    /// they were joined (`kind`) or coGrouped.
    Regroup {
        kind: Option<JoinKind>,
        keys: u32,
        sides: Vec<Regrouped>,
    },
    /// What a group by `key` makes of rows no two of which have the same key: of each row, without a shuffle.
    Alone {
        key: Key,
        made: Alone,
    },
    /// A broadcast join: the input is leg `big`; side input number `i` is the `i`-th of the other legs, whole.
    ProbeJoin {
        kind: JoinKind,
        big: u32,
        keys: Vec<Vec<u32>>,
        widths: Vec<Option<u32>>,
    },
    /// A sink. Has no outputs.
    Write(Sink),
}

/// What a [`Do::Alone`] puts behind the key fields of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Alone {
    /// The list of its one item, as a groupBy makes it.
    List,
    /// Its other fields, as a fold of them.
    Values,
}

/// What an operator can take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fit {
    /// Rows of at least so many fields: a key or an order reaches that far.
    Width(u32),
    /// Rows that this sink has a line for; not of Parquet, which has none.
    Line(Sink),
}

/// What a side of a [`Do::Regroup`] was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Regrouped {
    /// Rows; only of a coGroup.
    Rows,
    /// A groupBy: one row per key, with a list.
    Group,
    /// A coGroup: one row per key, with so many lists.
    CoGroup(u32),
}

/// Which keys a join keeps: inner = of all legs, left = of the first, right = of the last, full = of any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JoinKind {
    Inner,
    Left,
    Right,
    Full,
}

impl JoinKind {
    /// Whether a key that has no rows in this leg, of so many, may be in the result.
    #[must_use]
    pub fn may_miss(self, leg: usize, legs: usize) -> bool {
        match self {
            JoinKind::Inner => false,
            JoinKind::Left => leg > 0,
            JoinKind::Right => leg + 1 < legs,
            JoinKind::Full => true,
        }
    }
}

/// How a group node brings rows together, and what comes out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Group {
    /// Rows out: key fields, then a list of the group's items, ordered by `order_by` (0-based columns of the input row) if not empty.
    ByKey { key: Key, values: Values, order_by: Vec<Order> },
    /// The shuffle of a join or coGroup; inputs (through a flatten) are [`Do::Tag`]s, the only consumer is an untag.
    ByLeg { legs: u32 },
    /// Total order over the whole collection; ties by the whole row ascending.
    Sort { by: Vec<Order> },
    /// Sorted merge of the partitions; same rows and order as `Sort`, into `partitions` (default 1).
    Merge { by: Vec<Order> },
    /// All rows into `partitions` (default 1) partitions, in the order of the input partitions.
    Gather,
    /// Rows with equal keys in one partition, unchanged.
    Hash { key: Key },
    /// Rows dealt out one by one.
    RoundRobin,
    /// At most `n` rows after the first `offset`, over the whole collection; the first ones where it is ordered.
    Limit { n: u64, offset: u64 },
}

/// What rows are grouped by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Key {
    /// 0-based columns; empty: one group of everything.
    Columns(Vec<u32>),
    /// The whole row, its width included.
    Row,
}

/// What of a row is a group's item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Values {
    /// The fields that are not in the key, in their order.
    Rest,
    /// The whole row.
    Row,
}

/// One component of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// 0-based.
    pub column: u32,
    pub descending: bool,
}

/// How the values of a group become one row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Fold {
    /// Key fields, then the values folded pairwise by a Lua function (x1..xn, y1..yn).
    Lua(Function),
    /// Key fields, then the number of rows.
    Count,
    /// The smallest row of the group in the total order, as it was (the group has [`Values::Row`]).
    Smallest,
    /// The first `n` rows by `by` (0-based columns of the row), ties by the whole row; no key fields (the key is empty).
    Top { by: Vec<Order>, n: u64 },
}

/// Where rows come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Source {
    Files {
        format: Format,
        paths: Paths,
        allow_empty: bool,
    },
    /// Each row is a JSON array.
    Inline {
        rows: Vec<Vec<serde_json::Value>>,
    },
    /// `from`, `from + step`, ... before `to`.
    Range {
        from: i64,
        to: i64,
        step: i64,
    },
    /// A persisted collection of an earlier run: its partitions as they were, in their order.
    Cached {
        entry: Fingerprint,
        /// Its size, of encoded rows.
        bytes: u64,
    },
}

/// Which files a source reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Paths {
    /// Globs, directories and URLs as written, parameters replaced. Relative ones resolve against the flow file's directory.
    Listed(Vec<String>),
    /// The first field of each row of the node's input.
    Rows,
}

/// The format of a source's files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Format {
    /// One field per line.
    Text,
    Csv(CsvOptions),
    /// Like csv, split at tabs, no quotes.
    Tsv(CsvOptions),
    /// One value per line: with columns one field per name, else one field.
    Json {
        columns: Option<Vec<String>>,
    },
    /// `columns`: those that are read, by name; `None`: all. `known`: all that each file must have, where the flow reads them all
    /// (as far as anybody uses them) and they were looked at.
    Parquet {
        columns: Option<Vec<String>>,
        #[serde(default)]
        known: Option<Vec<String>>,
    },
    Orc {
        columns: Option<Vec<String>>,
        #[serde(default)]
        known: Option<Vec<String>>,
    },
    /// One row (path, content) per file, and per member of a zip.
    Whole,
}

/// Options of csv and tsv sources.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CsvOptions {
    pub header: bool,
    /// One byte; tab for tsv.
    pub delimiter: u8,
    /// One byte; `None` for tsv.
    pub quote: Option<u8>,
    /// Projection: 0-based columns of the file in the order of the row; `None`: all.
    pub columns: Option<Vec<u32>>,
    /// Types of file columns (0-based) that are not strings.
    pub types: Vec<(u32, ValueType)>,
}

/// What a csv or tsv text is parsed as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ValueType {
    Integer,
    Float,
    Bool,
}

/// Where rows go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sink {
    /// C printf verbs over the fields, or fields joined by tabs.
    Stdout { format: Option<String> },
    Files {
        format: SinkFormat,
        /// A directory or object-store prefix, as written, parameters replaced.
        path: String,
        mode: Mode,
        /// Names of the fields, for headers, objects and columns.
        fields: Option<Vec<String>>,
    },
}

/// The format of a sink's files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SinkFormat {
    Text,
    Csv { header: bool, delimiter: u8, quote: u8 },
    Tsv { header: bool },
    Json,
    Parquet,
}

/// What a file sink does where something is already there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    Fail,
    Replace,
    Append,
}
