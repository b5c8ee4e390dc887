-- Between rows and Lua: reads rows from C cells, calls the step's function, writes what it gives back into C cells.
-- Runs in the step's own VM, before any user code, and keeps everything that it needs of the library in locals.
-- Must never hold a cell's address over a call that could move the cells (`grow`, `flush`).

local shared_address, grow, flush, log, unchanged = ...

local ffi, new_table = require("ffi"), require("table.new")
local type, select, error, xpcall, next, unpack = type, select, error, xpcall, next, unpack
local rawget, rawset, rawequal, tostring, setmetatable = rawget, rawset, rawequal, tostring, setmetatable
local debug_getmetatable, getinfo = debug.getmetatable, debug.getinfo
local format, concat, sort = string.format, table.concat, table.sort
local ffi_string, istype, cast, typeof = ffi.string, ffi.istype, ffi.cast, ffi.typeof
local int64, uint64 = typeof("int64_t"), typeof("uint64_t")
local loadstring, floor = loadstring, math.floor
local globals = _G

local cell = typeof(
  [[struct { uint32_t tag; uint32_t len;
  union { double n; int64_t i; const char *p; struct { uint32_t output; uint32_t row; }; }; }]]
)
local shared = cast(
  typeof(
    [[struct { const $ *cells; const $ *kids; const uint32_t *starts; const uint32_t *widths; uint8_t *keep; $ *out;
    uint32_t cap; uint32_t row; uint32_t pos; uint32_t done; uint32_t stop; } *]],
    cell, cell, cell
  ),
  shared_address
)

local NIL, FALSE, TRUE, NUMBER, STRING, INT64, LIST, MAP, ROW = 0, 1, 2, 3, 4, 5, 6, 7, 8
local PASSED, ODD_LIST, ENCODED, FIELD = 9, 10, 12, 13
-- How many cells are written before rows are passed on, and how deep tables may nest (as in `codec`).
local FLUSH, MAX_DEPTH = 8192, 128
-- What an emit raises when the rows behind it are not wanted any more; the error itself waits on the other side.
local STOP = {}

-- Reading ---------------------------------------------------------------------------------------------------------------
-- Cells are reached by index, never by pointer arithmetic, which would run into the check on integers below.

local read_kid

-- Tables that would not come back as they came in (nil leaves no trace in one), with what they came from: their encoded bytes, or
-- the cell of which they stand in. And of those that look like something else, what they are: the length of a list with nils,
-- false for a map.
local origins, lengths = setmetatable({}, { __mode = "k" }), setmetatable({}, { __mode = "k" })

local function read_list(from, len, at)
  local list = new_table(len, 0)
  for i = 1, len do
    list[i] = read_kid(at + i - 1)
  end
  if from.tag == ODD_LIST then
    origins[list] = read_kid(at + len)
    for i = 1, len do
      if list[i] == nil then
        lengths[list] = len
        break
      end
    end
  end
  return list
end

local function read_table(from)
  local tag, len, at = from.tag, from.len, from.n
  if tag == LIST or tag == ODD_LIST then
    return read_list(from, len, at)
  end
  local map = new_table(0, len)
  for i = 0, len - 1 do
    local key = read_kid(at + 2 * i)
    if type(key) == "cdata" then
      error("an integer beyond 2^53 cannot be the key of a table", 0)
    end
    map[key] = read_kid(at + 2 * i + 1)
  end
  if tag ~= MAP then
    origins[map], lengths[map] = read_kid(at + 2 * len), false
  end
  return map
end

local function read_cell(from)
  local tag = from.tag
  if tag == NUMBER then
    return from.n
  elseif tag == STRING then
    return ffi_string(from.p, from.len)
  elseif tag == NIL then
    return nil
  elseif tag == TRUE then
    return true
  elseif tag == FALSE then
    return false
  elseif tag == INT64 then
    return from.i
  end
  return read_table(from)
end

function read_kid(at)
  return read_cell(shared.kids[at])
end

local function read(at)
  return read_cell(shared.cells[at])
end

local stand_ins = {}

