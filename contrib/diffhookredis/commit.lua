-- KEYS[1]: the record. ARGV: the token, the time to keep the record in milliseconds.
-- See claim.lua for the form of a record.
local record = redis.call('GET', KEYS[1])
if not record or string.sub(record, 2) == ARGV[1] then
	redis.call('SET', KEYS[1], 'd' .. ARGV[1], 'PX', ARGV[2])
	return 'ok'
end
if string.sub(record, 1, 1) == 'd' then
	return 'done'
end
return 'in progress'
