//! The crossing itself, by Lua's C interface: values of a batch into a Lua table before its rows are run, results out of another
//! one behind them. Never calls what a user wrote; `driver.lua` does that between the two.
#![allow(unsafe_code, reason = "Lua's own interface is the only way past a call per value")]

mod capture;
mod fill;

use std::ffi::{CStr, c_int, c_void};

use mlua::ffi::{self, lua_State};

use super::port::Port;
use crate::Val;

/// What the driver keeps and this end must reach, by its place in Lua's registry.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Kept {
    /// The table of the results.
    results: c_int,
    /// Tables that would not come back as they came in: their encoded form.
    origins: c_int,
    /// Of those that look like something else, what they are.
    lengths: c_int,
    /// Makes an `int64_t` of two halves.
    boxed: c_int,
    /// Makes an `int64_t` of a C value, or raises.
    exact: c_int,
    /// What stands in for parameters, by their number.
    stand_ins: c_int,
    /// Stands for nil among the results.
    nothing: c_int,
}

/// Makes the driver's functions of this end. They call the port, which must outlive the VM's last call.
///
/// # Safety
/// `state` is a Lua state with room for them all.
pub(super) unsafe fn push_functions(state: *mut lua_State, port: &Port) {
    let address = std::ptr::from_ref(port).cast_mut().cast::<c_void>();
    for function in [fill::fill as ffi::lua_CFunction, capture::capture, capture::unchanged, flush] {
        // SAFETY: the caller's; the port is read behind a shared reference only.
        unsafe {
            ffi::lua_pushlightuserdata(state, address);
            ffi::lua_pushcclosure(state, function, 1);
        }
    }
}

/// Notes what the driver, the table on top, keeps.
///
/// # Safety
/// `state` is a Lua state in a protected call.
pub(super) unsafe fn keep(state: *mut lua_State) -> Kept {
    let take = |name: &CStr| {
        // SAFETY: the caller's.
        unsafe {
            ffi::lua_getfield(state, -1, name.as_ptr());
            ffi::luaL_ref(state, ffi::LUA_REGISTRYINDEX)
        }
    };
    Kept {
        results: take(c"results"),
        origins: take(c"origins"),
        lengths: take(c"lengths"),
        boxed: take(c"boxed"),
        exact: take(c"exact"),
        stand_ins: take(c"stand_ins"),
        nothing: take(c"nothing"),
    }
}

/// Pushes what stands at a place of the registry; its type.
unsafe fn push_kept(state: *mut lua_State, at: c_int) -> c_int {
    // SAFETY: the registry is always there; the caller has room for one value.
    unsafe { ffi::lua_rawgeti(state, ffi::LUA_REGISTRYINDEX, at.into()) }
}

/// The port of a function made by `push_functions`.
unsafe fn port<'p>(state: *mut lua_State) -> &'p Port {
    // SAFETY: it is the function's upvalue, and lives as long as the function may be called.
    unsafe { &*ffi::lua_touserdata(state, ffi::lua_upvalueindex(1)).cast::<Port>() }
}

/// Passes rows on while Lua runs: whether that worked. `flush(pos)`.
unsafe extern "C-unwind" fn flush(state: *mut lua_State) -> c_int {
    // SAFETY: as for all functions of `push_functions`: Lua calls them with their upvalue and with room for 20 values.
    unsafe {
        let port = port(state);
        let until = ffi::lua_tonumber(state, 1) as usize;
        let results = Results::open(state, port);
        let worked = port.flush(&results, until);
        drop(results);
        ffi::lua_pushboolean(state, c_int::from(worked));
    }
    1
}

/// What a row among the results begins with: `driver.lua` adds the three up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    /// The row of the input that the function was at.
    pub(super) source: usize,
    pub(super) output: usize,
    pub(super) width: usize,
}

const OUTPUT_SHIFT: u32 = 30;
const SOURCE_SHIFT: u32 = 42;
// A header must be an exact number.
const _: () = assert!((super::batched::ROWS as u64) << SOURCE_SHIFT <= super::cells::MAX_EXACT as u64);

/// One of the results.
pub(super) enum Given<'a> {
    Value(Val<'a>),
    /// The table that was captured with this 0-based number.
    Table(usize),
    /// A field of the row that the function was at.
    Field(usize),
}

