//! The pipes of one task: whoever waits for one of them sees another one fail, and waits no longer.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::{Rc, Weak};
use std::time::Instant;

use super::Running;
use super::child::PATIENCE;
use crate::Result;

/// The pipes of a task that are not over yet.
#[derive(Default)]
pub(crate) struct Siblings {
    pipes: RefCell<Vec<Weak<RefCell<Running>>>>,
    looked: Cell<Option<Instant>>,
    /// Somebody looks: what it passes on may reach others, which must not look back.
    looking: Cell<bool>,
}

impl Siblings {
    pub(super) fn add(&self, pipe: &Rc<RefCell<Running>>) {
        self.pipes.borrow_mut().push(Rc::downgrade(pipe));
    }

    /// To be asked while one of them is waited for.
    ///
    /// # Errors
    /// The failure of another.
    pub(super) fn look(&self) -> Result<()> {
        if self.looking.get() || self.looked.get().is_some_and(|looked| looked.elapsed() < PATIENCE) {
            return Ok(());
        }
        self.looking.set(true);
        let pipes: Vec<_> = self.pipes.borrow().iter().filter_map(Weak::upgrade).collect();
        // One that is at work notices by itself, and so does the one that asks.
        let seen = pipes.iter().filter_map(|pipe| pipe.try_borrow_mut().ok()).try_for_each(|mut pipe| pipe.look());
        self.looked.set(Some(Instant::now()));
        self.looking.set(false);
        seen
    }
}

impl fmt::Debug for Siblings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Siblings").field("pipes", &self.pipes.borrow().len()).finish_non_exhaustive()
    }
}
