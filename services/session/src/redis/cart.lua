-- Every field of a live session: its cart, and what `authenticate` reads.
if not alive() then
  return false
end
return redis.call('HGETALL', KEYS[1])
