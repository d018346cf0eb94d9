-- Pauses all processes after a 429. All times are microseconds of the server's clock.
-- KEYS[1]: the hash of reserve.lua.
-- ARGV: the pause, the interval between requests, the burst, and how long the hash
-- outlives the last turn, in milliseconds.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local state = redis.call('HMGET', KEYS[1], 'tat', 'paused', 'clock')
local back = math.max(0, (tonumber(state[3]) or now) - now) -- see reserve.lua
local paused = math.max((tonumber(state[2]) or 0) - back, now + ARGV[1])
-- After the pause, requests start evenly, without a burst.
local tat = math.max((tonumber(state[1]) or 0) - back, paused + (ARGV[3] - 1) * ARGV[2])
redis.call('HSET', KEYS[1], 'tat', string.format('%.0f', tat), 'paused', string.format('%.0f', paused),
	'clock', string.format('%.0f', now))
redis.call('PEXPIRE', KEYS[1], math.ceil((tat - now) / 1000) + ARGV[4])
return {'ok'}