-- A parameter that the function only passes on: an empty table stands in for a list or map.
local function read_passed(at, param)
  if shared.cells[at].tag ~= PASSED then
    return read(at)
  end
  local stand_in = stand_ins[param]
  if not stand_in then
    stand_in = {}
    stand_ins[param] = stand_in
  end
  origins[stand_in] = at
  return stand_in
end

local function read_all(row)
  local at, width = shared.starts[row], shared.widths[row]
  local fields = new_table(width, 0)
  for i = 1, width do
    fields[i] = read(at + i - 1)
  end
  return unpack(fields, 1, width)
end

-- Writing ---------------------------------------------------------------------------------------------------------------

-- Strings stay alive until their cells are read.
local anchors = {}
local put

-- The next cell, tagged.
local function claim(tag, len)
  local pos = shared.pos
  if pos >= shared.cap then
    grow()
  end
  local to = shared.out[pos]
  to.tag, to.len = tag, len
  shared.pos = pos + 1
  return to
end

-- The length of a list, nil for other tables.
local function list_len(t)
  local len = 0
  for _ in next, t do
    len = len + 1
  end
  for i = 1, len do
    if rawget(t, i) == nil then
      return nil, len
    end
  end
  return len, len
end

local function put_items(t, depth)
  if depth > MAX_DEPTH then
    error("a table that contains itself, or nests more than 128 deep, cannot be a field", 0)
  end
  local len, pairs_len = list_len(t)
  if len then
    claim(LIST, len)
    for i = 1, len do
      put(rawget(t, i), depth + 1)
    end
    return
  end
  claim(MAP, pairs_len)
  for key, value in next, t do
    if type(key) == "cdata" then
      error("a C value or an integer beyond 2^53 cannot be the key of a map", 0)
    end
    put(key, depth + 1)
    put(value, depth + 1)
  end
end

