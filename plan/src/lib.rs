//! The plan document: what a flow is (a deferred graph) and how it runs (MSCRs). Plain data; no I/O, no policy.
//!
//! ```text
//! spec --check--> Graph --passes--> Graph --build--> Plan { graph, mscrs, operates } --engine--> rows
//! ```
//!
//! A [`Graph`] is a DAG of elementary [`Node`]s (the FlumeJava primitives: read, parallelDo, flatten, groupByKey,
//! combineValues, operate) joined by [`Collection`]s. Passes rewrite the graph but never glue functions together: fusion
//! is expressed by [`Mscr`]s, which say which nodes run in one pass over which collections. The engine walks that.
//!
//! Terms: a *step* is what the user named; a *node* is an elementary operation (a `reduceBy` step is a group node and a
//! combine node, both named by the step); a *collection* is the output of one node.

pub mod cache;
pub mod causes;
pub mod check;
pub mod decision;
pub mod dot;
pub mod graph;
pub mod ids;
pub mod json;
pub mod mermaid;
pub mod mscr;
pub mod op;
mod places;
pub mod readers;
pub mod schedule;
pub mod task;
pub mod text;
mod walk;

pub use cache::{Fingerprint, Ingredient, InputFile, Recipe};
pub use causes::{causes, fields, in_full};
pub use check::{check_graph, check_plan};
pub use decision::Decision;
pub use graph::{Collection, Graph, Node, OnError, SideInput, SideShape};
pub use ids::{CollectionId, MscrId, NodeId};
pub use mscr::{After, FunctionTier, InputChannel, Mscr, OperateStage, Operations, OutputChannel, Pass, Plan, Tier};
pub use op::{
    Alone, CsvOptions, Do, Fit, Fold, Format, Function, Group, JoinKind, Key, Mode, Op, Order, Paths, Regrouped, Sink,
    SinkFormat, Source, ValueType, Values,
};
