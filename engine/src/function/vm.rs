//! A step's own Lua: a fresh VM per task and copy of a step, so that nothing that user code does reaches another one.
//! All `mlua` types stay in this file and in `cross`.
#![allow(unsafe_code, reason = "functions get the whole of LuaJIT, ffi and debug included, which mlua calls unsafe")]

use std::rc::Rc;
use std::sync::OnceLock;

use mlua::chunk::ChunkMode;
use mlua::ffi::lua_State;
use mlua::{Function, Lua, LuaOptions, LuaString, StdLib, Table};

use super::cross::{self, Results};
use super::error::Place;
use super::port::Port;
use super::{FunctionError, Side};
use crate::{Result, RowScratch, TaskContext};

/// Lua's half of the crossing.
const DRIVER: &str = include_str!("driver.lua");
/// What the user's text is called inside Lua; the driver knows the name.
const CHUNK: &str = "=gleamflow";
/// How messages name a line of it.
const CHUNK_LINE: &str = "gleamflow:";
/// How messages name a place in the driver: a function that the user's one calls last (`return f(x)`) takes its place there.
const DRIVER_LINE: &str = "driver:";
/// How messages then name that function.
const CALLED_LAST: &str = "to 'user' ";
/// What the texts' checks of table keys are called: no name that a user would choose.
const KEY_CHECK: &str = "__gleamflow_key";
/// A VM may always hold this much: less would not even carry the library and a batch.
const LEAST_MEMORY: usize = 64 << 20;

/// What becomes of a function's results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Map,
    FlatMap,
    Filter,
    /// Only what it emits counts.
    Emit,
}

/// A function to be loaded, and its surroundings.
pub(super) struct Program<'p> {
    pub(super) step: &'p str,
    pub(super) function: &'p plan::Function,
    pub(super) kind: Kind,
    /// Names of outputs for `emit.name`; empty for a plain `emit`.
    pub(super) outputs: &'p [String],
    /// Whether `emit` exists.
    pub(super) emits: bool,
    /// Whether the rows of one source row must be passed on together or not at all.
    pub(super) whole_rows: bool,
    pub(super) params: usize,
    pub(super) vararg: bool,
    /// Parameters that are only moved.
    pub(super) moved: Vec<bool>,
    pub(super) sides: &'p [Side],
}

/// A loaded function.
#[derive(Debug)]
pub(super) struct Vm {
    run: Function,
    state: *mut lua_State,
    place: String,
    prelude_lines: u32,
    /// The chunk's line of a function that has only one.
    only_line: Option<u32>,
    /// Behind what refers to it.
    _lua: Lua,
    /// Last: what is collected when the VM goes may still call it.
    port: Rc<Port>,
}

impl Vm {
    /// Makes a VM, sets the side inputs, runs the prelude and compiles the function.
    pub(super) fn load(program: &Program<'_>, ctx: &TaskContext, port: &Rc<Port>) -> Result<Vm, LoadError> {
        // SAFETY: user code may do with ffi what it likes, at its own risk; nothing on our side relies on more than the driver.
        let lua = unsafe { Lua::unsafe_new_with(StdLib::ALL, LuaOptions::default()) };
        let driver = open_driver(&lua, port, program.step).map_err(setup)?;
        lua.set_memory_limit(memory_of(ctx)).map_err(setup)?;
        seed(&lua, program.step, ctx).map_err(setup)?;
        if program.emits {
            let names = (!program.outputs.is_empty()).then(|| program.outputs.to_vec());
            call_driver::<()>(&driver, "set_emit", names).map_err(setup)?;
        }
        set_sides(&driver, program.sides, ctx, port)?;
        let (text, prelude_lines) = chunk(&ctx.run.prelude, &program.function.source);
        let vm = Vm {
            run: driver.get("run").map_err(setup)?,
            state: main_state(&lua).map_err(setup)?,
            place: program.function.place.clone(),
            prelude_lines,
            only_line: (lua::lines(&program.function.source) == 1).then_some(prelude_lines + 1),
            _lua: lua.clone(),
            port: Rc::clone(port),
        };
        let chunk = lua.load(text).set_name(CHUNK).set_mode(ChunkMode::Text).into_function();
        let chunk = chunk.map_err(|error| vm.compile_error(&error))?;
        let kind = match program.kind {
            Kind::Map => "map",
            Kind::FlatMap => "flatMap",
            Kind::Filter => "filter",
            Kind::Emit => "emit",
        };
        let arguments = (chunk, kind, program.params, program.vararg, program.moved.clone(), program.whole_rows);
        match call_driver::<(Option<LuaString>, Option<u32>)>(&driver, "load", arguments).map_err(setup)? {
            (None, _) => {}
            (Some(message), line) => return Err(vm.prelude_error(&message.to_string_lossy(), line).into()),
        }
        Ok(vm)
    }

