-- Ends another session of the user.
-- KEYS[3] that session
if not alive() then
  return false
end
local other = redis.call('HGET', KEYS[3], 'expires')
delete(KEYS[3])
if other and tonumber(other) > now then
  return 'ok'
end
return 'none'
