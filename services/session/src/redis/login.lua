-- Starts a session, and ends the one that the same user presented.
-- KEYS[1] the new session, KEYS[2] the index of its user, KEYS[3] the session presented, if there is one
-- ARGV[1] now, ARGV[2] idle, ARGV[3] absolute, all in seconds; ARGV[4] the user
local now, idle, absolute = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local ends = now + math.min(idle, absolute)
-- Writes first: a store that is out of memory refuses here, before anything has happened.
redis.call('HSET', KEYS[1], 'user', ARGV[4], 'issued', now, 'expires', ends, 'version', 0)
redis.call('EXPIRE', KEYS[1], ends - now + 60)
-- The index cleans itself here, and as a whole by a TTL that outlives every session in it.
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
redis.call('ZADD', KEYS[2], ends, string.sub(KEYS[1], -43))
redis.call('EXPIRE', KEYS[2], absolute + 60)
if KEYS[3] then
  redis.call('UNLINK', KEYS[3])
  redis.call('ZREM', KEYS[2], string.sub(KEYS[3], -43))
end
return 'ok'
