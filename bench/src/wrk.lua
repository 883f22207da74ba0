-- Sends the requests of the file that is named behind `--` as they are, one after the other, round and round.
-- With several threads each takes every n-th request, so that a session always belongs to one thread.
local threads = {}
local ring, at = {}, 0

function setup(thread)
  table.insert(threads, thread)
  thread:set("number", #threads)
end

function init(args)
  local all, step = dofile(args[1]), tonumber(args[2])
  for i = number, #all, step do ring[#ring + 1] = all[i] end
end

function request()
  at = at % #ring + 1
  return ring[at]
end

function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    "bench requests=%d duration_us=%d errors=%d refused=%d\n",
    summary.requests, summary.duration, e.connect + e.read + e.write + e.timeout, e.status))
end
