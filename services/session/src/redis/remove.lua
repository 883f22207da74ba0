-- Removes a line from the cart if it is there.
-- ARGV[4] the line's field
if redis.call('HDEL', KEYS[1], ARGV[4]) == 1 then
  redis.call('HINCRBY', KEYS[1], 'version', 1)
end
return redis.call('HGETALL', KEYS[1])
