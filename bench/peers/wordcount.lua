-- The word count by hand: luajit wordcount.lua DATA OUT
local counts = {}
for line in io.lines(arg[1] .. "/text.txt") do
  for word in line:gmatch("%w+") do
    counts[word] = (counts[word] or 0) + 1
  end
end
local out = assert(io.open(arg[2] .. "/part.csv", "w"))
for word, count in pairs(counts) do
  out:write(word, ",", count, "\n")
end
out:close()
