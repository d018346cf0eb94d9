-- Confirms a turn just before its use. All times are microseconds of the server's clock.
-- KEYS[1]: the hash of reserve.lua. ARGV: the turn, and how late it may be used.
-- Returns a word, and the rest of the pause in microseconds.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local paused = tonumber(redis.call('HGET', KEYS[1], 'paused') or 0)
if paused > now and paused < now + 3600 * 1000000 then -- see reserve.lua
	return {'paused', paused - now}
end
if now - ARGV[1] > tonumber(ARGV[2]) then
	return {'late', 0}
end
return {'start', 0}
