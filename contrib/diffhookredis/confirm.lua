-- Confirms a turn just before its use. All times are microseconds of the server's clock.
-- KEYS[1]: the hash of reserve.lua. ARGV: the turn, and how late it may be used.
-- Returns a word, and the rest of the pause in microseconds.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local state = redis.call('HMGET', KEYS[1], 'paused', 'clock')
local back = math.max(0, (tonumber(state[2]) or now) - now) -- see reserve.lua
local paused = (tonumber(state[1]) or 0) - back
if paused > now then
	return {'paused', paused - now}
end
if now - ARGV[1] > tonumber(ARGV[2]) then
	return {'late', 0}
end
return {'start', 0}
