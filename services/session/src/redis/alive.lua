-- Comes before every script that concerns one session. `alive()` is the check that makes a dead session stay dead:
-- a script that changes a session calls it first, and Redis runs nothing in between.
--
-- KEYS[1] the session, KEYS[2] the index of its user
-- ARGV[1] now, ARGV[2] idle, ARGV[3] absolute, all in seconds; further arguments belong to the script.
--
-- `now` is the node's: expiry is what the fields say. The keys' own TTL only collects what nobody asks for any more,
-- SLACK seconds later, so that nodes whose clocks differ a little still judge by the fields.
local now, idle, absolute = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local SLACK = 60
local user, issued, expires

-- A session is written at most once a minute for being used; a short idle time asks for more.
local TOUCH = math.min(60, idle / 10)

-- The session's name in the index: the digest at the end of its key.
local function member(session)
  return string.sub(session, -43)
end

local function delete(session)
  redis.call('UNLINK', session)
  redis.call('ZREM', KEYS[2], member(session))
end

local function touch(ends)
  redis.call('HSET', KEYS[1], 'expires', ends)
  redis.call('EXPIRE', KEYS[1], ends - now + SLACK)
  redis.call('ZADD', KEYS[2], ends, member(KEYS[1]))
  redis.call('EXPIRE', KEYS[2], absolute + SLACK)
end

local function alive()
  local fields = redis.call('HMGET', KEYS[1], 'user', 'issued', 'expires')
  if not fields[1] then
    return false
  end
  user, issued, expires = fields[1], tonumber(fields[2]), tonumber(fields[3])
  if expires <= now then
    delete(KEYS[1])
    return false
  end
  local last = issued + absolute
  local ends = math.min(now + idle, last)
  if ends - expires >= TOUCH or (ends == last and expires < last) then
    -- pcall: a store that is out of memory refuses this write, and the read goes on.
    if pcall(touch, ends) then
      expires = ends
    end
  end
  return true
end

