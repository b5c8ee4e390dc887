//! Lua functions, one plain call per row. The conversions are those of `semantics.md`.
#![allow(unsafe_code, reason = "flows may use LuaJIT's ffi, which only the unsafe constructor loads")]

use std::cell::RefCell;
use std::rc::Rc;

use mlua::{Function, Lua, MultiValue, Table, Value as LuaValue, Variadic, WeakLua};
use plan::{SideInput, SideShape};

use crate::{Row, Value};

/// Numbers beyond this are no integers for Lua.
const EXACT: i64 = 1 << 53;

/// Calls `f` and walks what it returned as Lua's `for` would.
const WALK: &str = r#"
local f, emit = ...
return function(...)
  local step, state, control = f(...)
  if step == nil then return end
  if type(step) == "table" then
    for at = 1, #step do emit(true, step[at]) end
    return
  end
  local function take(first, ...)
    control = first
    if first ~= nil then emit(true, first, ...) end
  end
  repeat take(step(state, control)) until control == nil
end
"#;

/// Makes an `int64_t` of digits, and digits of an `int64_t`.
const WIDE: &str = r#"
local ffi, load, text = require("ffi"), loadstring, tostring
return function(digits) return load("return " .. digits .. "LL")() end,
  function(value) if ffi.istype("int64_t", value) then return (text(value):gsub("LL$", "")) end end
"#;

/// Rows that a function emitted, each with the number of its output.
type Emitted = Rc<RefCell<Vec<(usize, Row)>>>;

/// One function in an environment of its own.
pub(super) struct Machine {
    _lua: Lua,
    converter: Rc<Converter>,
    function: Function,
    walk: Function,
    emitted: Emitted,
}

struct Converter {
    /// Not held: functions inside of it hold this.
    lua: WeakLua,
    widen: Function,
    digits: Function,
}

impl Machine {
    /// Compiles a function behind the prelude. `outputs` are those of a parallelDo; without, `emit` is a function.
    pub(super) fn new(
        prelude: &str,
        source: &str,
        outputs: &[String],
        sides: &[(&SideInput, &[Row])],
    ) -> Result<Machine, String> {
        Machine::build(prelude, source, outputs, sides).map_err(|error| error.to_string())
    }

    fn build(prelude: &str, source: &str, outputs: &[String], sides: &[(&SideInput, &[Row])]) -> mlua::Result<Machine> {
        // SAFETY: the flows of tests are ours; none of them loads C modules or writes through ffi pointers.
        let lua = unsafe { Lua::unsafe_new() };
        let (widen, digits) = lua.load(WIDE).eval()?;
        let converter = Rc::new(Converter { lua: lua.weak(), widen, digits });
        let emitted = Emitted::default();
        lua.globals().set("emit", emitters(&converter, &emitted, outputs)?)?;
        for (side, rows) in sides {
            lua.globals().set(side.name.as_str(), converter.side(side, rows)?)?;
        }
        let function: Function = lua.load(format!("{prelude}\nreturn {source}")).eval()?;
        let walked = emitter(&converter, &emitted, 0)?;
        let walk = lua.load(WALK).into_function()?.call((function.clone(), walked))?;
        Ok(Machine { _lua: lua, converter, function, walk, emitted })
    }

    /// What the function returns for these arguments.
    pub(super) fn call(&self, arguments: &[Value]) -> Result<Row, String> {
        let called = || self.converter.row(self.function.call(self.converter.arguments(arguments)?)?);
        called().map_err(|error: mlua::Error| error.to_string())
    }

    /// A `map`: nothing returned is no row.
    pub(super) fn map(&self, row: &[Value]) -> Result<Vec<(usize, Row)>, String> {
        let returned = self.call(row)?;
        Ok(if returned.is_empty() { Vec::new() } else { vec![(0, returned)] })
    }

    /// A `filter`: the row itself where the result is truthy.
    pub(super) fn filter(&self, row: &[Value]) -> Result<Vec<(usize, Row)>, String> {
        let called = || self.function.call::<LuaValue>(self.converter.arguments(row)?);
        let answer = called().map_err(|error| error.to_string())?;
        let keeps = !matches!(answer, LuaValue::Nil | LuaValue::Boolean(false));
        Ok(if keeps { vec![(0, row.to_vec())] } else { Vec::new() })
    }

    /// A `flatMap`: one row per item.
    pub(super) fn flat_map(&self, row: &[Value]) -> Result<Vec<(usize, Row)>, String> {
        self.collect(&self.walk, row)
    }

    /// A `forEach`, `parallelDo` or `operate`: what it emitted.
    pub(super) fn emitted(&self, row: &[Value]) -> Result<Vec<(usize, Row)>, String> {
        self.collect(&self.function, row)
    }

    fn collect(&self, function: &Function, row: &[Value]) -> Result<Vec<(usize, Row)>, String> {
        self.emitted.borrow_mut().clear();
        let called = || function.call::<MultiValue>(self.converter.arguments(row)?);
        called().map_err(|error| error.to_string())?;
        Ok(self.emitted.take())
    }
}

/// The `emit` of an environment: a function, or a table of functions.
fn emitters(converter: &Rc<Converter>, emitted: &Emitted, outputs: &[String]) -> mlua::Result<LuaValue> {
    if outputs.is_empty() {
        return emitter_of_values(converter, emitted, 0).map(LuaValue::Function);
    }
    let table = converter.lua.upgrade().create_table()?;
    for (at, output) in outputs.iter().enumerate() {
        table.set(output.as_str(), emitter_of_values(converter, emitted, at)?)?;
    }
    Ok(LuaValue::Table(table))
}

