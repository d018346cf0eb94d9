-- Pauses all processes after a 429. All times are microseconds of the server's clock.
-- KEYS[1]: the hash of reserve.lua.
-- ARGV: the pause, the interval between requests, the burst, and how long the hash
-- outlives the last turn, in milliseconds.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local state = redis.call('HMGET', KEYS[1], 'tat', 'paused')
for i = 1, 2 do
	state[i] = tonumber(state[i]) or 0
	if state[i] > now + 3600 * 1000000 then -- see reserve.lua
		state[i] = 0
	end
end
local paused = math.max(state[2], now + ARGV[1])
-- After the pause, requests start evenly, without a burst.
local tat = math.max(state[1], paused + (ARGV[3] - 1) * ARGV[2])
redis.call('HSET', KEYS[1], 'tat', string.format('%.0f', tat), 'paused', string.format('%.0f', paused))
redis.call('PEXPIRE', KEYS[1], math.ceil((tat - now) / 1000) + ARGV[4])
return {'ok'}
