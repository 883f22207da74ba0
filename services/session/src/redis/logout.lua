-- Ends a session, whether it is there or not.
-- KEYS[1] the session, KEYS[2] the index of its user
redis.call('UNLINK', KEYS[1])
redis.call('ZREM', KEYS[2], string.sub(KEYS[1], -43))
return 'ok'
