-- Starts a session, and ends the one that the same user presented. Answers the time of the login.
-- KEYS[1] the new session, KEYS[2] the index of its user, KEYS[3] the session presented, if there is one
-- ARGV[1] what the node's clock was turned ahead by, ARGV[2] idle, ARGV[3] absolute, all in seconds; ARGV[4] the user
local MOST_CLEANED = 100 -- a login leaves one entry and takes a hundred away, so a long list gets shorter bit by bit
local time = tonumber(redis.call('TIME')[1])
local now, idle, absolute = time + ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local ends = now + math.min(idle, absolute)
-- Writes first: a store that is out of memory refuses here, before anything has happened.
redis.call('HSET', KEYS[1], 'user', ARGV[4], 'issued', now, 'version', 0)
redis.call('EXPIRE', KEYS[1], ends - time)
-- The index cleans itself here, by the store's clock alone, and as a whole by a TTL that outlives every session in it.
local expired = redis.call('ZCOUNT', KEYS[2], '-inf', time)
if expired > 0 then
  redis.call('ZREMRANGEBYRANK', KEYS[2], 0, math.min(expired, MOST_CLEANED) - 1)
end
redis.call('ZADD', KEYS[2], ends, string.sub(KEYS[1], -43))
redis.call('EXPIRE', KEYS[2], now - time + absolute)
if KEYS[3] then
  redis.call('UNLINK', KEYS[3])
  redis.call('ZREM', KEYS[2], string.sub(KEYS[3], -43))
end
return now
