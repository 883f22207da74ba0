-- Comes before every script that acts for a session: what follows it runs only if the session is alive. Redis runs nothing
-- in between, so a dead session stays dead whatever else is on its way. Straight-line code, for it runs at every request.
--
-- KEYS[1] the session, KEYS[2] the index of its user
-- ARGV[1] now, ARGV[2] idle, ARGV[3] absolute, all in seconds; further arguments belong to the script.
--
-- `now` is the node's: expiry is what the fields say.
local now, idle, absolute = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local session = redis.call('HMGET', KEYS[1], 'user', 'issued', 'expires')
if not session[1] then
  return false
end

local expires = tonumber(session[3])
-- The session's name in the index is the digest at the end of its key.
if expires <= now then
  redis.call('UNLINK', KEYS[1])
  redis.call('ZREM', KEYS[2], string.sub(KEYS[1], -43))
  return false
end

-- A use is written down once a minute; a short idle time asks for more.
local last = session[2] + absolute
local ends = math.min(now + idle, last)
if ends - expires >= math.min(60, idle / 10) or (ends == last and expires < last) then
  -- pcall: a store that is full or read-only refuses this write, and the read goes on.
  if type(redis.pcall('HSET', KEYS[1], 'expires', ends)) == 'number' then
    -- The keys' own TTL only collects what nobody asks for any more. A minute more, because nodes' clocks differ.
    redis.call('EXPIRE', KEYS[1], ends - now + 60)
    redis.call('ZADD', KEYS[2], ends, string.sub(KEYS[1], -43))
    redis.call('EXPIRE', KEYS[2], absolute + 60)
    session[3] = string.format('%d', ends)
  end
end

