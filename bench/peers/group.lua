-- Quantity and number of line items per part by hand: luajit group.lua DATA OUT
local quantities, numbers = {}, {}
local lines = io.lines(arg[1] .. "/lineitem.csv")
lines() -- the header
for line in lines do
  local part, quantity = line:match("^[^,]*,([^,]*),[^,]*,[^,]*,([^,]*)")
  quantities[part] = (quantities[part] or 0) + tonumber(quantity)
  numbers[part] = (numbers[part] or 0) + 1
end
local out = assert(io.open(arg[2] .. "/part.csv", "w"))
for part, quantity in pairs(quantities) do
  out:write(part, ",", quantity, ",", numbers[part], "\n")
end
out:close()
