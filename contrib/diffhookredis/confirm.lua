-- Confirms a turn just before its use. All times are microseconds of the server's clock.
-- KEYS[1]: the hash of reserve.lua, with paused, the end of the pause after a 429.
-- ARGV: the turn, or 0 to ask only for the pause; how late a turn may be used.
-- Returns 1 if the turn is good, and the rest of the pause.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local paused = tonumber(redis.call('HGET', KEYS[1], 'paused') or 0)
if paused > now then
	return {0, paused - now}
end
if now - tonumber(ARGV[1]) > tonumber(ARGV[2]) then
	return {0, 0}
end
return {1, 0}
