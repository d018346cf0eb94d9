-- Reserves a turn by GCRA, the generic cell rate algorithm.
-- All times are microseconds of the server's clock.
-- KEYS[1]: a hash with tat, the theoretical arrival time of the next request, paused, the
-- end of the pause after a 429, and clock, the time at which they were written.
-- ARGV: the interval between requests, the burst, the longest acceptable wait, 1 for
-- no burst, and how long the hash outlives the last turn, in milliseconds.
-- Returns a word, the wait in microseconds, and the turn.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local state = redis.call('HMGET', KEYS[1], 'tat', 'paused', 'clock')
-- If the clock was set back since, the state moves back with it.
local back = math.max(0, (tonumber(state[3]) or now) - now)
local tat, paused = tonumber(state[1]), (tonumber(state[2]) or 0) - back
if paused > now then
	return {'paused', paused - now, ''}
end
local interval, early = tonumber(ARGV[1]), (ARGV[2] - 1) * ARGV[1]
if not tat or ARGV[4] == '1' then
	-- Earlier requests are unknown: no burst.
	tat = math.max(tat or 0, now + back + early)
end
tat = math.max(tat - back, now)
local turn = math.max(now, tat - early)
if turn - now > tonumber(ARGV[3]) then
	return {'later', turn - now, ''}
end
tat = tat + interval
redis.call('HSET', KEYS[1], 'tat', string.format('%.0f', tat), 'paused', string.format('%.0f', paused),
	'clock', string.format('%.0f', now))
redis.call('PEXPIRE', KEYS[1], math.ceil((tat - now) / 1000) + ARGV[5])
return {'turn', turn - now, string.format('%.0f', turn)}
