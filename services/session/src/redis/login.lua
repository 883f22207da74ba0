-- Starts a session, and ends the one that the same user presented.
-- KEYS[3] the session presented, if there is one
-- ARGV[4] the user
-- A store that is out of memory refuses the first write, so that nothing has happened then.
local ends = now + math.min(idle, absolute)
redis.call('HSET', KEYS[1], 'user', ARGV[4], 'issued', now, 'expires', ends, 'version', 0)
redis.call('EXPIRE', KEYS[1], ends - now + SLACK)
-- The index cleans itself here, and as a whole by a TTL that outlives every session in it.
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
redis.call('ZADD', KEYS[2], ends, member(KEYS[1]))
redis.call('EXPIRE', KEYS[2], absolute + SLACK)
if KEYS[3] then
  delete(KEYS[3])
end
return 'ok'
