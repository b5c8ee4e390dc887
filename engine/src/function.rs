//! Lua functions of a flow, in three tiers with the same results: as native code where `lua` could lift them, in batches
//! inside LuaJIT, or one call per row.
//!
//! ```text
//! rows ─► Native ──────────────────────────────────────► rows      values that it does not cover: one call per row
//! rows ─► Input ─► driver.lua, user code ─► Port ─► rows      one crossing per batch
//! ```
//!
//! All tiers give a function's numbers back alike: integral ones within ±2^53 are integers. Every task and copy of a step
//! has a VM of its own.

mod batched;
mod cells;
mod cross;
mod error;
mod fold;
mod native;
mod port;
mod returned;
mod vm;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use plan::{Do, Fold, Function, Node, OnError, Op, SideShape};

pub use error::{FunctionError, Place};
pub use fold::folder;

use crate::{BatchLog, Error, Result, RowSink, TaskContext, Val};
use batched::Batched;
use native::Native;
use vm::Kind;

/// A side input: a small collection that a step's functions see whole, as the global `name`.
#[derive(Clone, Debug)]
pub struct Side {
    pub name: String,
    pub shape: SideShape,
    /// Sealed.
    pub rows: Arc<BatchLog>,
}

/// Which tiers a function may run in; tests compare them.
#[derive(Clone, Copy, Debug)]
struct Tiers {
    native: bool,
    /// Rows that are crossed over at once.
    rows: usize,
}

const ALL_TIERS: Tiers = Tiers { native: true, rows: batched::ROWS };

/// The sink that runs a node's function over the rows pushed, and pushes the results to `outs`: those of the node in their
/// order, dead letters last where it has them.
///
/// # Errors
/// An error of the step where the function or its prelude does not compile, or a side input is not what it should be.
pub fn stage(node: &Node, ctx: &Rc<TaskContext>, sides: &[Side], outs: Vec<Box<dyn RowSink>>) -> Result<Box<dyn RowSink>> {
    stage_as(node, ctx, sides, outs, ALL_TIERS)
}

fn stage_as(
    node: &Node,
    ctx: &Rc<TaskContext>,
    sides: &[Side],
    outs: Vec<Box<dyn RowSink>>,
    tiers: Tiers,
) -> Result<Box<dyn RowSink>> {
    let no_names: &[String] = &[];
    let (function, kind, names, emits) = match &node.op {
        Op::ParallelDo(Do::Map(function)) => (function, Kind::Map, no_names, false),
        Op::ParallelDo(Do::FlatMap(function)) => (function, Kind::FlatMap, no_names, false),
        Op::ParallelDo(Do::Filter(function)) => (function, Kind::Filter, no_names, false),
        Op::ParallelDo(Do::ForEach(function)) => (function, Kind::Emit, no_names, true),
        Op::ParallelDo(Do::Split { function, outputs }) => (function, Kind::Emit, outputs.as_slice(), true),
        _ => return Err(Error::Plan(format!("step {:?} has no function that runs row by row", node.step))),
    };
    let step = Step::of(node, ctx);
    let plan = Plan { function, kind, names, emits, sides };
    let outs = Rc::new(RefCell::new(outs));
    if tiers.native
        && names.is_empty()
        && let Ok(lifted) = lua::lift(&function.source, role(kind), &ctx.run.prelude)
    {
        return Ok(Box::new(Native::new(lifted, step, &plan, outs)?));
    }
    Ok(Box::new(Batched::new(step, &plan, outs, tiers.rows)?))
}

fn role(kind: Kind) -> lua::Role {
    match kind {
        Kind::Map => lua::Role::Map,
        Kind::FlatMap => lua::Role::FlatMap,
        Kind::Filter => lua::Role::Filter,
        Kind::Emit => lua::Role::ForEach,
    }
}

/// Runs an operate node's function once; what it emits goes to `out`, which is then finished.
///
/// # Errors
/// An error of the step where the function fails.
pub fn operate(node: &Node, ctx: &Rc<TaskContext>, sides: &[Side], out: Box<dyn RowSink>) -> Result<()> {
    let Op::Operate(function) = &node.op else {
        return Err(Error::Plan(format!("step {:?} is no operate", node.step)));
    };
    let step = Step { on_error: OnError::Fail, ..Step::of(node, ctx) };
    let plan = Plan { function, kind: Kind::Emit, names: &[], emits: true, sides };
    let mut once = Batched::new(step, &plan, Rc::new(RefCell::new(vec![out])), 1)?;
    once.push(&[])?;
    once.finish()
}

/// What of a node, beside its function, a stage needs to know.
#[derive(Clone, Debug)]
struct Step {
    name: String,
    on_error: OnError,
    ctx: Rc<TaskContext>,
}

impl Step {
    fn of(node: &Node, ctx: &Rc<TaskContext>) -> Step {
        Step { name: node.step.clone(), on_error: node.on_error.clone(), ctx: Rc::clone(ctx) }
    }

    /// An error of the step, without a row.
    fn fail(&self, error: FunctionError) -> Error {
        Error::in_step(&self.name, error)
    }

    /// An error at the row that stands where the context says.
    fn fail_at(&self, row: &[Val<'_>], error: FunctionError) -> Error {
        self.ctx.fail(&self.name, Some(row), error)
    }

    /// Handles a row that failed as `onError` says.
    fn set_aside(&self, row: &[Val<'_>], error: FunctionError, outs: &mut [Box<dyn RowSink>]) -> Result<()> {
        if self.on_error == OnError::Fail {
            return Err(self.fail_at(row, error));
        }
        if let Some(count) = self.ctx.run.set_aside.get(&self.name) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        match (&self.on_error, outs.last_mut()) {
            (OnError::DeadLetter, Some(letters)) => letters.push(row),
            (OnError::DeadLetter, None) => Err(Error::Plan(format!("step {:?} has no output for dead letters", self.name))),
            (OnError::Fail | OnError::Skip, _) => Ok(()),
        }
    }
}

/// A function and how it is used.
struct Plan<'p> {
    function: &'p Function,
    kind: Kind,
    /// Outputs of a parallelDo.
    names: &'p [String],
    emits: bool,
    sides: &'p [Side],
}

/// The function of a fold node.
fn fold_function(node: &Node) -> Result<&Function> {
    match &node.op {
        Op::Combine(Fold::Lua(function)) => Ok(function),
        _ => Err(Error::Plan(format!("step {:?} does not fold with a function", node.step))),
    }
}

#[cfg(test)]
mod tests;
