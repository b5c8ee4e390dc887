//! The engine's end of the crossing: the memory that Lua's end reads and writes, and the way of rows onward.
#![allow(unsafe_code, reason = "cells written by LuaJIT are read through the pointers it was given")]

use std::cell::{Cell as Slot, RefCell, UnsafeCell};
use std::ffi::c_void;
use std::rc::Rc;

use super::FunctionError;
use super::cells::{self, Cell, Input, tag};
use super::returned;
use crate::{Error, Result, RowScratch, RowSink, TaskContext, Val, codec};

/// What both ends see, as `driver.lua` declares it.
#[repr(C)]
struct Shared {
    cells: *const Cell,
    kids: *const Cell,
    starts: *const u32,
    widths: *const u32,
    keep: *mut u8,
    out: *mut Cell,
    /// Cells that `out` has room for.
    cap: u32,
    /// The row that the function is at.
    row: u32,
    /// Cells of `out` that are written.
    pos: u32,
    /// Of these, cells of rows that the function is through with.
    done: u32,
    /// Set when no more rows are wanted.
    stop: u32,
}

/// Where finished rows go, by output.
pub(super) type Outputs = Vec<Box<dyn RowSink>>;

/// The outputs of a step, reached by its native code and by Lua.
pub(super) type SharedOutputs = Rc<RefCell<Outputs>>;

/// One step's end of the crossing.
pub(super) struct Port {
    shared: Box<UnsafeCell<Shared>>,
    pub(super) input: RefCell<Input>,
    out: RefCell<Vec<Cell>>,
    keep: RefCell<Vec<u8>>,
    pub(super) outputs: SharedOutputs,
    /// What went wrong behind the outputs while Lua was running.
    failure: RefCell<Option<Error>>,
    ctx: Rc<TaskContext>,
    /// Whether the rows that come in know where they come from.
    pub(super) follow_origin: Slot<bool>,
}

/// Cells of output to begin with; `driver.lua` passes rows on at half of it.
const OUT_CELLS: usize = 16 << 10;

impl Port {
    pub(super) fn new(ctx: &Rc<TaskContext>, outputs: SharedOutputs) -> Rc<Port> {
        let null = std::ptr::null_mut::<Cell>();
        let shared = Shared {
            cells: null,
            kids: null,
            starts: std::ptr::null(),
            widths: std::ptr::null(),
            keep: std::ptr::null_mut(),
            out: null,
            cap: 0,
            row: 0,
            pos: 0,
            done: 0,
            stop: 0,
        };
        let port = Port {
            shared: Box::new(UnsafeCell::new(shared)),
            input: RefCell::default(),
            out: RefCell::new(vec![Cell::NIL; OUT_CELLS]),
            keep: RefCell::default(),
            outputs,
            failure: RefCell::new(None),
            ctx: Rc::clone(ctx),
            follow_origin: Slot::new(true),
        };
        port.share_out();
        Rc::new(port)
    }

    /// The address that `driver.lua` gets; good as long as the port lives.
    pub(super) fn address(&self) -> *mut c_void {
        self.shared.get().cast()
    }

    fn with_shared<R>(&self, f: impl FnOnce(&mut Shared) -> R) -> R {
        // SAFETY: the box outlives the call; Lua touches it only while it runs, on this thread, and no reference from an
        // earlier call is alive: none leaves this function.
        f(unsafe { &mut *self.shared.get() })
    }

    fn share_out(&self) {
        let mut out = self.out.borrow_mut();
        self.with_shared(|shared| (shared.out, shared.cap) = (out.as_mut_ptr(), out.len() as u32));
    }

    /// Makes the rows of `input` visible to Lua.
    pub(super) fn share_input(&self) {
        let mut input = self.input.borrow_mut();
        input.point();
        let mut keep = self.keep.borrow_mut();
        keep.clear();
        keep.resize(input.rows(), 0);
        self.with_shared(|shared| {
            shared.cells = input.cells.as_ptr();
            shared.kids = input.kids.as_ptr();
            shared.starts = input.starts.as_ptr();
            shared.widths = input.widths.as_ptr();
            shared.keep = keep.as_mut_ptr();
        });
    }

