//! Tables on their way out of Lua: encoded when they are given, as the function may change them after.
#![allow(unsafe_code, reason = "Lua's own interface is the only way past a call per value")]

use std::ffi::{CStr, c_int};

use mlua::ffi::{self, lua_State};

use super::{Kept, bytes, port, push_kept};
use crate::function::port::Port;
use crate::function::{cells, returned};
use crate::{Val, codec};

/// How deep tables may nest (as in `codec`).
const MAX_DEPTH: u32 = codec::MAX_DEPTH;

/// `capture(table)`: keeps a table as it is now; its number, or nil and why it cannot be a field.
pub(super) unsafe extern "C-unwind" fn capture(state: *mut lua_State) -> c_int {
    // SAFETY: Lua calls this with its upvalue and with room for 20 values; nothing in here raises but what comes last.
    let outcome = unsafe {
        ffi::lua_settop(state, 1);
        captured(state, port(state))
    };
    match outcome {
        // SAFETY: as above.
        Ok(number) => unsafe {
            ffi::lua_pushnumber(state, number as f64);
            1
        },
        // SAFETY: as above.
        Err(why) => unsafe { refuse(state, why) },
    }
}

/// `unchanged(table)`: whether an odd table still is what it came from; nil and why where it cannot be a field.
pub(super) unsafe extern "C-unwind" fn unchanged(state: *mut lua_State) -> c_int {
    // SAFETY: as for `capture`.
    let outcome = unsafe {
        ffi::lua_settop(state, 1);
        let encoder = Encoder { state, kept: port(state).kept.get(), origins: true };
        let mut found = Vec::new();
        encoder.items(1, 1, &mut found).map(|()| encoder.origin(1).is_some_and(|origin| same(&found, origin)))
    };
    match outcome {
        // SAFETY: as above.
        Ok(same) => unsafe {
            ffi::lua_pushboolean(state, c_int::from(same));
            1
        },
        // SAFETY: as above.
        Err(why) => unsafe { refuse(state, why) },
    }
}

unsafe fn refuse(state: *mut lua_State, why: String) -> c_int {
    // SAFETY: the caller's state has room. Should memory be out here, `why` is dropped or lost, and nothing else.
    unsafe {
        ffi::lua_pushnil(state);
        ffi::lua_pushlstring_(state, why.as_ptr().cast(), why.len());
    }
    2
}

/// Keeps the first table on the stack; its number, from 1 on.
unsafe fn captured(state: *mut lua_State, port: &Port) -> Result<usize, String> {
    let mut captured = port.captured.borrow_mut();
    let encoder = Encoder { state, kept: port.kept.get(), origins: port.has_origins.get() };
    let start = captured.bytes.len();
    // SAFETY: the caller's.
    if let Err(why) = unsafe { encoder.table(1, 1, &mut captured.bytes) } {
        captured.bytes.truncate(start);
        return Err(why);
    }
    let end = captured.bytes.len();
    captured.tables.push(start..end);
    Ok(captured.tables.len())
}

struct Encoder {
    state: *mut lua_State,
    kept: Kept,
    /// Whether any table may have an origin.
    origins: bool,
}

// SAFETY (all blocks below): places of the stack are absolute and hold what is said; room is asked for by each table; none of what
// is called raises or runs what a user wrote.
impl Encoder {
    unsafe fn table(&self, at: c_int, depth: u32, out: &mut Vec<u8>) -> Result<(), String> {
        let start = out.len();
        unsafe { self.items(at, depth, out) }?;
        if self.origins
            && let Some(origin) = unsafe { self.origin(at) }
            && same(&out[start..], origin)
        {
            out.truncate(start);
            out.extend_from_slice(origin);
        }
        Ok(())
    }

    /// What a table came from, if it would not come back as it is; alive as long as the table.
    unsafe fn origin<'a>(&self, at: c_int) -> Option<&'a [u8]> {
        unsafe {
            push_kept(self.state, self.kept.origins);
            ffi::lua_pushvalue(self.state, at);
            let kind = ffi::lua_rawget(self.state, -2);
            let origin = (kind == ffi::LUA_TSTRING).then(|| bytes(self.state, -1));
            ffi::lua_pop(self.state, 2);
            origin
        }
    }

