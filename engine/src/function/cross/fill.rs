//! The values of a batch on their way into Lua.
#![allow(unsafe_code, reason = "Lua's own interface is the only way past a call per value")]

use std::ffi::c_int;

use mlua::ffi::{self, lua_State};

use super::{port, push_kept};
use crate::function::cells::{self, Layout, MAX_EXACT, Use};
use crate::function::port::Port;
use crate::{Val, codec};

/// Why a row cannot be handed over.
type Unfit = &'static str;

const DAMAGED: Unfit = "a list or map is damaged";

/// `fill(values, first, starts)`: puts the fields of the rows from `first` on into a table, by parameter, or one behind the other
/// with their starts where the function sees whole rows. Returns the table (`values`, if it has room), the row before which it
/// stopped, and why, if that is not the end.
pub(super) unsafe extern "C-unwind" fn fill(state: *mut lua_State) -> c_int {
    // SAFETY: Lua calls this with its upvalue and with room for 20 values. It may raise for want of memory, with nothing to drop:
    // the input is borrowed without a guard, and nobody changes it while Lua runs.
    unsafe {
        let port = port(state);
        let input = &*port.input.as_ptr();
        let first = ffi::lua_tonumber(state, 2) as usize;
        ffi::lua_settop(state, 3);
        let needed = match &input.layout {
            Layout::Params(uses) => input.rows() * uses.len(),
            Layout::Whole => (first..input.rows()).map(|row| input.fields(row).len()).sum(),
        };
        if needed > port.room.get() || (needed > 0 && ffi::lua_type(state, 1) != ffi::LUA_TTABLE) {
            let room = needed.max(64).next_power_of_two();
            ffi::lua_createtable(state, room as c_int, 0);
            ffi::lua_replace(state, 1);
            port.room.set(room);
        }
        let fill = Fill { state, port };
        let outcome = match &input.layout {
            Layout::Params(uses) => fill.params(first, uses),
            Layout::Whole => fill.whole(first),
        };
        ffi::lua_settop(state, 1);
        let (until, unfit) = match outcome {
            Ok(()) => (input.rows(), None),
            Err((row, unfit)) => (row, Some(unfit)),
        };
        ffi::lua_pushnumber(state, until as f64);
        match unfit {
            Some(unfit) => ffi::lua_pushlstring_(state, unfit.as_ptr().cast(), unfit.len()),
            None => ffi::lua_pushnil(state),
        }
    }
    3
}

/// The table is the first on the stack.
struct Fill<'p> {
    state: *mut lua_State,
    port: &'p Port,
}

