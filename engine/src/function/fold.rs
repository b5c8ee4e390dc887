//! Folding functions: an accumulated row and another one in, one row out.

use std::cell::RefCell;
use std::rc::Rc;

use lua::native::{Action, Arithmetic, Builtin, Code, Lifted, Returned};

use super::batched::load;
use super::native::NativeFold;
use super::port::Port;
use super::vm::{Kind, Vm};
use super::{FunctionError, Plan, Side, Step, fold_function};
use crate::fold::{Folder, Shortcut};
use crate::{Result, RowBuf, RowScratch, RowSink, TaskContext, Val};
use plan::{Node, OnError};

/// The folder of a combine node with a function.
///
/// # Errors
/// An error of the step where the function or its prelude does not compile, or a side input is not what it should be.
pub fn folder(node: &Node, ctx: &Rc<TaskContext>, sides: &[Side]) -> Result<Box<dyn Folder>> {
    Ok(Box::new(folder_as(node, ctx, sides, super::ALL_TIERS)?))
}

pub(super) fn folder_as(node: &Node, ctx: &Rc<TaskContext>, sides: &[Side], tiers: super::Tiers) -> Result<FunctionFolder> {
    let function = fold_function(node)?;
    let step = Step { on_error: OnError::Fail, ..Step::of(node, ctx) };
    let lifted = lua::lift(&function.source, lua::Role::Fold, &ctx.run.prelude).ok().filter(|_| tiers.native);
    let shortcuts = lifted.as_ref().and_then(shortcuts);
    let eager = lifted.is_none() || !ctx.run.prelude.is_empty() || !sides.is_empty();
    let mut folder = FunctionFolder {
        step,
        function: function.clone(),
        sides: sides.to_vec(),
        native: lifted.map(NativeFold::new),
        shortcuts,
        scratch: RowScratch::default(),
        lua: None,
    };
    if eager {
        folder.load()?;
    }
    Ok(folder)
}

/// Folds natively where it can, else in Lua.
pub(super) struct FunctionFolder {
    step: Step,
    function: plan::Function,
    sides: Vec<Side>,
    native: Option<NativeFold>,
    shortcuts: Option<Vec<Shortcut>>,
    scratch: RowScratch,
    lua: Option<Called>,
}

impl FunctionFolder {
    fn load(&mut self) -> Result<&mut Called> {
        if self.lua.is_none() {
            let plan = Plan { function: &self.function, kind: Kind::Map, names: &[], emits: false, sides: &self.sides };
            self.lua = Some(Called::new(self.step.clone(), &plan)?);
        }
        match &mut self.lua {
            Some(called) => Ok(called),
            None => unreachable!("loaded just above"),
        }
    }
}

impl Folder for FunctionFolder {
    fn fold(&mut self, acc: &[Val<'_>], row: &[Val<'_>], out: &mut RowBuf) -> Result<()> {
        out.clear();
        let mut both = self.scratch.take();
        both.extend_from_slice(acc);
        both.extend_from_slice(row);
        let covered = self.native.as_mut().is_some_and(|native| native.fold(&both, acc.len(), out));
        let result = if covered { Ok(()) } else { self.load()?.call(&both, acc.len(), out) };
        self.scratch.give(both);
        result
    }

    fn shortcuts(&self) -> Option<&[Shortcut]> {
        self.shortcuts.as_deref()
    }
}

/// What a lifted fold does to each value, if that is all that it does.
fn shortcuts(lifted: &Lifted) -> Option<Vec<Shortcut>> {
    let [Action::Return(Returned::Values(codes))] = lifted.body.as_slice() else { return None };
    if lifted.params != 2 * codes.len() {
        return None;
    }
    codes.iter().enumerate().map(|(at, code)| shortcut(code, at, at + codes.len())).collect()
}

/// What an expression does to the fields `x` and `y`.
fn shortcut(code: &Code, x: usize, y: usize) -> Option<Shortcut> {
    let (shortcut, left, right) = match code {
        Code::Arithmetic(Arithmetic::Add, left, right) => (Shortcut::Add, &**left, &**right),
        Code::Call(Builtin::Min, arguments) => (Shortcut::Min, arguments.first()?, arguments.get(1)?),
        Code::Call(Builtin::Max, arguments) => (Shortcut::Max, arguments.first()?, arguments.get(1)?),
        _ => return None,
    };
    let both = |a: usize, b: usize| *left == Code::Field(a) && *right == Code::Field(b);
    let whole = !matches!(code, Code::Call(_, arguments) if arguments.len() != 2);
    (whole && (both(x, y) || both(y, x))).then_some(shortcut)
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
        let catch: Box<dyn RowSink> = Box::new(Catch(Rc::clone(&result)));
        let port = Port::new(&step.ctx, Rc::new(RefCell::new(vec![catch])));
        port.follow_origin.set(false);
        let vm = load(&step, plan, &port)?;
        Ok(Called { step, port, vm, result })
    }

    fn call(&mut self, row: &[Val<'_>], expected: usize, out: &mut RowBuf) -> Result<()> {
        let mut input = self.port.input.borrow_mut();
        input.clear();
        input.push(row, &self.step.ctx.origin).map_err(|error| self.step.fail_at(row, error))?;
        drop(input);
        let ran = self.vm.run(0, 1);
        if let Some(error) = ran.error {
            return Err(self.step.fail_at(row, error));
        }
        self.result.replace(Some(std::mem::take(out)));
        self.port.deliver(&self.vm.results(), ran.done)?;
        *out = self.result.take().unwrap_or_default();
        let found = out.len();
        if found != expected {
            let error = FunctionError::FoldWidth { place: self.vm.place(), expected, found };
            return Err(self.step.fail_at(row, error));
        }
        Ok(())
    }
}
