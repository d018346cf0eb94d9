-- KEYS[1]: the record. ARGV: the token.
-- See claim.lua for the form of a record. Only the own claim is released.
if redis.call('GET', KEYS[1]) == 'r' .. ARGV[1] then
	redis.call('DEL', KEYS[1])
end
return 'ok'