// SAFETY (all blocks below): `fill` calls these with its own state; every function leaves as many values as it says.
impl Fill<'_> {
    unsafe fn params(&self, first: usize, uses: &[Use]) -> Result<(), (usize, Unfit)> {
        let input = unsafe { &*self.port.input.as_ptr() };
        for row in first..input.rows() {
            let fields = input.fields(row);
            for (at, usage) in uses.iter().enumerate() {
                if matches!(usage, Use::Unread | Use::Moved) {
                    continue;
                }
                let value = if at < fields.len() { input.value(fields.start + at) } else { Val::Nil };
                match value {
                    Val::List(_) | Val::Map(_) if *usage == Use::Passed => unsafe { self.stand_in(at) },
                    value => unsafe { self.value(value) }.map_err(|unfit| (row, unfit)).map(drop)?,
                }
                unsafe { ffi::lua_rawseti_(self.state, 1, (row * uses.len() + at + 1) as c_int) };
            }
        }
        Ok(())
    }

    unsafe fn whole(&self, first: usize) -> Result<(), (usize, Unfit)> {
        let input = unsafe { &*self.port.input.as_ptr() };
        let mut slot = 0;
        for row in first..input.rows() {
            unsafe { self.start(row, slot) };
            for field in input.fields(row) {
                unsafe {
                    self.value(input.value(field)).map_err(|unfit| (row, unfit))?;
                    ffi::lua_rawseti_(self.state, 1, slot + 1);
                }
                slot += 1;
            }
        }
        unsafe { self.start(input.rows(), slot) };
        Ok(())
    }

    unsafe fn start(&self, row: usize, slot: c_int) {
        unsafe {
            ffi::lua_pushnumber(self.state, f64::from(slot));
            ffi::lua_rawseti_(self.state, 3, row as c_int + 1);
        }
    }

    /// Pushes the table that stands in for a parameter.
    unsafe fn stand_in(&self, param: usize) {
        unsafe {
            push_kept(self.state, self.port.kept.get().stand_ins);
            ffi::lua_rawgeti_(self.state, -1, param as c_int + 1);
            ffi::lua_remove(self.state, -2);
        }
    }

    /// Pushes a value; whether it would not come back as it is.
    unsafe fn value(&self, value: Val<'_>) -> Result<bool, Unfit> {
        unsafe {
            match value {
                Val::Nil => ffi::lua_pushnil(self.state),
                Val::Bool(flag) => ffi::lua_pushboolean(self.state, c_int::from(flag)),
                Val::Int(i) if i.unsigned_abs() <= MAX_EXACT as u64 => ffi::lua_pushnumber(self.state, i as f64),
                Val::Int(i) => self.boxed(i),
                // One bit pattern for NaN: another one could look like something else inside LuaJIT.
                Val::Float(f) => ffi::lua_pushnumber(self.state, if f.is_nan() { f64::NAN } else { f }),
                Val::Str(text) => ffi::lua_pushlstring_(self.state, text.as_ptr().cast(), text.len()),
                Val::List(mut encoded) => return self.list(&mut encoded),
                Val::Map(encoded) => return self.map(encoded),
            }
        }
        Ok(false)
    }

    /// Pushes an integer that is no exact number.
    unsafe fn boxed(&self, i: i64) {
        unsafe {
            push_kept(self.state, self.port.kept.get().boxed);
            ffi::lua_pushnumber(self.state, (i >> 32) as f64);
            ffi::lua_pushnumber(self.state, f64::from(i as u32));
            ffi::lua_call(self.state, 2, 1);
        }
    }

    /// Pushes a list; `rest` moves behind it. Its depth was checked when it was read as a value.
    unsafe fn list(&self, rest: &mut &[u8]) -> Result<bool, Unfit> {
        let encoded = *rest;
        let len = codec::read_array_header(rest).map_err(|_| DAMAGED)?;
        unsafe { self.table(len, 0) }?;
        let (mut odd, mut holes) = (false, false);
        for at in 1..=len {
            // A list in a list is gone through once, not a first time to find its end.
            if let Some(0x90..=0x9f | 0xdc | 0xdd) = rest.first() {
                odd |= unsafe { self.list(rest) }?;
            } else {
                let item = codec::read_val(rest).map_err(|_| DAMAGED)?;
                holes |= item == Val::Nil;
                odd |= cells::is_odd(item) | unsafe { self.value(item) }?;
            }
            unsafe { ffi::lua_rawseti_(self.state, -2, at as c_int) };
        }
        if odd {
            unsafe { self.note(&encoded[..encoded.len() - rest.len()], holes.then_some(len)) };
        }
        Ok(odd)
    }

    unsafe fn map(&self, encoded: &[u8]) -> Result<bool, Unfit> {
        let mut rest = encoded;
        let len = codec::read_map_header(&mut rest).map_err(|_| DAMAGED)?;
        unsafe { self.table(0, len) }?;
        // A map with the keys 1 to n, n being 0 or more, comes back as a list.
        let (mut odd, mut like_list) = (false, true);
        for at in 0..len {
            let key = codec::read_val(&mut rest).map_err(|_| DAMAGED)?;
            let value = codec::read_val(&mut rest).map_err(|_| DAMAGED)?;
            check_key(key)?;
            like_list &= key == Val::Int(at as i64 + 1);
            odd |= cells::is_odd(key) | cells::is_odd(value);
            unsafe {
                odd |= self.value(key)?;
                odd |= self.value(value)?;
                ffi::lua_rawset(self.state, -3);
            }
        }
        if odd || like_list {
            unsafe { self.note(encoded, None) };
        }
        Ok(odd || like_list)
    }

    /// Pushes a table for so many items and pairs.
    unsafe fn table(&self, items: usize, pairs: usize) -> Result<(), Unfit> {
        unsafe {
            if ffi::lua_checkstack(self.state, 8) == 0 {
                return Err("not enough memory");
            }
            ffi::lua_createtable(self.state, items as c_int, pairs as c_int);
        }
        Ok(())
    }

    /// Remembers what the table on top, which would not come back as it is, came from.
    unsafe fn note(&self, encoded: &[u8], holes: Option<usize>) {
        let (state, kept) = (self.state, self.port.kept.get());
        self.port.has_origins.set(true);
        unsafe {
            push_kept(state, kept.origins);
            ffi::lua_pushvalue(state, -2);
            ffi::lua_pushlstring_(state, encoded.as_ptr().cast(), encoded.len());
            ffi::lua_rawset(state, -3);
            ffi::lua_pop(state, 1);
            let is_map = matches!(codec::table(encoded), Val::Map(_));
            if is_map || holes.is_some() {
                push_kept(state, kept.lengths);
                ffi::lua_pushvalue(state, -2);
                match holes {
                    Some(len) => ffi::lua_pushnumber(state, len as f64),
                    None => ffi::lua_pushboolean(state, 0),
                }
                ffi::lua_rawset(state, -3);
                ffi::lua_pop(state, 1);
            }
        }
    }
}

/// Whether a table can be searched for a key.
fn check_key(key: Val<'_>) -> Result<(), Unfit> {
    match key {
        Val::Nil => Err("table index is nil"),
        Val::Float(f) if f.is_nan() => Err("table index is NaN"),
        Val::Int(i) if i.unsigned_abs() > MAX_EXACT as u64 => Err("an integer beyond 2^53 cannot be the key of a table"),
        _ => Ok(()),
    }
}