    /// Makes room for more cells; what is there stays. Called by Lua.
    pub(super) fn grow(&self) {
        let more = self.out.borrow().len() * 2;
        self.out.borrow_mut().resize(more, Cell::NIL);
        self.share_out();
    }

    /// Passes all written rows on. Called by Lua, which sees from `stop` whether it worked.
    pub(super) fn flush(&self) {
        let pos = self.with_shared(|shared| shared.pos);
        if let Err(error) = self.deliver(pos) {
            *self.failure.borrow_mut() = Some(error);
            self.with_shared(|shared| shared.stop = 1);
        }
    }

    /// Whether the value written from a cell on is what Lua gives back for an encoded list or map in which nothing was changed.
    /// Called by Lua.
    pub(super) fn unchanged(&self, start: usize, origin: &[u8]) -> bool {
        let (mut found, mut expected) = (Vec::with_capacity(origin.len()), Vec::with_capacity(origin.len()));
        encode(&self.out.borrow(), start, &mut found, Nested::Returned);
        returned::write(codec::table(origin), &mut expected);
        found == expected
    }

    /// The row that the function was at.
    pub(super) fn row(&self) -> usize {
        self.with_shared(|shared| shared.row as usize)
    }

    /// What went wrong behind the outputs, once.
    pub(super) fn take_failure(&self) -> Option<Error> {
        self.with_shared(|shared| shared.stop = 0);
        self.failure.borrow_mut().take()
    }

    /// Passes on the rows of all source rows that the function is through with, and forgets the others.
    pub(super) fn deliver_done(&self) -> Result<()> {
        let done = self.with_shared(|shared| shared.done);
        self.deliver(done)
    }

    fn deliver(&self, until: u32) -> Result<()> {
        let result = self.pass_on(until as usize);
        self.with_shared(|shared| (shared.pos, shared.done) = (0, 0));
        result
    }

    fn pass_on(&self, until: usize) -> Result<()> {
        let (out, input, mut outputs) = (self.out.borrow(), self.input.borrow(), self.outputs.borrow_mut());
        let follow = self.follow_origin.get();
        let mut tables = Tables::default();
        let mut scratch = RowScratch::default();
        let (mut at, mut source) = (0, usize::MAX);
        while at < until {
            let header = out[at];
            debug_assert_eq!(header.tag, tag::ROW, "cells of output are rows one behind the other");
            let (output, from) = (header.bits as u32 as usize, (header.bits >> 32) as usize);
            if follow && from != source {
                input.restore(from, &self.ctx.origin);
                source = from;
            }
            let fields = at + 1;
            at = tables.encode(&out, fields, header.len as usize);
            let mut row = scratch.take();
            read_fields(&out[fields..at], &tables, &input, &mut row);
            outputs[output].push(&row)?;
            scratch.give(row);
        }
        Ok(())
    }

    /// Hands the rows from `first` to before `last` that the filter kept to the first output.
    pub(super) fn deliver_kept(&self, first: usize, last: usize) -> Result<()> {
        let (input, keep, mut outputs) = (self.input.borrow(), self.keep.borrow(), self.outputs.borrow_mut());
        let mut row = Vec::new();
        for at in (first..last).filter(|at| keep[*at] == 1) {
            row.clear();
            input.row(at, &mut row);
            input.restore(at, &self.ctx.origin);
            outputs[0].push(&row)?;
        }
        Ok(())
    }
}

/// The lists and maps of one row, encoded: ends of their bytes, in order.
#[derive(Default)]
struct Tables {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Tables {
    /// Encodes the tables among `fields` values from cell `at` on; the place behind them.
    fn encode(&mut self, out: &[Cell], mut at: usize, fields: usize) -> usize {
        self.bytes.clear();
        self.ends.clear();
        for _ in 0..fields {
            if matches!(out[at].tag, tag::LIST | tag::MAP) {
                at = encode(out, at, &mut self.bytes, Nested::Kept);
                self.ends.push(self.bytes.len());
            } else {
                at += 1;
            }
        }
        at
    }
}

/// How lists and maps that are written as their encoded bytes are encoded inside another one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Nested {
    /// As they are.
    Kept,
    /// As Lua would give them back.
    Returned,
}

