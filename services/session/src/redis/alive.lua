-- Comes before every script that acts for a session: what follows it runs only if the session is alive. Redis runs nothing
-- in between, so a dead session stays dead whatever else is on its way. Straight-line code, for it runs at every request.
--
-- KEYS[1] the session, KEYS[2] the index of its user
-- ARGV[1] what the node's clock was turned ahead by, ARGV[2] idle, ARGV[3] absolute, all in seconds; further arguments
-- belong to the script. (Lua takes them for numbers wherever it calculates.)
local time = redis.call('TIME')[1]
local now = time + ARGV[1]
local session = redis.call('HMGET', KEYS[1], 'user', 'issued')
-- The session's name in the index is the digest at the end of its key.
local name = string.sub(KEYS[1], -43)
local expires = redis.call('ZSCORE', KEYS[2], name)
-- One without the other is dead: what the index does not name was ended, or could not be any more. What has expired is
-- refused and not removed; the keys' own TTL does that, by the store's clock alone.
if not (session[1] and expires) or expires - now <= 0 then
  return false
end

-- A use is written down once a minute; a short idle time asks for more.
local wanted = now + ARGV[2]
if wanted - expires >= math.min(60, ARGV[2] / 10) then
  local ends = math.min(wanted, session[2] + ARGV[3])
  -- pcall: a store that is full or read-only refuses this write, and the read goes on.
  if ends > expires + 0 and type(redis.pcall('ZADD', KEYS[2], ends, name)) == 'number' then
    redis.call('EXPIRE', KEYS[1], ends - time)
    expires = string.format('%d', ends)
  end
end