local function put_table(t, depth)
  local origin = origins[t]
  if origin == nil then
    put_items(t, depth)
  elseif type(origin) == "number" then
    claim(FIELD, 0).i = origin
  else
    local start = shared.pos
    put_items(t, depth)
    if unchanged(start, origin) then
      shared.pos = start
      claim(ENCODED, #origin).p = origin
      anchors[start + 1] = origin
    end
  end
end

-- What an odd table is (a length, false), if it still is what it was; nil for all others.
local function odd_length(t)
  local length = lengths[t]
  if length ~= nil then
    local start = shared.pos
    put_items(t, 1)
    local same = unchanged(start, origins[t])
    shared.pos = start
    if same then
      return length
    end
  end
end

local function put_cdata(value)
  if istype(int64, value) then
    claim(INT64, 0).i = value
  elseif istype(uint64, value) then
    if value > 9223372036854775807ULL then
      error("an unsigned integer above 2^63-1 cannot be a field", 0)
    end
    claim(INT64, 0).i = cast(int64, value)
  else
    error("a C value (" .. tostring(typeof(value)) .. ") cannot be a field", 0)
  end
end

function put(value, depth)
  local kind = type(value)
  if kind == "string" then
    local pos = shared.pos
    claim(STRING, #value).p = value
    anchors[pos + 1] = value
  elseif kind == "number" then
    claim(NUMBER, 0).n = value
  elseif kind == "nil" then
    claim(NIL, 0)
  elseif kind == "boolean" then
    claim(value and TRUE or FALSE, 0)
  elseif kind == "table" then
    put_table(value, depth)
  elseif kind == "cdata" then
    put_cdata(value)
  else
    error("a " .. kind .. " cannot be a field", 0)
  end
end

-- Writes a row of the given values; no values are no row.
local function give(output, ...)
  local width = select("#", ...)
  if width == 0 then
    return
  end
  local row = claim(ROW, width)
  row.output, row.row = output, shared.row
  if width == 1 then
    put((...), 1)
  elseif width == 2 then
    local a, b = ...
    put(a, 1)
    put(b, 1)
  elseif width == 3 then
    local a, b, c = ...
    put(a, 1)
    put(b, 1)
    put(c, 1)
  else
    local fields = { ... }
    for i = 1, width do
      put(fields[i], 1)
    end
  end
end

-- Whether rows may go on before the function is through with the row that it is at.
local eager

local function pass_on()
  if shared.stop ~= 0 then
    error(STOP, 0)
  end
  if eager and shared.pos > FLUSH then
    flush()
    if shared.stop ~= 0 then
      error(STOP, 0)
    end
  end
end

-- flatMap ---------------------------------------------------------------------------------------------------------------

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
    local row = claim(ROW, len)
    row.output, row.row = 0, shared.row
    for i = 1, len do
      put(rawget(value, i), 1)
    end
  end
  pass_on()
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
    pass_on()
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

-- Running ---------------------------------------------------------------------------------------------------------------

local driver, sides = {}, {}
local user
local emitting = false

-- One loop per kind of result. ARGUMENTS is replaced by the reads of the function's parameters.
local RESULT = {
  map = "give(0, user(ARGUMENTS))",
  flatMap = "give_items(user(ARGUMENTS))",
  filter = "shared.keep[row] = user(ARGUMENTS) and 1 or 0",
  emit = "user(ARGUMENTS)",
}
local LOOP = [[
local shared, read, read_passed, read_all, give, give_items, user, flush, FLUSH = ...
return function(first, last)
  for row = first, last - 1 do
    shared.row = row
    local at = shared.starts[row]
    RESULT
    shared.done = shared.pos
    if shared.pos > FLUSH then
      flush()
      if shared.stop ~= 0 then
        return
      end
    end
  end
end
]]

local function loop_of(kind, params, vararg, passed)
  local reads = {}
  for i = 1, params do
    reads[i] = "read(at + " .. i - 1 .. ")"
    if passed[i] then
      reads[i] = "read_passed(at + " .. i - 1 .. ", " .. i .. ")"
    end
  end
  local arguments = vararg and "read_all(row)" or concat(reads, ", ")
  local result = RESULT[kind]:gsub("ARGUMENTS", arguments)
  local text = LOOP:gsub("RESULT", function() return result end)
  return loadstring(text, "=driver")(shared, read, read_passed, read_all, give, give_items, user, flush, FLUSH)
end

-- Makes `emit` (names: of the outputs, or nil for one).
function driver.set_emit(names)
  local function emitter(output)
    return function(...)
      if not emitting then
        error("emit belongs into the step's function, not into the prelude", 2)
      end
      give(output, ...)
      pass_on()
    end
  end
  if not names then
    globals.emit = emitter(0)
    return
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
function driver.load(chunk, kind, params, vararg, passed, whole_rows)
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
  driver.loop = loop_of(kind, params, vararg, passed)
  emitting = true
end

-- Runs the rows from first to before last; nil, or a message and perhaps a line (the row is in shared.row).
function driver.run(first, last)
  return guarded(driver.loop, first, last)
end

-- Side inputs -----------------------------------------------------------------------------------------------------------

local side, seen, side_rows

local function side_item(row, from)
  local at, width = shared.starts[row], shared.widths[row]
  if width - from == 1 then
    return read(at + from)
  end
  local item = new_table(width - from, 0)
  for i = from, width - 1 do
    item[i - from + 1] = read(at + i)
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
  if shared.widths[row] == 0 then
    error("has a row without fields, which has no key", 0)
  end
  local key = read(shared.starts[row])
  local kind = type(key)
  if kind == "nil" or kind == "table" or key ~= key then
    local shown = kind == "number" and "NaN" or kind
    error("has a key that a table cannot be searched for: " .. shown, 0)
  elseif kind == "cdata" then
    error("has an integer beyond 2^53 as a key", 0)
  elseif seen[key] then
    error("has the key " .. show_value(key, 0) .. " twice", 0)
  end
  seen[key] = true
  side[key] = side_item(row, 1)
end

-- Begins a side input.
function driver.side_begin()
  side, seen, side_rows = {}, {}, 0
end

-- Adds the rows before last; nil or a message.
function driver.side_rows(shape, last)
  return (guarded(function()
    for row = 0, last - 1 do
      shared.row = row
      SIDE[shape](row)
      side_rows = side_rows + 1
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
  side, seen = nil, nil
end

return driver
