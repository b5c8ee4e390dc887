//! `onError`: which operators have single rows that can be bad, and why the others have none.

use crds::step::ErrorPolicy;
use crds::{Operator, Step};

/// What a step does with rows that it cannot handle.
pub(crate) fn policy(step: &Step) -> ErrorPolicy {
    step.on_error.as_ref().map_or(ErrorPolicy::Fail, |on_error| on_error.policy)
}

/// Whether an operator's own work is what fails on a row; of the others, rows that they cannot take are found before them.
pub(crate) fn by_itself(operator: &Operator<'_>) -> bool {
    match operator {
        Operator::Map(_) | Operator::FlatMap(_) | Operator::Filter(_) | Operator::ForEach(_) | Operator::ParallelDo(_) => true,
        Operator::Select(_) | Operator::PipeAsArgs(_) | Operator::Unclear => true,
        Operator::Read(read) => read.csv.is_some() || read.tsv.is_some() || read.json.is_some(),
        _ => false,
    }
}

/// Why no row of an operator can be set aside, behind "rows cannot be set aside in a"; `None` where rows can.
pub(crate) fn refused(operator: &Operator<'_>) -> Option<String> {
    let any = |what: &str| Some(format!("{what}: it takes any row"));
    let folds = |what: &str| Some(format!("{what}: what it fails on was folded of many rows, and no single one is the bad one"));
    match operator {
        Operator::Read(read) if read.text.is_some() => Some("read of text: any line is a row".to_owned()),
        Operator::Read(read) if read.files.is_some() => Some("read of files: a row is a whole file".to_owned()),
        Operator::Read(read) if read.parquet.is_some() || read.orc.is_some() => {
            Some("read of this format: its columns are read whole, and a bad value spoils them all".to_owned())
        }
        Operator::Read(read) if !by_itself(operator) => {
            let what = if read.range.is_some() { "range" } else { "read of inline rows" };
            Some(format!("{what}: its rows stand in the flow"))
        }
        Operator::Write(write) if write.parquet.is_some() => {
            Some("write of parquet: a column gets its type from all rows together".to_owned())
        }
        Operator::Pipe(_) => Some("pipe: its command sees a stream, in which no single row is the bad one".to_owned()),
        Operator::Operate(_) => Some("operate: it takes no rows".to_owned()),
        Operator::Reduce(_) | Operator::Combine(_) | Operator::ReduceBy(_) => folds(operator.name()),
        Operator::Union(_) | Operator::Limit(_) | Operator::RoundRobin(_) => any(operator.name()),
        Operator::Distinct(keyed) | Operator::Count(keyed) if keyed.key.is_none() => {
            any(&format!("{} of whole rows", operator.name()))
        }
        Operator::Sort(sort) if sort.by.is_empty() => any("sort by the whole row"),
        Operator::Top(top) if top.by.is_empty() => any("top by the whole row"),
        Operator::Merge(merge) if merge.by.is_empty() => any("merge without \"by\""),
        _ => None,
    }
}
