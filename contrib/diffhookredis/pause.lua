-- Pauses all processes after a 429. All times are microseconds of the server's clock.
-- KEYS[1]: the hash of reserve.lua. ARGV: the pause; interval, burst, and expiry of the hash in milliseconds.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local paused = now + tonumber(ARGV[1])
if paused > tonumber(redis.call('HGET', KEYS[1], 'paused') or 0) then
	redis.call('HSET', KEYS[1], 'paused', string.format('%.0f', paused))
end
-- After the pause, requests start evenly, without a burst.
local tat = paused + (tonumber(ARGV[3]) - 1) * tonumber(ARGV[2])
if tat > tonumber(redis.call('HGET', KEYS[1], 'tat') or 0) then
	redis.call('HSET', KEYS[1], 'tat', string.format('%.0f', tat))
end
redis.call('PEXPIRE', KEYS[1], math.ceil(ARGV[1] / 1000) + ARGV[4])
return 1
