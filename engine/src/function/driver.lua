-- Between rows and Lua: calls the step's function with the values of a batch, and keeps what it gives until the batch is done.
-- Runs in the step's own VM, before any user code, and keeps everything that it needs of the library in locals.
-- Plain values only cross here, in tables that the other end fills and reads (`cross.rs`): a function that cannot be compiled
-- makes these loops run interpreted, where every access to a C value would allocate one.

local fill, capture, unchanged, flush, log = ...

local ffi, new_table = require("ffi"), require("table.new")
local type, select, error, xpcall, next, unpack = type, select, error, xpcall, next, unpack
local rawget, rawset, rawequal, tostring, setmetatable = rawget, rawset, rawequal, tostring, setmetatable
local debug_getmetatable, getinfo = debug.getmetatable, debug.getinfo
local format, concat, sort = string.format, table.concat, table.sort
local istype, cast, typeof = ffi.istype, ffi.cast, ffi.typeof
local int64, uint64 = typeof("int64_t"), typeof("uint64_t")
local loadstring, floor, collectgarbage = loadstring, math.floor, collectgarbage
local globals = _G

local driver = {}

-- A row among the results begins with a number: SOURCE * the row that the function was at + OUTPUT * the output + its width.
local SOURCE, OUTPUT, MAX_OUTPUTS = 2 ^ 42, 2 ^ 30, 4096
-- How many results are kept before rows are passed on: few, so that the strings among them stay in the cache.
local FLUSH = 2048
-- And before the first ones are: who wants only a few is asked early.
local flush_at = 64
-- What an emit raises when the rows behind it are not wanted any more; the error itself waits on the other side.
local STOP = {}

-- What the other end must reach: see `Kept`.
-- Tables that would not come back as they came in (nil leaves no trace in one), with what they came from: their encoded bytes.
-- And of those that look like something else, what they are: the length of a list with nils, false for a map.
local origins, lengths = setmetatable({}, { __mode = "k" }), setmetatable({}, { __mode = "k" })
local results = {}
driver.origins, driver.lengths, driver.results = origins, lengths, results

-- What stands in for parameters that the function only passes on, and which parameter each stands for.
local stand_ins, stands_for = {}, {}
driver.stand_ins = stand_ins

-- Writing ---------------------------------------------------------------------------------------------------------------

-- Among the results, what stands for nil, and the mark before the number of a captured table, or below 0 that of a parameter.
local NOTHING, TABLE = {}, {}
driver.nothing = NOTHING

-- How many results are whole; how many of these are of rows that the function is through with; where the row that is being
-- given ends; the row that the function is at, and its share of a header; whether no more rows are wanted.
local pos, done, at, current, source, stopped = 0, 0, 0, 0, 0, false

-- An integer beyond 2^53 as it crosses.
function driver.exact(value)
  if istype(int64, value) then
    return int64(value)
  elseif istype(uint64, value) then
    if value > 9223372036854775807ULL then
      error("an unsigned integer above 2^63-1 cannot be a field", 0)
    end
    return cast(int64, value)
  end
  error("a C value (" .. tostring(typeof(value)) .. ") cannot be a field", 0)
end

function driver.boxed(high, low)
  return int64(high) * 4294967296LL + int64(low)
end

local exact = driver.exact

-- What stands for a value that is no string, number or flag.
local function put_other(value, kind)
  if kind == "nil" then
    return NOTHING
  elseif kind == "table" then
    local number, why = stands_for[value], nil
    if not number then
      number, why = capture(value)
      if not number then
        error(why, 0)
      end
    end
    at = at + 1
    results[at] = TABLE
    return number
  elseif kind == "cdata" then
    return exact(value)
  end
  error("a " .. kind .. " cannot be a field", 0)
end

local function put(value)
  local kind = type(value)
  if kind ~= "string" and kind ~= "number" and kind ~= "boolean" then
    value = put_other(value, kind)
  end
  at = at + 1
  results[at] = value
end

-- For rows of many fields, functions that put each of them: what takes any number of values would keep them in a table.
local putters = {}
local WIDEST = 120

local function names(count)
  local names = {}
  for i = 1, count do
    names[i] = "v" .. i
  end
  return names
end

local function make_putter(width)
  local list, puts = names(width), {}
  for i = 1, width do
    puts[i] = "put(" .. list[i] .. ")"
  end
  local text = "local put = ... return function(" .. concat(list, ", ") .. ") " .. concat(puts, " ") .. " end"
  local putter = loadstring(text, "=driver")(put)
  putters[width] = putter
  return putter
end

local function put_all(width, ...)
  local fields = { ... }
  for i = 1, width do
    put(fields[i])
  end
end

