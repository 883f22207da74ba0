-- Takes one login attempt from every bucket, or from none where one of them is empty; see throttle.rs for the rule.
-- KEYS: the buckets; each holds the time at which it is full, and is gone when it is
-- ARGV[1] what the node's clock was turned ahead by; then for each bucket what one attempt takes to come back, and what
-- all take; all in milliseconds
-- Answers 0, or for how long there is no attempt to take.
local time = redis.call('TIME')
local now, wait, full_at = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1], 0, {}
for i, key in ipairs(KEYS) do
  local refill, window = tonumber(ARGV[2 * i]), tonumber(ARGV[2 * i + 1])
  local before = tonumber(redis.call('GET', key) or now)
  full_at[i] = math.min(math.max(before, now), now + window) + refill
  wait = math.max(wait, full_at[i] - now - window)
end
if wait == 0 then
  for i, key in ipairs(KEYS) do
    redis.call('SET', key, string.format('%.0f', full_at[i]), 'PX', full_at[i] - now)
  end
end
return wait
