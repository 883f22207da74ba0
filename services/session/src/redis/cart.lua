-- Every field of the session: its cart, and what `authenticate` reads.
return redis.call('HGETALL', KEYS[1])
