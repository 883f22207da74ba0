-- Ends a session of the user, another one or this one.
-- KEYS[3] the session to end
local its_end = redis.call('HGET', KEYS[3], 'expires')
redis.call('UNLINK', KEYS[3])
redis.call('ZREM', KEYS[2], string.sub(KEYS[3], -43))
if its_end and tonumber(its_end) > now then
  return 'ok'
end
return 'none'
