//! Every change that a sink makes outside of this process goes through here, one by one, so that tests can end "the process", or
//! let another one act, between any two of them.
//!
//! A process that was killed does nothing any more: not even what its drops would have done.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

thread_local! {
    /// Changes that are still made before something happens; `None`: nothing does.
    static LEFT: Cell<Option<usize>> = const { Cell::new(None) };
    static MEANWHILE: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
}

/// What a killed thread unwinds with.
struct Killed;

/// Makes a change.
pub(super) fn change<T>(make: impl FnOnce() -> T) -> T {
    if must_not() {
        resume_unwind(Box::new(Killed));
    }
    make()
}

/// Makes a change in a drop.
pub(super) fn change_in_drop(make: impl FnOnce()) {
    if !must_not() {
        make();
    } else if !std::thread::panicking() {
        resume_unwind(Box::new(Killed));
    }
}

/// Counts; whether the process is dead by now.
fn must_not() -> bool {
    match LEFT.get() {
        None => return false,
        Some(0) => {}
        Some(left) => {
            LEFT.set(Some(left - 1));
            return false;
        }
    }
    match MEANWHILE.take() {
        Some(meanwhile) => {
            LEFT.set(None);
            meanwhile();
            false
        }
        None => true,
    }
}

/// For tests: lets `act` make so many changes in this thread, and kills it before the next one; `None`: it was killed.
#[doc(hidden)]
pub fn killed_after<T>(changes: usize, act: impl FnOnce() -> T) -> Option<T> {
    LEFT.set(Some(changes));
    let result = catch_unwind(AssertUnwindSafe(act));
    LEFT.set(None);
    match result {
        Ok(made) => Some(made),
        Err(payload) if payload.is::<Killed>() => None,
        Err(payload) => resume_unwind(payload),
    }
}

/// For tests: lets `act` make so many changes in this thread, and `meanwhile` happen before the next one. False: it did not come
/// to that.
#[doc(hidden)]
pub fn interrupted_after<T>(changes: usize, meanwhile: impl FnOnce() + 'static, act: impl FnOnce() -> T) -> (T, bool) {
    LEFT.set(Some(changes));
    MEANWHILE.set(Some(Box::new(meanwhile)));
    let made = act();
    LEFT.set(None);
    (made, MEANWHILE.take().is_none())
}
