-- Ends every session of a user, and counts those that were alive.
-- KEYS[1] the index of the user
-- ARGV[1] now, ARGV[2] what the keys of the user's sessions begin with
local ended = 0
for _, member in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  local session = ARGV[2] .. member
  local expires = redis.call('HGET', session, 'expires')
  if expires and tonumber(expires) > tonumber(ARGV[1]) then
    ended = ended + 1
  end
  redis.call('UNLINK', session)
end
redis.call('UNLINK', KEYS[1])
return ended
