//! Rows that a step cannot handle: they fail the flow, or are set aside as its `onError` says, and counted.

use std::fmt;
use std::rc::Rc;
use std::sync::atomic::Ordering;

use plan::{Node, OnError};

use crate::{Error, Result, RowSink, TaskContext, Val};

/// What becomes of a step's bad rows in one task.
pub struct Aside {
    pub(crate) step: String,
    pub(crate) ctx: Rc<TaskContext>,
    policy: OnError,
    /// Where dead letters go.
    letters: Option<Box<dyn RowSink>>,
}

impl fmt::Debug for Aside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aside").field("step", &self.step).field("policy", &self.policy).finish_non_exhaustive()
    }
}

impl Aside {
    /// That of a node; takes the output of its dead letters, the last one, off its outputs.
    pub(crate) fn of(node: &Node, ctx: &Rc<TaskContext>, outs: &mut Vec<Box<dyn RowSink>>) -> Aside {
        let letters = if node.on_error == OnError::DeadLetter { outs.pop() } else { None };
        Aside { step: node.step.clone(), ctx: Rc::clone(ctx), policy: node.on_error.clone(), letters }
    }

    /// That of a step whose bad rows fail the flow.
    #[must_use]
    pub fn none(step: &str, ctx: &Rc<TaskContext>) -> Aside {
        Aside { step: step.to_owned(), ctx: Rc::clone(ctx), policy: OnError::Fail, letters: None }
    }

    /// Whether a bad row fails the flow.
    pub(crate) fn fails(&self) -> bool {
        self.policy == OnError::Fail
    }

    /// Handles a bad row.
    ///
    /// # Errors
    /// What was wrong with it, where that fails the flow.
    pub(crate) fn row(&mut self, row: &[Val<'_>], error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Result<()> {
        if self.fails() {
            return Err(self.ctx.fail(&self.step, Some(row), error));
        }
        if let Some(count) = self.ctx.run.set_aside.get(&self.step) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        match (&self.policy, &mut self.letters) {
            (OnError::DeadLetter, Some(letters)) => letters.push(row),
            (OnError::DeadLetter, None) => Err(Error::Plan(format!("step {:?} has no output for dead letters", self.step))),
            (OnError::Fail | OnError::Skip, _) => Ok(()),
        }
    }

    /// There will be no more.
    ///
    /// # Errors
    /// Those of the step that reads the dead letters.
    pub(crate) fn finish(&mut self) -> Result<()> {
        self.letters.as_mut().map_or(Ok(()), |letters| letters.finish())
    }

    /// Whether anybody reads the dead letters.
    pub(crate) fn wants_more(&self) -> bool {
        self.letters.as_ref().is_some_and(|letters| letters.wants_more())
    }
}