-- Keeps a row of the given values; no values are no row. Nothing is kept of one that cannot be.
local function give(output, ...)
  local width = select("#", ...)
  if width == 0 then
    return
  end
  at = pos + 1
  results[at] = source + output + width
  if width == 1 then
    put((...))
  elseif width == 2 then
    local a, b = ...
    put(a)
    put(b)
  elseif width == 3 then
    local a, b, c = ...
    put(a)
    put(b)
    put(c)
  elseif width == 4 then
    local a, b, c, d = ...
    put(a)
    put(b)
    put(c)
    put(d)
  elseif width <= WIDEST then
    local putter = putters[width] or make_putter(width)
    putter(...)
  else
    put_all(width, ...)
  end
  pos = at
end

-- Whether rows may go on before the function is through with the row that it is at.
local eager

local function pass_on()
  stopped = not flush(pos)
  pos, done = 0, 0
  if flush_at < FLUSH then
    flush_at = flush_at * 2
  end
end

-- After rows given by a function that goes on.
local function given()
  if stopped then
    error(STOP, 0)
  end
  if eager and pos > flush_at then
    pass_on()
    if stopped then
      error(STOP, 0)
    end
  end
end

-- flatMap ---------------------------------------------------------------------------------------------------------------

-- The length of a list, nil for other tables.
local function list_len(t)
  local len, in_order = 0, true
  for key in next, t do
    len = len + 1
    in_order = in_order and rawequal(key, len)
  end
  if in_order then
    return len
  end
  for i = 1, len do
    if rawget(t, i) == nil then
      return nil
    end
  end
  return len
end

-- What an odd table is (a length, false), if it still is what it was; nil for all others.
local function odd_length(t)
  local length = lengths[t]
  if length ~= nil then
    local same, why = unchanged(t)
    if same then
      return length
    elseif why then
      error(why, 0)
    end
  end
end

local function callable(value)
  local meta = debug_getmetatable(value)
  return type(meta) == "table" and rawget(meta, "__call") ~= nil
end

-- An item on its own: a list gives several fields.
local function give_item(value)
  local len = false
  if type(value) == "table" then
    len = odd_length(value)
    if len == nil then
      len = list_len(value)
    end
  end
  if not len then
    give(0, value)
  elseif len > 0 then
    at = pos + 1
    results[at] = source + len
    for i = 1, len do
      put(rawget(value, i))
    end
    pos = at
  end
  given()
end

-- What one step of an iterator returned.
local function give_step(control, ...)
  if control == nil then
    return nil
  end
  if select("#", ...) == 0 then
    give_item(control)
  else
    give(0, control, ...)
    given()
  end
  return control
end

local function give_items(iterator, state, control)
  local kind = type(iterator)
  if kind == "nil" then
    return
  elseif kind == "function" or callable(iterator) then
    repeat
      control = give_step(iterator(state, control))
    until control == nil
  elseif kind == "table" then
    local len = odd_length(iterator) or list_len(iterator)
    if not len then
      error("a flatMap must return an iterator or a list, not a map", 0)
    elseif state ~= nil then
      error("a flatMap must return an iterator or one list, not a list and a " .. type(state), 0)
    end
    for i = 1, len do
      give_item(rawget(iterator, i))
    end
  else
    local hint = kind == "thread" and " (coroutine.wrap makes an iterator of a coroutine)" or ""
    error("a flatMap must return an iterator or a list, not a " .. kind .. hint, 0)
  end
end

-- Failures --------------------------------------------------------------------------------------------------------------

local show_value

