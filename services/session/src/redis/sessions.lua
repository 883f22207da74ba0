-- The live sessions of the user: name, login and expiry of each, the last to expire first.
-- ARGV[4] the most sessions to list
local of_user = string.sub(KEYS[1], 1, -44)
local names = redis.call('ZREVRANGEBYSCORE', KEYS[2], '+inf', '(' .. now, 'WITHSCORES', 'LIMIT', 0, ARGV[4])
local list = {}
for i = 1, #names, 2 do
  local issued = redis.call('HGET', of_user .. names[i], 'issued')
  if issued then
    list[#list + 1] = names[i] .. ' ' .. issued .. ' ' .. names[i + 1]
  end
end
return list
