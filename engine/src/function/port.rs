//! The engine's end of the crossing: the rows that Lua is at, the tables that it gave, and the way of rows onward.

use std::any::Any;
use std::cell::{Cell as Slot, RefCell};
use std::ops::Range;
use std::rc::Rc;

use super::FunctionError;
use super::cells::Input;
use super::cross::{Given, Kept, Results};
use crate::{Error, Result, RowScratch, RowSink, TaskContext, codec};

/// Where finished rows go, by output.
pub(super) type Outputs = Vec<Box<dyn RowSink>>;

/// The outputs of a step, reached by its native code and by Lua.
pub(super) type SharedOutputs = Rc<RefCell<Outputs>>;

/// One step's end of the crossing.
pub(super) struct Port {
    pub(super) input: RefCell<Input>,
    pub(super) outputs: SharedOutputs,
    pub(super) captured: RefCell<Captured>,
    /// What went wrong behind the outputs while Lua was running.
    failure: RefCell<Option<Failure>>,
    /// Whether Lua was stopped since nobody wants more rows.
    sated: Slot<bool>,
    ctx: Rc<TaskContext>,
    /// Whether the rows that come in know where they come from.
    pub(super) follow_origin: Slot<bool>,
    /// What of the driver this end must reach.
    pub(super) kept: Slot<Kept>,
    /// Values that the table has room for in which a batch is handed over.
    pub(super) room: Slot<usize>,
    /// Whether any table ever came in that would not come back as it was.
    pub(super) has_origins: Slot<bool>,
}

/// What went wrong behind the outputs.
enum Failure {
    Error(Error),
    /// Goes on once Lua is left.
    Panic(Box<dyn Any + Send>),
}

/// Tables among the results, as they were when they were given.
#[derive(Debug, Default)]
pub(super) struct Captured {
    pub(super) bytes: Vec<u8>,
    /// Where the encoded form of each is.
    pub(super) tables: Vec<Range<usize>>,
}

impl Captured {
    fn clear(&mut self) {
        self.bytes.clear();
        self.tables.clear();
    }
}

impl Port {
    pub(super) fn new(ctx: &Rc<TaskContext>, outputs: SharedOutputs) -> Rc<Port> {
        Rc::new(Port {
            input: RefCell::default(),
            outputs,
            captured: RefCell::default(),
            failure: RefCell::new(None),
            sated: Slot::new(false),
            ctx: Rc::clone(ctx),
            follow_origin: Slot::new(true),
            kept: Slot::default(),
            room: Slot::new(0),
            has_origins: Slot::new(false),
        })
    }

    /// Passes rows on while Lua is running; false where that did not work, or no more rows are wanted.
    pub(super) fn flush(&self, results: &Results, until: usize) -> bool {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.deliver(results, until)));
        let failure = match outcome {
            Ok(Ok(())) => {
                self.sated.set(!self.wants_more());
                return !self.sated.get();
            }
            Ok(Err(error)) => Failure::Error(error),
            Err(panic) => Failure::Panic(panic),
        };
        *self.failure.borrow_mut() = Some(failure);
        false
    }

    /// Whether any consumer wants more rows.
    pub(super) fn wants_more(&self) -> bool {
        self.outputs.borrow().iter().any(|out| out.wants_more())
    }

    /// Whether Lua was stopped since nobody wants more rows; said once.
    pub(super) fn take_sated(&self) -> bool {
        self.sated.take()
    }

    /// What went wrong behind the outputs, once.
    pub(super) fn take_failure(&self) -> Option<Error> {
        match self.failure.borrow_mut().take()? {
            Failure::Error(error) => Some(error),
            Failure::Panic(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Passes on the rows among the results before `until`, and forgets all others.
    pub(super) fn deliver(&self, results: &Results, until: usize) -> Result<()> {
        let delivered = self.pass_on(results, until);
        self.captured.borrow_mut().clear();
        delivered
    }

    fn pass_on(&self, results: &Results, until: usize) -> Result<()> {
        let (input, captured, mut outputs) = (self.input.borrow(), self.captured.borrow(), self.outputs.borrow_mut());
        let follow = self.follow_origin.get();
        let mut scratch = RowScratch::default();
        let (mut at, mut source) = (0, usize::MAX);
        while at < until {
            let header = results.header(at);
            at += 1;
            if follow && header.source != source {
                input.restore(header.source, &self.ctx.origin);
                source = header.source;
            }
            let mut row = scratch.take();
            for _ in 0..header.width {
                row.push(match results.value(&mut at) {
                    Given::Value(value) => value,
                    Given::Table(number) => codec::table(&captured.bytes[captured.tables[number].clone()]),
                    Given::Field(field) => input.returned(header.source, field),
                });
            }
            outputs[header.output].push(&row)?;
            scratch.give(row);
        }
        Ok(())
    }

    /// Hands the rows from `first` to before `last` that the filter kept to the first output.
    pub(super) fn deliver_kept(&self, results: &Results, first: usize, last: usize) -> Result<()> {
        let (input, mut outputs) = (self.input.borrow(), self.outputs.borrow_mut());
        let mut row = Vec::new();
        for at in (first..last).filter(|at| results.flag(*at)) {
            row.clear();
            input.row(at, &mut row);
            input.restore(at, &self.ctx.origin);
            outputs[0].push(&row)?;
        }
        Ok(())
    }
}

impl std::fmt::Debug for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Port").field("input", &self.input).finish_non_exhaustive()
    }
}

/// A number too large for a table's index would need more memory than there is; but say so rather than wrap.
pub(super) fn check_rows(input: &Input) -> Result<(), FunctionError> {
    if input.size() > u32::MAX as usize / 2 { Err(FunctionError::TooLong { bytes: input.size() }) } else { Ok(()) }
}
