"""The functions of `functions.py`: what people write. A row is key, number, time, address, path, words, pairs, cents."""

from dataclasses import dataclass

ALL = "k, n, time, address, path, words, pairs, cents"


@dataclass
class Shape:
    name: str
    title: str
    kind: str
    function: str
    prelude: str = ""
    # A map before the step.
    before: str = ""
    # A map that makes a side input of the numbers below 1,000.
    side: str = ""
    # Of a reduceBy: value fields.
    values: int = 0
    # Whether the script can write the same rows.
    same: bool = True


SHAPES = [
    Shape("wide-random", "map of 4: three passed on, `math.random`", "map", "function(k, n, time) return k, n, time, math.random(1, 1000) end", same=False),
    Shape("wide-8", "map of 8: seven passed on, one made", "map", f"function({ALL}) return k, n, time, address, path, words, pairs, cents .. '!' end"),
    Shape(
        "wide-20",
        "map of 20 fields",
        "map",
        f"function({ALL})\n  local a, b = tonumber(n), tonumber(cents)\n  return {ALL}, a + b, a - b, a * 2, b * 2, a % 7, b % 7, a % 11, b % 11, a % 13, b % 13, k .. n, n .. k\nend",
    ),
    Shape(
        "log",
        "parsing by `match` with captures",
        "map",
        "function(k, n, time, address, path)\n  local y, m, d = time:match('^(%d+)%-(%d+)%-(%d+)')\n  local first, second = path:match('^/(%w+)/(%w+)')\n  return y .. m .. d, first, second, path:match('id=(%d+)')\nend",
    ),
    Shape("gsub", "`gsub` with a string", "map", "function(k, n, time, address, path) return k, (path:gsub('%d+', '#')) end"),
    Shape(
        "gsub-function",
        "`gsub` with a function",
        "map",
        "function(k, n, time, address, path)\n  return k, (path:gsub('%d+', function(d) return #d end))\nend",
    ),
    Shape("format", "`string.format`", "map", "function(k, n, time) return string.format('%s-%05d', k, n), time end"),
    Shape(
        "split",
        "splitting by `gmatch` into a table, counting",
        "map",
        "function(k, n, time, address, path, words)\n  local t = {}\n  for w in words:gmatch('%S+') do t[#t + 1] = w end\n  return k, #t, t[1], t[#t]\nend",
    ),
    Shape(
        "concat",
        "building a table, `table.concat`",
        "map",
        "function(k, n, time, address, path, words)\n  local t = {}\n  for w in words:gmatch('%S+') do t[#t + 1] = w:upper() end\n  table.sort(t)\n  return k, table.concat(t, ',')\nend",
    ),
    Shape(
        "closure",
        "a closure per row",
        "map",
        "function(k, n)\n  local function add(x) return tonumber(n) + x end\n  return k, add(1), add(2)\nend",
    ),
    Shape(
        "pcall",
        "`pcall` of something that may fail",
        "map",
        "function(k, n, time)\n  local ok, value = pcall(function() return tonumber(n) % 2 == 0 and tonumber(n) or error('odd') end)\n  return k, ok and value or -1\nend",
    ),
    Shape(
        "varargs",
        "varargs: `select`, `...`",
        "map",
        "function(...)\n  local k, n = ...\n  return select('#', ...), n, k, select(3, ...)\nend",
    ),
    Shape(
        "coroutine",
        "flatMap by a coroutine",
        "flatMap",
        "function(k, n)\n  return coroutine.wrap(function()\n    for i = 1, 3 do coroutine.yield(k, i) end\n  end)\nend",
    ),
    Shape(
        "iterator",
        "flatMap by a closure",
        "flatMap",
        "function(k, n)\n  local i = 0\n  return function()\n    i = i + 1\n    if i <= 3 then return k, i end\n  end\nend",
    ),
    Shape(
        "captures",
        "flatMap by `gmatch` with captures behind a test",
        "flatMap",
        "function(k, n, time, address, path, words, pairs)\n  if pairs == '' or math.huge < 0 then return {} end\n  return pairs:gmatch('(%w+)=(%d+)')\nend",
    ),
    Shape(
        "list",
        "flatMap by a list built in a loop",
        "flatMap",
        "function(k, n, time, address, path, words)\n  local t = {}\n  for w in words:gmatch('%a+') do t[#t + 1] = w end\n  return t\nend",
    ),
    Shape("emit-1", "forEach: an `emit` per word", "forEach", "function(k, n, time, address, path, words)\n  for w in words:gmatch('%S+') do emit(w) end\nend"),
    Shape("emit-6", "forEach: an `emit` of 6 values", "forEach", f"function({ALL})\n  if #words > 5 then emit(k, n, time, address, path, cents) end\nend"),
    Shape(
        "parallel-do",
        "parallelDo with 3 outputs",
        "parallelDo",
        "function(k, n, time, address, path, words)\n  emit.a(k, n)\n  if tonumber(n) % 2 == 0 then emit.b(k, time) else emit.c(address, path, words) end\nend",
    ),
    Shape(
        "filter",
        "filter by `find` and a loop",
        "filter",
        "function(k, n, time, address, path, words)\n  for w in words:gmatch('%S+') do\n    if w:find('^be') then return true end\n  end\n  return path:find('co', 1, true) ~= nil\nend",
    ),
    Shape(
        "dates",
        "days since an epoch by `os.time`",
        "map",
        "function(k, n, time)\n  local y, m, d = time:match('(%d+)-(%d+)-(%d+)')\n  return k, math.floor(os.time({year = y, month = m, day = d, hour = 12}) / 86400)\nend",
    ),
    Shape(
        "maps",
        "a map with a list in it, made and taken apart",
        "map",
        "function(m)\n  local sum = m.n\n  for _, tag in ipairs(m.tags) do sum = sum + #tag end\n  return m.key, sum\nend",
        before="function(k, n, time, address)\n  return {key = k, n = tonumber(n), tags = {time, address}}\nend",
    ),
    Shape(
        "counting",
        "counting words in a local table",
        "map",
        "function(k, n, time, address, path, words)\n  local counts, most = {}, 0\n  for w in words:gmatch('%S+') do\n    counts[w] = (counts[w] or 0) + 1\n    if counts[w] > most then most = counts[w] end\n  end\n  return k, most\nend",
    ),
    Shape(
        "side",
        "looking up a side input",
        "map",
        "function(k, n, time)\n  local price = side[k]\n  return k, price and price * 2 or 0, time\nend",
        side="function(i) return 'k' .. i, i * 3 end",
    ),
    Shape(
        "bits",
        "bit operations",
        "map",
        "function(k, n)\n  local x = tonumber(n)\n  local h = 5381\n  for i = 1, #k do h = bit.bxor(bit.lshift(h, 5), k:byte(i)) end\n  return bit.band(h, 1023), bit.bxor(x, 255)\nend",
    ),
    Shape(
        "ffi",
        "`ffi`: a buffer, filled and read",
        "map",
        "function(k, n)\n  for i = 1, #k do buffer[i - 1] = k:byte(i) + 1 end\n  return ffi.string(buffer, #k), n\nend",
        prelude="local ffi = require('ffi')\nlocal buffer = ffi.new('uint8_t[64]')",
    ),
    Shape(
        "numbers",
        "`..` over numbers",
        "map",
        "function(k, n, time, address, path, words, pairs, cents)\n  local a, b = tonumber(n), tonumber(cents)\n  return k, (a + b) .. ':' .. a * b .. ':' .. math.floor(b / 100)\nend",
    ),
    Shape(
        "reduce-1",
        "reduceBy with 1 value",
        "reduceBy",
        "function(a, b)\n  local c = a + b\n  while c > 1e9 do c = c - 1e9 end\n  return c\nend",
        before="function(k, n) return k, tonumber(n) end",
        values=1,
    ),
    Shape(
        "reduce-2",
        "reduceBy with 2 values, of strings",
        "reduceBy",
        "function(a, x, b, y)\n  for i = 1, 1 do if y > x then x = y end end\n  return a + b, x\nend",
        before="function(k, n, time) return k, tonumber(n), time end",
        values=2,
    ),
    Shape(
        "reduce-5",
        "reduceBy with 5 values",
        "reduceBy",
        "function(a, b, c, d, e, v, w, x, y, z)\n  for i = 1, 1 do if w > b then b = w end end\n  return a + v, b, math.min(c, x), d + y, e + z\nend",
        before="function(k, n, time, address, path, words, pairs, cents)\n  local x = tonumber(n)\n  return k, x, x, x, 1, tonumber(cents)\nend",
        values=5,
    ),
]
