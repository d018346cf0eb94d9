-- KEYS[1]: the record. ARGV: the token, the lease in milliseconds.
-- A record is a letter, r for running or d for done, and the token of its owner.
-- The key expires with the lease, or with the time to keep a done record.
local record = redis.call('GET', KEYS[1])
local own = 'r' .. ARGV[1]
if not record or record == own then
	redis.call('SET', KEYS[1], own, 'PX', ARGV[2])
	return 'ok'
end
if string.sub(record, 1, 1) == 'd' then
	return 'done'
end
return 'in progress'