-- A table in a message: a few items, not deep, in an order that does not change.
local function show_table(t, depth)
  local shown = {}
  for key, value in next, t do
    local name = type(key) == "string" and key or "[" .. show_value(key, depth + 1) .. "]"
    shown[#shown + 1] = name .. " = " .. show_value(value, depth + 1)
  end
  sort(shown)
  if #shown > 8 then
    return "{" .. concat(shown, ", ", 1, 8) .. ", ...}"
  end
  return "{" .. concat(shown, ", ") .. "}"
end

function show_value(value, depth)
  if type(value) == "string" then
    return format("%q", value)
  elseif type(value) == "table" and depth < 3 then
    return show_table(value, depth)
  end
  return tostring(value)
end

local function show_error(value)
  if type(value) == "string" then
    return value
  end
  local meta = debug_getmetatable(value)
  if type(value) ~= "table" or (type(meta) == "table" and rawget(meta, "__tostring")) then
    return tostring(value)
  end
  return show_value(value, 0)
end

local CHUNK = "=gleamflow"
local failed_value, failed_line

-- The line of the user's code that was running, for messages that carry none.
local function note_failure(value)
  failed_value, failed_line = value, nil
  for level = 2, 40 do
    local info = getinfo(level, "Sl")
    if not info then
      break
    elseif info.source == CHUNK and info.currentline > 0 then
      failed_line = info.currentline
      break
    end
  end
  return value
end

local function tostring_error(value)
  return (show_error(value))
end

-- Runs f; nil, or a message and perhaps a line.
local function guarded(f, ...)
  failed_value, failed_line = nil, nil
  local ok, value = xpcall(f, note_failure, ...)
  if ok then
    return nil
  elseif rawequal(value, STOP) then
    return ""
  end
  if failed_value == nil then
    failed_value = value
  end
  local shown, text = xpcall(tostring_error, tostring, failed_value)
  return shown and text or "an error object that cannot be shown", failed_line
end

-- Environment -----------------------------------------------------------------------------------------------------------

globals.ffi = ffi

function globals.os.exit()
  error("os.exit is not for functions: raise an error instead", 2)
end

function globals.print(...)
  local words = {}
  for i = 1, select("#", ...) do
    words[i] = tostring((select(i, ...)))
  end
  log(concat(words, "\t") .. "\n")
end

-- Standard output carries rows and nothing else.
globals.io.stdout = globals.io.stderr
globals.io.output(globals.io.stderr)

-- Integers beyond 2^53 are int64_t here. LuaJIT would cut a fraction off silently when it meets one.
local boxed = debug_getmetatable(0LL)

local function check_exact(a, b)
  local number, other = a, b
  if type(a) ~= "number" then
    number, other = b, a
  end
  if type(number) == "number" and (number ~= floor(number) or number >= 2 ^ 63 or number < -2 ^ 63) then
    if istype(int64, other) or istype(uint64, other) then
      error("attempt to mix an integer beyond 2^53 with a fraction", 3)
    end
  end
end

for _, name in next, { "__add", "__sub", "__mul", "__div", "__mod", "__pow", "__eq", "__lt", "__le" } do
  local original = boxed[name]
  boxed[name] = function(a, b)
    check_exact(a, b)
    return original(a, b)
  end
end

-- Every computed key of the user's code goes through this.
local function check_key(key)
  if type(key) == "cdata" and (istype(int64, key) or istype(uint64, key)) then
    error("attempt to use an integer beyond 2^53 as the key of a table", 2)
  end
  return key
end

-- Reading ---------------------------------------------------------------------------------------------------------------

-- The values of the batch, filled before the row `filled`, with why not further; and where each row's values begin, for functions
-- that see whole rows.
local values, filled, unfit, starts = nil, 0, nil, {}

local function read(first)
  values, filled, unfit = fill(values, first, starts)
end

local function slots(count)
  local slots = {}
  for i = 1, count do
    slots[i] = "values[at + " .. i .. "]"
  end
  return concat(slots, ", ")
end

-- A function that gives the parameters of a row; those that are moved are what stands in for them in every row.
local function reader_of(params, moved)
  if params == 0 then
    return function() end
  end
  local list = {}
  for i = 1, params do
    stand_ins[i] = {}
    stands_for[stand_ins[i]] = -i
    list[i] = (moved[i] and "stand_ins[" or "values[at + ") .. i .. "]"
  end
  local returns = "local at = row * " .. params .. " return " .. concat(list, ", ")
  return loadstring("local stand_ins = ... return function(values, row) " .. returns .. " end", "=driver")(stand_ins)
end

-- Functions that give so many values behind a place.
local by_width = {}

local function make_by_width(width)
  local text = "return function(values, at) return " .. slots(width) .. " end"
  by_width[width] = loadstring(text, "=driver")()
  return by_width[width]
end

local function read_whole(values, row)
  local from = starts[row + 1]
  local width = starts[row + 2] - from
  if width == 0 then
    return
  elseif width <= WIDEST then
    local reader = by_width[width] or make_by_width(width)
    return reader(values, from)
  end
  return unpack(values, from + 1, from + width)
end

-- Running ---------------------------------------------------------------------------------------------------------------

local sides = {}
local user, arguments
local emitting = false

-- One loop per kind of result. Its messages may name `user`: `vm.rs` knows.
local LOOPS = {}

function LOOPS.map(first, last)
  for row = first, last - 1 do
    current, source = row, row * SOURCE
    give(0, user(arguments(values, row)))
    done = pos
    if pos > flush_at then
      pass_on()
      if stopped then
        return
      end
    end
  end
end

function LOOPS.flatMap(first, last)
  for row = first, last - 1 do
    current, source = row, row * SOURCE
    give_items(user(arguments(values, row)))
    done = pos
    if pos > flush_at then
      pass_on()
      if stopped then
        return
      end
    end
  end
end

function LOOPS.emit(first, last)
  for row = first, last - 1 do
    current, source = row, row * SOURCE
    user(arguments(values, row))
    done = pos
    if pos > flush_at then
      pass_on()
      if stopped then
        return
      end
    end
  end
end

function LOOPS.filter(first, last)
  for row = first, last - 1 do
    current = row
    results[row + 1] = user(arguments(values, row)) and true or false
  end
end

local loop

local function run(first, last)
  if first == 0 or first >= filled then
    current = first
    read(first)
  end
  loop(first, filled)
  if unfit and not stopped then
    current = filled
    error(unfit, 0)
  end
end

-- Makes `emit` (names: of the outputs, or nil for one).
function driver.set_emit(names)
  local function emitter(number)
    local output = number * OUTPUT
    return function(...)
      if not emitting then
        error("emit belongs into the step's function, not into the prelude", 2)
      end
      give(output, ...)
      given()
    end
  end
  if not names then
    globals.emit = emitter(0)
    return
  elseif #names > MAX_OUTPUTS then
    error("more than " .. MAX_OUTPUTS .. " outputs", 0)
  end
  local emits = {}
  for i, name in next, names do
    emits[name] = emitter(i - 1)
  end
  local known = concat(names, ", ")
  globals.emit = setmetatable(emits, {
    __index = function(_, name)
      error("no output is called " .. tostring(name) .. " (outputs: " .. known .. ")", 2)
    end,
  })
end

-- Loads the user's chunk and keeps its function; nil, or a message and perhaps a line.
function driver.load(chunk, kind, params, vararg, moved, whole_rows)
  eager = not whole_rows
  local message, line = guarded(function()
    user = chunk(check_key)
    if type(user) ~= "function" then
      error("the text is not a function but a " .. type(user), 0)
    end
  end)
  if message then
    return message, line
  end
  -- Should the prelude have set a global of that name.
  for name, value in next, sides do
    rawset(globals, name, value)
  end
  loop, arguments = LOOPS[kind], vararg and read_whole or reader_of(params, moved)
  emitting = true
end

-- Runs the rows of the batch from first on: nil, or a message and perhaps a line; how many results are of rows that the function
-- is through with; the row that it was at.
function driver.run(first, last)
  pos, done, stopped = 0, 0, false
  local message, line = guarded(run, first, last)
  return message, line, done, current
end

-- Side inputs -----------------------------------------------------------------------------------------------------------

-- `empty`: the keys of a map whose item is nil.
local side, empty, side_rows

local function side_item(row, from)
  local at = starts[row + 1]
  local width = starts[row + 2] - at
  if width - from == 1 then
    return values[at + from + 1]
  end
  local item = new_table(width - from, 0)
  for i = from + 1, width do
    item[i - from] = values[at + i]
  end
  return item
end

local SIDE = {}

function SIDE.list(row)
  side[side_rows + 1] = side_item(row, 0)
end

function SIDE.value(row)
  if side_rows > 0 then
    error("must have one row, but has more", 0)
  end
  side = side_item(row, 0)
end

function SIDE.map(row)
  local at = starts[row + 1]
  if starts[row + 2] == at then
    error("has a row without fields, which has no key", 0)
  end
  local key = values[at + 1]
  local kind = type(key)
  if kind == "nil" or kind == "table" or key ~= key then
    local shown = kind == "number" and "NaN" or kind
    error("has a key that a table cannot be searched for: " .. shown, 0)
  elseif kind == "cdata" then
    error("has an integer beyond 2^53 as a key", 0)
  elseif side[key] ~= nil or empty[key] then
    error("has the key " .. show_value(key, 0) .. " twice", 0)
  end
  local item = side_item(row, 1)
  if item == nil then
    empty[key] = true
  end
  side[key] = item
end

-- Begins a side input. Nearly all that is made until its end stays: looking for what does not would only cost time.
function driver.side_begin()
  collectgarbage("stop")
  side, empty, side_rows = {}, {}, 0
end

-- Adds the rows of a batch; nil or a message.
function driver.side_rows(shape)
  return (guarded(function()
    read(0)
    for row = 0, filled - 1 do
      SIDE[shape](row)
      side_rows = side_rows + 1
    end
    if unfit then
      error(unfit, 0)
    end
  end))
end

-- Ends it and gives it its name; nil or a message.
function driver.side_end(shape, name)
  if shape == "value" and side_rows ~= 1 then
    return "must have one row, but has none"
  end
  sides[name] = side
  rawset(globals, name, side)
  side, empty, values = nil, nil, nil
  -- With as much room as after a collection.
  collectgarbage("restart", -1)
end

return driver