    /// A table's items, as those of a list or of a map.
    unsafe fn items(&self, at: c_int, depth: u32, out: &mut Vec<u8>) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err("a table that contains itself, or nests more than 128 deep, cannot be a field".to_owned());
        }
        if unsafe { ffi::lua_checkstack(self.state, 8) } == 0 {
            return Err("not enough memory".to_owned());
        }
        let start = out.len();
        if unsafe { self.sequence(at, depth, out) }? {
            return Ok(());
        }
        out.truncate(start);
        if unsafe { self.is_list(at, 1) } {
            // Its keys may still be those of a list, in another order.
            let len = unsafe { self.count(at) };
            if unsafe { self.is_list(at, len) } {
                return unsafe { self.list(at, len, depth, out) };
            }
        }
        unsafe { self.map(at, depth, out) }
    }

    /// Tries the usual list, whose keys come in their order; false, and anything written, if it is none.
    unsafe fn sequence(&self, at: c_int, depth: u32, out: &mut Vec<u8>) -> Result<bool, String> {
        let (len, mut seen) = (unsafe { ffi::lua_objlen(self.state, at) }, 0);
        codec::write_array_header(out, len);
        unsafe {
            ffi::lua_pushnil(self.state);
            while ffi::lua_next(self.state, at) != 0 {
                seen += 1;
                let in_order = ffi::lua_type(self.state, -2) == ffi::LUA_TNUMBER
                    && ffi::lua_tonumber(self.state, -2) == seen as f64
                    && seen <= len;
                if !in_order {
                    ffi::lua_pop(self.state, 2);
                    return Ok(false);
                }
                self.value(ffi::lua_gettop(self.state), depth + 1, out)?;
                ffi::lua_pop(self.state, 1);
            }
        }
        Ok(seen == len)
    }

    unsafe fn count(&self, at: c_int) -> usize {
        let mut count = 0;
        unsafe {
            ffi::lua_pushnil(self.state);
            while ffi::lua_next(self.state, at) != 0 {
                ffi::lua_pop(self.state, 1);
                count += 1;
            }
        }
        count
    }

    /// Whether a table has the keys from 1 to a number.
    unsafe fn is_list(&self, at: c_int, len: usize) -> bool {
        (1..=len).all(|item| unsafe {
            ffi::lua_rawgeti_(self.state, at, item as c_int);
            let there = ffi::lua_type(self.state, -1) != ffi::LUA_TNIL;
            ffi::lua_pop(self.state, 1);
            there
        })
    }

    unsafe fn list(&self, at: c_int, len: usize, depth: u32, out: &mut Vec<u8>) -> Result<(), String> {
        codec::write_array_header(out, len);
        for item in 1..=len {
            unsafe {
                ffi::lua_rawgeti_(self.state, at, item as c_int);
                self.value(ffi::lua_gettop(self.state), depth + 1, out)?;
                ffi::lua_pop(self.state, 1);
            }
        }
        Ok(())
    }

    unsafe fn map(&self, at: c_int, depth: u32, out: &mut Vec<u8>) -> Result<(), String> {
        let (base, mut pairs) = (out.len(), Vec::new());
        unsafe {
            ffi::lua_pushnil(self.state);
            while ffi::lua_next(self.state, at) != 0 {
                let (start, value) = (out.len(), ffi::lua_gettop(self.state));
                if ffi::lua_type(self.state, value - 1) == ffi::LUA_TCDATA {
                    return Err("a C value or an integer beyond 2^53 cannot be the key of a map".to_owned());
                }
                self.value(value - 1, depth + 1, out)?;
                let middle = out.len();
                self.value(value, depth + 1, out)?;
                pairs.push(Pair { start, middle, end: out.len() });
                ffi::lua_pop(self.state, 1);
            }
        }
        write_sorted(out, base, &mut pairs);
        Ok(())
    }

    unsafe fn value(&self, at: c_int, depth: u32, out: &mut Vec<u8>) -> Result<(), String> {
        let state = self.state;
        unsafe {
            match ffi::lua_type(state, at) {
                ffi::LUA_TSTRING => codec::write_val(out, Val::Str(bytes(state, at))),
                ffi::LUA_TNUMBER => codec::write_val(out, cells::number(ffi::lua_tonumber(state, at))),
                ffi::LUA_TBOOLEAN => codec::write_val(out, Val::Bool(ffi::lua_toboolean(state, at) != 0)),
                ffi::LUA_TTABLE => return self.table(at, depth, out),
                ffi::LUA_TCDATA => codec::write_val(out, Val::Int(self.exact(at)?)),
                other => {
                    let kind = CStr::from_ptr(ffi::lua_typename(state, other)).to_string_lossy();
                    return Err(format!("a {kind} cannot be a field"));
                }
            }
        }
        Ok(())
    }

    /// A C value that is an integer.
    unsafe fn exact(&self, at: c_int) -> Result<i64, String> {
        let state = self.state;
        unsafe {
            push_kept(state, self.kept.exact);
            ffi::lua_pushvalue(state, at);
            let failed = ffi::lua_pcall(state, 1, 1, 0) != 0;
            let result = match ffi::lua_type(state, -1) {
                ffi::LUA_TCDATA if !failed => Ok(ffi::lua_topointer(state, -1).cast::<i64>().read_unaligned()),
                ffi::LUA_TSTRING => Err(String::from_utf8_lossy(bytes(state, -1)).into_owned()),
                _ => Err("a C value cannot be a field".to_owned()),
            };
            ffi::lua_pop(state, 1);
            result
        }
    }
}

/// Where a key begins, where its value, and what ends it.
struct Pair {
    start: usize,
    middle: usize,
    end: usize,
}

/// Makes a map of the pairs written from `base` on: its header, and the pairs in the order of their keys.
fn write_sorted(out: &mut Vec<u8>, base: usize, pairs: &mut [Pair]) {
    let key = |pair: &Pair| &out[pair.start..pair.middle];
    pairs.sort_by(|a, b| codec::compare_encoded(key(a), key(b)));
    let mut sorted = Vec::with_capacity(out.len() - base + 5);
    codec::write_map_header(&mut sorted, pairs.len());
    for pair in pairs {
        sorted.extend_from_slice(&out[pair.start..pair.end]);
    }
    out.truncate(base);
    out.extend_from_slice(&sorted);
}

/// Whether an encoded table is what Lua gives back for another one in which nothing was changed.
fn same(found: &[u8], origin: &[u8]) -> bool {
    let returned = |encoded: &[u8]| {
        let mut bytes = Vec::with_capacity(encoded.len());
        returned::write(codec::table(encoded), &mut bytes);
        bytes
    };
    returned(found) == returned(origin)
}
