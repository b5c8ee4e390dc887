//! Tiers two and three: rows gathered into a batch (or one by one), then run inside LuaJIT in one crossing.

use std::rc::Rc;

use super::port::{self, Port, SharedOutputs};
use super::vm::{Kind, LoadError, Program, Vm};
use super::{FunctionError, Place, Plan, Step};
use crate::{Result, RowSink, Val};
use plan::OnError;

/// Rows of a batch: enough to make the crossing cheap, few enough to stay in the cache.
pub(super) const ROWS: usize = 1024;
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
}

impl Batched {
    /// Loads the function; it will be run over `rows` rows at a time.
    pub(super) fn new(step: Step, plan: &Plan<'_>, outs: SharedOutputs, rows: usize) -> Result<Batched> {
        let port = Port::new(&step.ctx, outs);
        let vm = load(&step, plan, &port)?;
        Ok(Batched { step, kind: plan.kind, port, vm, rows })
    }

    /// From now on, gathers this many rows before it runs.
    pub(super) fn set_rows(&mut self, rows: usize) {
        self.rows = rows;
    }

    fn run(&mut self) -> Result<()> {
        self.step.ctx.check_running()?;
        let rows = self.port.input.borrow().rows();
        if rows == 0 {
            return Ok(());
        }
        let here = self.step.ctx.origin.mark();
        self.port.share_input();
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
        let result = self.vm.run(first, rows);
        if let Some(error) = self.port.take_failure() {
            return Err(error);
        }
        let until = if result.is_ok() { rows } else { self.port.row() };
        self.port.deliver_done()?;
        if self.kind == Kind::Filter {
            self.port.deliver_kept(first, until)?;
        }
        match result {
            Ok(()) => Ok(rows),
            Err(error) => {
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
    port.input.borrow_mut().params = parsed.params.len();
    let role = super::role(plan.kind);
    let passed = lua::passes_on(&parsed, role);
    let passed: Vec<bool> = (0..parsed.params.len()).map(|at| passed.contains(&at)).collect();
    let program = Program {
        step: &step.name,
        function: plan.function,
        kind: plan.kind,
        outputs: plan.names,
        emits: plan.emits,
        whole_rows: step.on_error != OnError::Fail,
        params: parsed.params.len(),
        vararg: parsed.vararg,
        passed: passed.clone(),
        sides: plan.sides,
    };
    let vm = Vm::load(&program, &step.ctx, port).map_err(|error| match error {
        LoadError::Function(error) => step.fail(error),
        LoadError::Engine(error) => error,
    })?;
    // From now on: the rows of side inputs, read until here, have no parameters.
    port.input.borrow_mut().passed = passed;
    Ok(vm)
}

impl RowSink for Batched {
    fn push(&mut self, row: &[Val<'_>]) -> Result<()> {
        let mut input = self.port.input.borrow_mut();
        let taken = input.push(row, &self.step.ctx.origin).and_then(|()| port::check_rows(&input));
        taken.map_err(|error| self.step.fail_at(row, error))?;
        let full = input.rows() >= self.rows || input.size() >= BYTES;
        drop(input);
        if full { self.run() } else { Ok(()) }
    }

    fn finish(&mut self) -> Result<()> {
        self.run()?;
        self.port.outputs.borrow_mut().iter_mut().try_for_each(|out| out.finish())
    }

    fn wants_more(&self) -> bool {
        self.port.outputs.borrow().iter().any(|out| out.wants_more())
    }
}
