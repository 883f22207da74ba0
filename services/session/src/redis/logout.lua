-- Ends a session, whether it is there or not.
delete(KEYS[1])
return 'ok'