fn emitter_of_values(converter: &Rc<Converter>, emitted: &Emitted, output: usize) -> mlua::Result<Function> {
    let inner = emitter(converter, emitted, output)?;
    converter.lua.upgrade().create_function(move |_, values: Variadic<LuaValue>| {
        let with_flag = std::iter::once(LuaValue::Boolean(false)).chain(values);
        inner.call::<()>(with_flag.collect::<MultiValue>())
    })
}

/// A function that takes a flag (whether a lone list is spread over fields) and a row's values.
fn emitter(converter: &Rc<Converter>, emitted: &Emitted, output: usize) -> mlua::Result<Function> {
    let (kept, emitted) = (Rc::clone(converter), Rc::clone(emitted));
    converter.lua.upgrade().create_function(move |_, (spread, values): (bool, MultiValue)| {
        let row = kept.row(values)?;
        let row = match (spread, row.as_slice()) {
            (true, [Value::List(fields)]) => fields.clone(),
            _ => row,
        };
        emitted.borrow_mut().push((output, row));
        Ok(())
    })
}

impl Converter {
    fn arguments(&self, row: &[Value]) -> mlua::Result<MultiValue> {
        row.iter().map(|value| self.to_lua(value)).collect()
    }

    fn row(&self, values: MultiValue) -> mlua::Result<Row> {
        values.into_iter().map(|value| self.to_value(value)).collect()
    }

    #[allow(clippy::cast_precision_loss, reason = "within ±2^53")]
    fn to_lua(&self, value: &Value) -> mlua::Result<LuaValue> {
        Ok(match value {
            Value::Nil => LuaValue::Nil,
            Value::Bool(b) => LuaValue::Boolean(*b),
            Value::Int(i) if (-EXACT..=EXACT).contains(i) => LuaValue::Number(*i as f64),
            Value::Int(i) => self.widen.call(i.to_string())?,
            Value::Float(f) => LuaValue::Number(*f),
            Value::Str(bytes) => LuaValue::String(self.lua.upgrade().create_string(bytes)?),
            Value::List(items) => {
                let table = self.lua.upgrade().create_table()?;
                for (at, item) in items.iter().enumerate() {
                    table.raw_set(at + 1, self.to_lua(item)?)?;
                }
                LuaValue::Table(table)
            }
            Value::Map(pairs) => {
                let table = self.lua.upgrade().create_table()?;
                for (key, value) in pairs {
                    table.raw_set(self.to_lua(key)?, self.to_lua(value)?)?;
                }
                LuaValue::Table(table)
            }
        })
    }

    #[allow(clippy::cast_precision_loss, reason = "mlua read it from a float")]
    fn to_value(&self, value: LuaValue) -> mlua::Result<Value> {
        Ok(match value {
            LuaValue::Nil => Value::Nil,
            LuaValue::Boolean(b) => Value::Bool(b),
            LuaValue::Integer(i) => whole_or_float(i as f64),
            LuaValue::Number(f) => whole_or_float(f),
            LuaValue::String(text) => Value::Str(text.as_bytes().to_vec()),
            LuaValue::Table(table) => self.table(&table)?,
            LuaValue::Other(_) => self.wide(value)?,
            other => return Err(mlua::Error::runtime(format!("a {} is no field", other.type_name()))),
        })
    }

    /// An `int64_t`.
    fn wide(&self, value: LuaValue) -> mlua::Result<Value> {
        let digits: Option<String> = self.digits.call(value)?;
        let parsed = digits.and_then(|digits| digits.parse().ok()).map(Value::Int);
        parsed.ok_or_else(|| mlua::Error::runtime("a cdata that is no int64_t is no field"))
    }

    /// Keys 1..n are a list, all else is a map.
    fn table(&self, table: &Table) -> mlua::Result<Value> {
        let length = table.raw_len();
        let pairs: Vec<(LuaValue, LuaValue)> = table.pairs().collect::<mlua::Result<_>>()?;
        if pairs.len() == length {
            let items = (1..=length).map(|at| self.to_value(table.raw_get(at)?));
            return Ok(Value::List(items.collect::<mlua::Result<_>>()?));
        }
        let pairs = pairs.into_iter().map(|(key, value)| Ok((self.to_value(key)?, self.to_value(value)?)));
        Ok(Value::map(pairs.collect::<mlua::Result<_>>()?))
    }

    /// A side input as its shape says.
    fn side(&self, side: &SideInput, rows: &[Row]) -> mlua::Result<LuaValue> {
        match side.shape {
            SideShape::Value => match rows {
                [row] => self.to_lua(&Value::item(row)),
                _ => Err(mlua::Error::runtime(format!("side input {:?} has {} rows instead of one", side.name, rows.len()))),
            },
            SideShape::List => self.to_lua(&Value::List(rows.iter().map(|row| Value::item(row)).collect())),
            SideShape::Map => {
                let table = self.lua.upgrade().create_table()?;
                for row in rows {
                    let (key, rest) = row.split_first().ok_or_else(|| mlua::Error::runtime("a row without a key"))?;
                    let key = self.to_lua(key)?;
                    if table.contains_key(key.clone())? {
                        return Err(mlua::Error::runtime(format!("side input {:?} has a key twice: {row:?}", side.name)));
                    }
                    table.raw_set(key, self.to_lua(&Value::item(rest))?)?;
                }
                Ok(LuaValue::Table(table))
            }
        }
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "within ±2^53")]
fn whole_or_float(number: f64) -> Value {
    if number.fract() == 0.0 && number.abs() <= EXACT as f64 { Value::Int(number as i64) } else { Value::Float(number) }
}
