-- Gives one login attempt back to every bucket. KEYS and ARGV as in reserve.lua.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1]
for i, key in ipairs(KEYS) do
  local full_at = tonumber(redis.call('GET', key) or now) - tonumber(ARGV[2 * i])
  if full_at > now then
    redis.call('SET', key, string.format('%.0f', full_at), 'PX', full_at - now)
  else
    redis.call('UNLINK', key)
  end
end
return 'ok'