    /// Runs the rows of the port's input from `first` to before `last`, or to the first that fails.
    pub(super) fn run(&self, first: usize, last: usize) -> Ran {
        match self.run.call::<(Option<LuaString>, Option<u32>, usize, usize)>((first, last)) {
            Ok((None, _, done, row)) => Ran { error: None, done, row },
            Ok((Some(message), line, done, row)) => {
                let (place, message) = self.locate(&message.to_string_lossy(), line);
                Ran { error: Some(FunctionError::Raised { place, message }), done, row }
            }
            Err(error) => {
                let (place, message) = self.locate(&plain_message(&error), None);
                Ran { error: Some(FunctionError::Raised { place, message }), done: 0, row: first }
            }
        }
    }

    /// What the last run gave.
    pub(super) fn results(&self) -> Results {
        // SAFETY: the state is the VM's own, in which nothing runs between two runs, and has room for what is read.
        unsafe { Results::open(self.state, &self.port) }
    }

    /// Where the function stands, for messages about its results.
    pub(super) fn place(&self) -> Place {
        Place { file: self.place.clone(), prelude: false, line: None }
    }

    fn compile_error(&self, error: &mlua::Error) -> FunctionError {
        let (place, message) = self.locate(&plain_message(error), None);
        FunctionError::Compile { place, message }
    }

    fn prelude_error(&self, message: &str, line: Option<u32>) -> FunctionError {
        let (place, message) = self.locate(message, line);
        FunctionError::Prelude { place: Place { prelude: true, ..place }, message }
    }

    /// Takes the place off a message's front, and turns lines of the chunk inside it into lines that the user knows.
    fn locate(&self, message: &str, line: Option<u32>) -> (Place, String) {
        let (mut at, mut rest) = (line, message);
        if let Some((found, behind)) = message.strip_prefix(CHUNK_LINE).and_then(split_line) {
            (at, rest) = (Some(found), behind.strip_prefix(' ').unwrap_or(behind));
        }
        let unnamed;
        if let Some((_, behind)) = message.strip_prefix(DRIVER_LINE).and_then(split_line) {
            unnamed = behind.trim_start().replacen(CALLED_LAST, "to the function whose result it returns ", 1);
            (at, rest) = (at.or(self.only_line), unnamed.as_str());
        }
        let mut text = String::with_capacity(rest.len());
        while let Some(found) = rest.find(CHUNK_LINE) {
            text.push_str(&rest[..found]);
            rest = &rest[found + CHUNK_LINE.len()..];
            match split_line(rest) {
                Some((line, behind)) => {
                    let (prelude, line) = self.line(line);
                    text.push_str(&format!("{}:{line}:", if prelude { "spec.lua" } else { "function" }));
                    rest = behind;
                }
                None => text.push_str(CHUNK_LINE),
            }
        }
        text.push_str(rest);
        if text.ends_with(TOO_MANY) {
            text.push_str(
                ": Lua hands over about 7,900 values at a time; of wider rows, `select` the fields that are needed first",
            );
        }
        let (prelude, line) = at.map_or((false, None), |at| (self.line(at).0, Some(self.line(at).1)));
        (Place { file: self.place.clone(), prelude, line }, text)
    }

    /// Whether a line of the chunk is the prelude's, and its number there or in the function.
    fn line(&self, line: u32) -> (bool, u32) {
        if line <= self.prelude_lines { (true, line) } else { (false, line - self.prelude_lines) }
    }
}

/// How a run ended.
pub(super) struct Ran {
    pub(super) error: Option<FunctionError>,
    /// How many results are of rows that the function was through with.
    pub(super) done: usize,
    /// The row that it was at.
    pub(super) row: usize,
}

/// Why a function could not be loaded: its own fault, or that of reading a side input.
pub(super) enum LoadError {
    Function(FunctionError),
    Engine(crate::Error),
}

impl From<FunctionError> for LoadError {
    fn from(error: FunctionError) -> LoadError {
        LoadError::Function(error)
    }
}

fn setup(error: mlua::Error) -> FunctionError {
    FunctionError::Setup(plain_message(&error))
}

/// An error's own words, without the traceback.
fn plain_message(error: &mlua::Error) -> String {
    match error {
        mlua::Error::SyntaxError { message, .. } | mlua::Error::RuntimeError(message) | mlua::Error::MemoryError(message) => {
            message.split("\nstack traceback:").next().unwrap_or_default().to_owned()
        }
        other => other.to_string(),
    }
}

/// `12: message` to 12 and what follows the colon.
fn split_line(text: &str) -> Option<(u32, &str)> {
    let (number, rest) = text.split_once(':')?;
    Some((number.parse().ok()?, rest))
}

/// The text that Lua compiles, and how many of its lines are not the function's.
fn chunk(prelude: &str, source: &str) -> (String, u32) {
    let (prelude, source) = lua::check_keys(prelude, source, KEY_CHECK);
    let head = format!("local {KEY_CHECK} = ... {prelude}\nreturn (");
    let lines = lua::lines(&head) - 1;
    (format!("{head}{source}\n)"), lines)
}

