//! The contract of functions, in every tier.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use plan::{Do, Function, Node, NodeId, OnError, Op};

use super::*;
use crate::{MemoryPool, RunContext, Value, codec};

pub(super) fn context(prelude: &str) -> Rc<TaskContext> {
    let run = RunContext {
        seed: 7,
        prelude: prelude.to_owned(),
        base: ".".into(),
        scratch: ".".into(),
        threads: 1,
        memory: MemoryPool::new(1 << 30),
        stop: AtomicBool::new(false),
        set_aside: [("f".to_owned(), AtomicU64::new(0))].into(),
        spilled: Default::default(),
    };
    Rc::new(TaskContext::new(Arc::new(run), 0))
}

pub(super) fn node(op: Op, on_error: OnError) -> Node {
    Node {
        id: NodeId(0),
        step: "f".to_owned(),
        op,
        inputs: Vec::new(),
        side_inputs: Vec::new(),
        outputs: Vec::new(),
        deterministic: true,
        partitions: None,
        size_ratio: None,
        memory: None,
        broadcast: None,
        on_error,
    }
}

pub(super) fn function(source: &str) -> Function {
    Function { source: source.to_owned(), place: "flow.yaml:3:5".to_owned() }
}

/// Collects rows.
#[derive(Clone, Default)]
pub(super) struct Rows(pub(super) Rc<RefCell<Vec<Vec<Value>>>>);

impl RowSink for Rows {
    fn push(&mut self, row: &[Val<'_>]) -> Result<()> {
        let row = row.iter().map(|value| codec::to_value(*value)).collect::<Result<_>>()?;
        self.0.borrow_mut().push(row);
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Every reason of an error, in one line.
pub(super) fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text
}

/// Runs a step over rows.
pub(super) fn run(op: Do, prelude: &str, force: Force, rows: &[Vec<Value>]) -> Result<Vec<Vec<Value>>, String> {
    let ctx = context(prelude);
    let out = Rows::default();
    let work = || {
        let mut sink = stage_as(&node(Op::ParallelDo(op), OnError::Fail), &ctx, &[], vec![Box::new(out.clone())], Some(force))?;
        for row in rows {
            let mut bytes = Vec::new();
            let values: Vec<(usize, usize)> = row
                .iter()
                .map(|value| {
                    let start = bytes.len();
                    codec::write_value(&mut bytes, value);
                    (start, bytes.len())
                })
                .collect();
            let row: Vec<Val<'_>> =
                values.iter().map(|(start, end)| codec::read_val(&mut &bytes[*start..*end])).collect::<Result<_>>()?;
            sink.push(&row)?;
        }
        sink.finish()
    };
    work().map_err(|error| chain(&error))?;
    Ok(out.0.take())
}

#[test]
fn word_count_pieces_run() {
    let lines = [vec![Value::Str(b"a b  c".to_vec())], vec![Value::Str(b"".to_vec())]];
    let words = run(Do::FlatMap(function("function(line) return line:gmatch('%w+') end")), "", Force::Batched, &lines).unwrap();
    assert_eq!(words.len(), 3);
    let pairs = run(Do::Map(function("function(w) return w, 1 end")), "", Force::Batched, &words).unwrap();
    assert_eq!(pairs[2], [Value::Str(b"c".to_vec()), Value::Int(1)]);
}
