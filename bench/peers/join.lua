-- Every line item with its order's date and priority by hand: luajit join.lua DATA OUT
local orders = {}
local lines = io.lines(arg[1] .. "/orders.csv")
lines() -- the header
for line in lines do
  local key, date, priority = line:match("^([^,]*),[^,]*,[^,]*,[^,]*,([^,]*),([^,]*)")
  orders[key] = date .. "," .. priority
end
local out = assert(io.open(arg[2] .. "/part.csv", "w"))
lines = io.lines(arg[1] .. "/lineitem.csv")
lines()
for line in lines do
  local key, number, price = line:match("^([^,]*),[^,]*,[^,]*,([^,]*),[^,]*,([^,]*)")
  local order = orders[key]
  if order then
    out:write(key, ",", order, ",", number, ",", price, "\n")
  end
end
out:close()
