-- Ends a session of the user, another one or this one.
-- KEYS[3] the session to end
local its_name = string.sub(KEYS[3], -43)
local its_end = tonumber(redis.call('ZSCORE', KEYS[2], its_name) or 0)
redis.call('ZREM', KEYS[2], its_name)
if redis.call('UNLINK', KEYS[3]) == 1 and its_end > now then
  return 'ok'
end
return 'none'
