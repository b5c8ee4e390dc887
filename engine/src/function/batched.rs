//! Tiers two and three: rows gathered into a batch (or one by one), then run inside LuaJIT in one crossing.

use std::rc::Rc;

use super::cells::{Layout, Use};
use super::port::{self, Port, SharedOutputs};
use super::vm::{Kind, LoadError, Program, Vm};
use super::{FunctionError, Place, Plan, Step};
use crate::lull::Lull;
use crate::{Result, RowSink, Val};
use plan::OnError;

/// Rows of a batch: enough to make the crossing cheap, few enough to stay in the cache.
pub(super) const ROWS: usize = 256;
/// A batch of long rows is run earlier.
const BYTES: usize = 256 << 10;

/// Runs a function over batches.
#[derive(Debug)]
pub(super) struct Batched {
    step: Step,
    kind: Kind,
    port: Rc<Port>,
    vm: Vm,
    rows: usize,
    lull: Lull,
}

impl Batched {
    /// Loads the function; it will be run over `rows` rows at a time.
    pub(super) fn new(step: Step, plan: &Plan<'_>, outs: SharedOutputs, rows: usize) -> Result<Batched> {
        let port = Port::new(&step.ctx, outs);
        let vm = load(&step, plan, &port)?;
        Ok(Batched { step, kind: plan.kind, port, vm, rows, lull: Lull::default() })
    }

    /// From now on, gathers this many rows before it runs.
    pub(super) fn set_rows(&mut self, rows: usize) {
        self.rows = rows;
    }

    fn run(&mut self) -> Result<()> {
        self.step.ctx.check_running()?;
        self.lull = Lull::default();
        let rows = self.port.input.borrow().rows();
        if rows == 0 {
            return Ok(());
        }
        if !self.port.wants_more() {
            self.port.input.borrow_mut().clear();
            return Ok(());
        }
        let here = self.step.ctx.origin.mark();
        let mut first = 0;
        while first < rows {
            first = self.run_from(first, rows)?;
        }
        self.port.input.borrow_mut().clear();
        self.step.ctx.origin.restore(&here);
        Ok(())
    }

    /// Runs rows up to the end or the first that fails, and says where to go on.
    fn run_from(&mut self, first: usize, rows: usize) -> Result<usize> {
        let ran = self.vm.run(first, rows);
        if let Some(error) = self.port.take_failure() {
            return Err(error);
        }
        if self.port.take_sated() {
            return Ok(rows);
        }
        let until = if ran.error.is_none() { rows } else { ran.row };
        let results = self.vm.results();
        if self.kind == Kind::Filter {
            self.port.deliver_kept(&results, first, until)?;
        } else {
            self.port.deliver(&results, ran.done)?;
        }
        drop(results);
        match ran.error {
            None => Ok(rows),
            Some(error) => {
                self.set_aside(until, error)?;
                Ok(until + 1)
            }
        }
    }

    fn set_aside(&mut self, at: usize, error: FunctionError) -> Result<()> {
        let input = self.port.input.borrow();
        let mut row = Vec::new();
        input.row(at, &mut row);
        input.restore(at, &self.step.ctx.origin);
        self.step.set_aside(&row, error, &mut self.port.outputs.borrow_mut())
    }
}

/// Loads a function into a VM of its own.
pub(super) fn load(step: &Step, plan: &Plan<'_>, port: &Rc<Port>) -> Result<Vm> {
    let parsed = lua::parse_behind(&step.ctx.run.prelude, &plan.function.source).map_err(|error| {
        let place = Place { file: plan.function.place.clone(), prelude: false, line: Some(error.line) };
        step.fail(FunctionError::Compile { place, message: error.message })
    })?;
    let uses = uses(&parsed, super::role(plan.kind), &step.ctx.run.prelude, &plan.function.source);
    let program = Program {
        step: &step.name,
        function: plan.function,
        kind: plan.kind,
        outputs: plan.names,
        emits: plan.emits,
        whole_rows: step.on_error != OnError::Fail,
        params: parsed.params.len(),
        vararg: parsed.vararg,
        moved: uses.iter().map(|usage| *usage == Use::Moved).collect(),
        sides: plan.sides,
    };
    let vm = Vm::load(&program, &step.ctx, port).map_err(|error| match error {
        LoadError::Function(error) => step.fail(error),
        LoadError::Engine(error) => error,
    })?;
    // From now on: the rows of side inputs, read until here, came whole.
    port.input.borrow_mut().layout = if parsed.vararg { Layout::Whole } else { Layout::Params(uses) };
    port.room.set(0);
    Ok(vm)
}

/// What a function does with its parameters.
fn uses(parsed: &lua::ParsedFunction, role: lua::Role, prelude: &str, source: &str) -> Vec<Use> {
    let (reads, passed) = (lua::reads(parsed), lua::passes_on(parsed, role));
    let moved = lua::moves(parsed, role, prelude, source);
    let usage = |at: usize| match at {
        at if reads.as_ref().is_some_and(|reads| !reads.contains(&at)) => Use::Unread,
        at if moved.contains(&at) => Use::Moved,
        at if passed.contains(&at) => Use::Passed,
        _ => Use::Read,
    };
    (0..parsed.params.len()).map(usage).collect()
}

impl RowSink for Batched {
    fn push(&mut self, row: &[Val<'_>]) -> Result<()> {
        let mut input = self.port.input.borrow_mut();
        let taken = input.push(row, &self.step.ctx.origin).and_then(|()| port::check_rows(&input));
        taken.map_err(|error| self.step.fail_at(row, error))?;
        let full = input.rows() >= self.rows || input.size() >= BYTES || self.lull.is_over();
        drop(input);
        if full { self.run() } else { Ok(()) }
    }

    fn finish(&mut self) -> Result<()> {
        self.run()?;
        self.port.outputs.borrow_mut().iter_mut().try_for_each(|out| out.finish())
    }

    fn wants_more(&self) -> bool {
        self.port.wants_more()
    }
}
