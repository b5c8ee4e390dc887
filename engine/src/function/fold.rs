//! Folding functions: an accumulated row and another one in, one row out.

use std::cell::RefCell;
use std::rc::Rc;

use super::batched::load;
use super::port::Port;
use super::vm::{Kind, Vm};
use super::{FunctionError, Plan, Side, Step, fold_function};
use crate::fold::{Folder, Shortcut};
use crate::{Result, RowBuf, RowSink, TaskContext, Val};
use plan::{Node, OnError};

/// The folder of a combine node with a function.
///
/// # Errors
/// An error of the step where the function or its prelude does not compile, or a side input is not what it should be.
pub fn folder(node: &Node, ctx: &Rc<TaskContext>, sides: &[Side]) -> Result<Box<dyn Folder>> {
    let function = fold_function(node)?;
    let step = Step { on_error: OnError::Fail, ..Step::of(node, ctx) };
    let plan = Plan { function, kind: Kind::Map, names: &[], emits: false, sides };
    Ok(Box::new(Called::new(step, &plan)?))
}

/// Calls Lua for each pair.
struct Called {
    step: Step,
    port: Rc<Port>,
    vm: Vm,
    result: Rc<RefCell<Option<RowBuf>>>,
}

/// Catches the one row that a call gives.
struct Catch(Rc<RefCell<Option<RowBuf>>>);

impl RowSink for Catch {
    fn push(&mut self, row: &[Val<'_>]) -> Result<()> {
        if let Some(caught) = self.0.borrow_mut().as_mut() {
            caught.extend(row);
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}

impl Called {
    fn new(step: Step, plan: &Plan<'_>) -> Result<Called> {
        let result = Rc::new(RefCell::new(None));
        let port = Port::new(&step.ctx, vec![Box::new(Catch(Rc::clone(&result)))]);
        port.follow_origin.set(false);
        let vm = load(&step, plan, &port)?;
        Ok(Called { step, port, vm, result })
    }

    fn call(&mut self, row: &[Val<'_>], out: &mut RowBuf) -> Result<()> {
        let mut input = self.port.input.borrow_mut();
        input.clear();
        input.push(row, &self.step.ctx.origin).map_err(|error| self.step.fail_at(row, error))?;
        drop(input);
        self.port.share_input();
        self.vm.run(0, 1).map_err(|error| self.step.fail_at(row, error))?;
        self.result.replace(Some(std::mem::take(out)));
        self.port.deliver_done()?;
        *out = self.result.take().unwrap_or_default();
        let (expected, found) = (row.len() / 2, out.len());
        if found != expected {
            let error = FunctionError::FoldWidth { place: self.vm.place(), expected, found };
            return Err(self.step.fail_at(row, error));
        }
        Ok(())
    }
}

impl Folder for Called {
    fn fold(&mut self, acc: &[Val<'_>], row: &[Val<'_>], out: &mut RowBuf) -> Result<()> {
        out.clear();
        let mut both = Vec::with_capacity(acc.len() + row.len());
        both.extend_from_slice(acc);
        both.extend_from_slice(row);
        self.call(&both, out)
    }

    fn shortcuts(&self) -> Option<&[Shortcut]> {
        None
    }
}