/// The results of a batch, which stay as they are as long as this is there: Lua does not run.
pub(super) struct Results {
    state: *mut lua_State,
    table: c_int,
    nothing: *const c_void,
}

impl Results {
    /// # Safety
    /// `state` is a Lua state with room for three values, and nothing runs in its VM as long as the results are read.
    pub(super) unsafe fn open(state: *mut lua_State, port: &Port) -> Results {
        let kept = port.kept.get();
        // SAFETY: the caller's.
        unsafe {
            push_kept(state, kept.nothing);
            let nothing = ffi::lua_topointer(state, -1);
            ffi::lua_pop(state, 1);
            push_kept(state, kept.results);
            Results { state, table: ffi::lua_gettop(state), nothing }
        }
    }

    /// Pushes the result at a 0-based place; its type.
    #[inline]
    fn push(&self, at: usize) -> c_int {
        // SAFETY: the table is on the stack until `drop`, and there is room for one more value (`open`).
        unsafe {
            ffi::lua_rawgeti_(self.state, self.table, at as c_int + 1);
            ffi::lua_type(self.state, -1)
        }
    }

    #[inline]
    fn pop(&self) {
        // SAFETY: `push` was called before.
        unsafe { ffi::lua_settop(self.state, self.table) }
    }

    #[inline]
    fn number(&self) -> f64 {
        // SAFETY: `push` was called before.
        unsafe { ffi::lua_tonumber(self.state, -1) }
    }

    pub(super) fn header(&self, at: usize) -> Header {
        self.push(at);
        let header = self.number() as u64;
        self.pop();
        Header {
            source: (header >> SOURCE_SHIFT) as usize,
            output: (header >> OUTPUT_SHIFT & 0xfff) as usize,
            width: (header & ((1 << OUTPUT_SHIFT) - 1)) as usize,
        }
    }

    /// Whether the result at a place is true.
    pub(super) fn flag(&self, at: usize) -> bool {
        self.push(at);
        // SAFETY: `push` was called just before.
        let flag = unsafe { ffi::lua_toboolean(self.state, -1) } != 0;
        self.pop();
        flag
    }

    /// The value at a place, which moves behind it.
    #[inline]
    pub(super) fn value(&self, at: &mut usize) -> Given<'_> {
        let kind = self.push(*at);
        *at += 1;
        let value = match kind {
            ffi::LUA_TNUMBER => super::cells::number(self.number()),
            // SAFETY: the string is on the stack, and after it stays in the table of results.
            ffi::LUA_TSTRING => Val::Str(unsafe { bytes(self.state, -1) }),
            // SAFETY: the value is on the stack.
            ffi::LUA_TBOOLEAN => Val::Bool(unsafe { ffi::lua_toboolean(self.state, -1) } != 0),
            // SAFETY: as above; `put` of the driver lets no other C value through than an int64_t.
            ffi::LUA_TCDATA => Val::Int(unsafe { ffi::lua_topointer(self.state, -1).cast::<i64>().read_unaligned() }),
            // SAFETY: as above.
            _ if unsafe { ffi::lua_topointer(self.state, -1) } == self.nothing => Val::Nil,
            _ => return self.marked(at),
        };
        self.pop();
        Given::Value(value)
    }

    /// What stands behind the mark on the stack: the number of a captured table, or of a parameter below 0; both from 1 on.
    fn marked(&self, at: &mut usize) -> Given<'_> {
        self.pop();
        self.push(*at);
        *at += 1;
        let number = self.number();
        self.pop();
        if number < 0.0 { Given::Field(-number as usize - 1) } else { Given::Table(number as usize - 1) }
    }
}

impl Drop for Results {
    fn drop(&mut self) {
        // SAFETY: the table was pushed in `open`, and everything above it is ours.
        unsafe { ffi::lua_settop(self.state, self.table - 1) }
    }
}

/// The bytes of the string at a place of the stack.
///
/// # Safety
/// There is a string, and something keeps it alive as long as its bytes are used.
unsafe fn bytes<'a>(state: *mut lua_State, at: c_int) -> &'a [u8] {
    let mut len = 0;
    // SAFETY: the caller's; a string is not converted, and has `len` bytes.
    unsafe {
        let start = ffi::lua_tolstring(state, at, &raw mut len);
        std::slice::from_raw_parts(start.cast(), len)
    }
}