/// Appends the value at a cell to `bytes`; the place behind it.
fn encode(out: &[Cell], at: usize, bytes: &mut Vec<u8>, nested: Nested) -> usize {
    let cell = out[at];
    let mut next = at + 1;
    match cell.tag {
        tag::LIST => {
            codec::write_array_header(bytes, cell.len as usize);
            for _ in 0..cell.len {
                next = encode(out, next, bytes, nested);
            }
        }
        tag::MAP => {
            let mut pairs: Vec<(Vec<u8>, Vec<u8>)> = Vec::with_capacity(cell.len as usize);
            for _ in 0..cell.len {
                let mut pair = (Vec::new(), Vec::new());
                next = encode(out, next, &mut pair.0, nested);
                next = encode(out, next, &mut pair.1, nested);
                pairs.push(pair);
            }
            codec::write_encoded_pairs(bytes, pairs);
        }
        tag::ENCODED | tag::NUMBER if nested == Nested::Returned => returned::write(plain(cell), bytes),
        _ => codec::write_val(bytes, plain(cell)),
    }
    next
}

fn read_fields<'a>(mut cells: &[Cell], tables: &'a Tables, input: &'a Input, row: &mut Vec<Val<'a>>) {
    let (mut table, mut start) = (0, 0);
    while let Some((cell, rest)) = cells.split_first() {
        if matches!(cell.tag, tag::LIST | tag::MAP) {
            let encoded = &tables.bytes[start..tables.ends[table]];
            row.push(if cell.tag == tag::LIST { Val::List(encoded) } else { Val::Map(encoded) });
            start = tables.ends[table];
            table += 1;
            cells = &cells[skip(cells)..];
        } else {
            row.push(if cell.tag == tag::FIELD { input.value(cell.bits as usize) } else { plain(*cell) });
            cells = rest;
        }
    }
}

/// How many cells the first value takes up.
fn skip(cells: &[Cell]) -> usize {
    let (mut at, mut values) = (0, 1_usize);
    while values > 0 {
        values -= 1;
        values += match cells[at].tag {
            tag::LIST => cells[at].len as usize,
            tag::MAP => 2 * cells[at].len as usize,
            _ => 0,
        };
        at += 1;
    }
    at
}

/// The value of a cell without others behind it.
#[inline]
fn plain<'a>(cell: Cell) -> Val<'a> {
    match cell.tag {
        tag::FALSE => Val::Bool(false),
        tag::TRUE => Val::Bool(true),
        tag::NUMBER => cells::number(f64::from_bits(cell.bits)),
        tag::INT64 => Val::Int(cell.bits as i64),
        // SAFETY: `put` of driver.lua keeps the string of each cell alive in `anchors` until the cell is written again, which
        // happens only when Lua runs on; the rows that borrow it are gone by then, since `pass_on` returns before that.
        tag::STRING => Val::Str(unsafe { std::slice::from_raw_parts(cell.bits as *const u8, cell.len as usize) }),
        // SAFETY: as for strings.
        tag::ENCODED => codec::table(unsafe { std::slice::from_raw_parts(cell.bits as *const u8, cell.len as usize) }),
        _ => Val::Nil,
    }
}

impl std::fmt::Debug for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Port").field("input", &self.input).finish_non_exhaustive()
    }
}

/// A number too large for a cell's index would need more memory than there is; but say so rather than wrap.
pub(super) fn check_rows(input: &Input) -> Result<(), FunctionError> {
    let cells = input.cells.len().max(input.kids.len());
    if cells > u32::MAX as usize / 2 { Err(FunctionError::TooLong { bytes: input.size() }) } else { Ok(()) }
}
