-- Adds a line to the cart unless it is there. The version at which a line was added is its place in the order.
-- ARGV[4] the most lines, ARGV[5] the line's field, ARGV[6] quantity and sku
local FIELDS_BESIDE_LINES = 3 -- user, issued, version
if redis.call('HEXISTS', KEYS[1], ARGV[5]) == 0 then
  if redis.call('HLEN', KEYS[1]) - FIELDS_BESIDE_LINES >= tonumber(ARGV[4]) then
    return 'full'
  end
  local version = redis.call('HINCRBY', KEYS[1], 'version', 1)
  redis.call('HSET', KEYS[1], ARGV[5], version .. ' ' .. ARGV[6])
end
return redis.call('HGETALL', KEYS[1])
