-- Ends every session of a user at once, and counts those that were alive.
-- KEYS[1] the index of the user
--
-- What the index does not name is dead, so forgetting the index ends them all, in the same time however many they are.
-- What they held cannot be reached any more and is gone when its TTL is over. Counted by the store's clock alone: a node
-- whose clock is turned must not say 0 of a login that lives for all others.
local ended = redis.call('ZCOUNT', KEYS[1], '(' .. redis.call('TIME')[1], '+inf')
redis.call('UNLINK', KEYS[1])
return ended
