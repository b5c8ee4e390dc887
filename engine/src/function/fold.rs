//! Folding functions: an accumulated row and another one in, one row out.

use std::cell::RefCell;
use std::rc::Rc;

use super::batched::load;
use super::port::Port;
use super::vm::{Kind, Vm};
use super::{FunctionError, Plan, Side, Step, fold_function};
use crate::{Result, RowBuf, RowSink, TaskContext, Val};
use plan::{Node, OnError};

/// Folds rows pairwise.
pub trait Folder {
    /// Writes the fold of two rows of one width into the empty row `out`, which gets that width too.
    ///
    /// # Errors
    /// An error of the step where the function fails.
    fn fold(&mut self, acc: &[Val<'_>], row: &[Val<'_>], out: &mut RowBuf) -> Result<()>;

    /// What the function does to each value, where that is simple enough to be done without it. Wherever
    /// [`Shortcut::apply`] gives nothing, `fold` must be asked.
    fn shortcuts(&self) -> Option<&[Shortcut]>;
}

/// A fold of one value that needs no call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortcut {
    Add,
    Min,
    Max,
    /// The value accumulated so far.
    First,
    /// The value that came last.
    Last,
}

impl Shortcut {
    /// The fold of two values, exactly as Lua would give it back, if they are numbers of the easy kind.
    #[inline]
    #[must_use]
    pub fn apply<'a>(self, acc: Val<'a>, value: Val<'a>) -> Option<Val<'a>> {
        match (acc, value) {
            (Val::Int(a), Val::Int(b)) if exact(a) && exact(b) => match self {
                Shortcut::Add => Some(a + b).filter(|sum| exact(*sum)).map(Val::Int),
                Shortcut::Min => Some(Val::Int(a.min(b))),
                Shortcut::Max => Some(Val::Int(a.max(b))),
                Shortcut::First => Some(acc),
                Shortcut::Last => Some(value),
            },
            (Val::Float(_) | Val::Int(_), Val::Float(_) | Val::Int(_)) => {
                let (a, b) = (as_float(acc)?, as_float(value)?);
                match self {
                    Shortcut::Add => Some(super::cells::number(a + b)),
                    // NaN and the two zeros are left to Lua.
                    Shortcut::Min if a < b => Some(super::cells::number(a)),
                    Shortcut::Min if b < a => Some(super::cells::number(b)),
                    Shortcut::Max if a > b => Some(super::cells::number(a)),
                    Shortcut::Max if b > a => Some(super::cells::number(b)),
                    Shortcut::First => Some(super::cells::number(a)),
                    Shortcut::Last => Some(super::cells::number(b)),
                    Shortcut::Min | Shortcut::Max => None,
                }
            }
            _ => None,
        }
    }
}

fn exact(i: i64) -> bool {
    i.unsigned_abs() <= super::cells::MAX_EXACT as u64
}

fn as_float(value: Val<'_>) -> Option<f64> {
    match value {
        Val::Int(i) if exact(i) => Some(i as f64),
        Val::Float(f) => Some(f),
        _ => None,
    }
}

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