fn open_driver(lua: &Lua, port: &Rc<Port>, step: &str) -> mlua::Result<Table> {
    let step = step.to_owned();
    let log = lua.create_function(move |_, text: LuaString| {
        crate::print::write(&step, &text.as_bytes());
        Ok(())
    })?;
    // SAFETY: the functions are called by the driver, whose VM goes before the port (`Vm` holds both).
    let (fill, capture, unchanged, flush) =
        unsafe { lua.exec_raw::<(Function, Function, Function, Function)>((), |state| cross::push_functions(state, port)) }?;
    let code = driver_code(lua)?;
    let chunk = lua.load(code).set_name("=driver").set_mode(ChunkMode::Binary);
    let driver: Table = chunk.call((fill, capture, unchanged, flush, log))?;
    // SAFETY: only the driver is on the stack; what is taken from it stays in the registry as long as the VM.
    unsafe { lua.exec_raw::<()>(&driver, |state| port.kept.set(cross::keep(state))) }?;
    Ok(driver)
}

/// The state outside of all coroutines.
fn main_state(lua: &Lua) -> mlua::Result<*mut lua_State> {
    let mut main = std::ptr::null_mut();
    // SAFETY: it lives as long as the VM, and is used only while nothing runs in it.
    unsafe { lua.exec_raw::<()>((), |state| main = state) }?;
    Ok(main)
}

/// The driver, compiled once per process: parsing it is a good part of making a VM.
fn driver_code(lua: &Lua) -> mlua::Result<&'static [u8]> {
    static CODE: OnceLock<Vec<u8>> = OnceLock::new();
    if let Some(code) = CODE.get() {
        return Ok(code);
    }
    let code = lua.load(DRIVER).set_name("=driver").into_function()?.dump(false);
    Ok(CODE.get_or_init(|| code))
}

fn call_driver<R: mlua::FromLuaMulti>(driver: &Table, name: &str, arguments: impl mlua::IntoLuaMulti) -> mlua::Result<R> {
    driver.get::<Function>(name)?.call(arguments)
}

/// Seeds `math.random` by run, step and partition.
fn seed(lua: &Lua, step: &str, ctx: &TaskContext) -> mlua::Result<()> {
    let mut hash = ctx.run.seed;
    let words = step.bytes().map(u64::from).chain([step.len() as u64, ctx.partition as u64]);
    for word in words {
        hash = mix(hash ^ word);
    }
    let math: Table = lua.globals().get("math")?;
    math.get::<Function>("randomseed")?.call((hash >> 11) as f64)
}

/// One step of splitmix64.
fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}

fn set_sides(driver: &Table, sides: &[Side], ctx: &TaskContext, port: &Port) -> Result<(), LoadError> {
    for side in sides {
        set_side(driver, side, ctx, port)?;
    }
    Ok(())
}

/// What Lua says where more values are passed on than it can.
const TOO_MANY: &str = "too many results to unpack";

/// What Lua says where its memory is used up.
const NO_MEMORY: &str = "not enough memory";

/// The bytes that a function may hold.
fn memory_of(ctx: &TaskContext) -> usize {
    ctx.run.memory.limit().max(LEAST_MEMORY)
}

fn too_large(rows: &crate::BatchLog, limit: usize) -> String {
    let mib = |bytes: usize| bytes.div_ceil(1 << 20);
    format!(
        "does not fit into memory: as Lua tables, its {} rows ({} MiB) take more than the {} MiB that one function may hold; give it fewer \
         rows or fields, join with it instead, or raise the limit (`--memory`; on a cluster, the executors' memory)",
        rows.rows(),
        mib(rows.bytes()),
        mib(limit)
    )
}

fn set_side(driver: &Table, side: &Side, ctx: &TaskContext, port: &Port) -> Result<(), LoadError> {
    let shape = match side.shape {
        plan::SideShape::Value => "value",
        plan::SideShape::List => "list",
        plan::SideShape::Map => "map",
    };
    let check = |message: Option<LuaString>| match message.map(|message| message.to_string_lossy()) {
        Some(message) if message == NO_MEMORY => {
            let message = too_large(&side.rows, memory_of(ctx));
            Err(FunctionError::Side { name: side.name.clone(), message })
        }
        Some(message) => Err(FunctionError::Side { name: side.name.clone(), message }),
        None => Ok(()),
    };
    call_driver::<()>(driver, "side_begin", ()).map_err(setup)?;
    let (mut reader, mut scratch) = (side.rows.reader(), RowScratch::default());
    while let Some(batch) = reader.next_batch().map_err(LoadError::Engine)? {
        let mut input = port.input.borrow_mut();
        input.clear();
        let push =
            |row: &[crate::Val<'_>]| input.push(row, &ctx.origin).map_err(|error| crate::Error::in_step(&side.name, error));
        batch.for_each(&mut scratch, push).map_err(LoadError::Engine)?;
        drop(input);
        check(call_driver(driver, "side_rows", shape).map_err(setup)?)?;
    }
    port.input.borrow_mut().clear();
    check(call_driver(driver, "side_end", (shape, side.name.as_str())).map_err(setup)?)?;
    Ok(())
}
