-- Reserves a turn by GCRA, the generic cell rate algorithm.
-- All times are microseconds of the server's clock.
-- KEYS[1]: a hash with tat, the theoretical arrival time of the next request, and
-- paused, the end of the pause after a 429.
-- ARGV: the interval between requests, the burst, the longest acceptable wait, 1 for
-- no burst, and how long the hash outlives the last turn, in milliseconds.
-- Returns a word, the wait in microseconds, and the turn.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local state = redis.call('HMGET', KEYS[1], 'tat', 'paused')
local tat, paused = tonumber(state[1]), tonumber(state[2])
-- A state more than an hour ahead comes from a clock that was set back since.
local horizon = now + 3600 * 1000000
if tat and tat > horizon then
	tat = nil
end
if paused and paused > now and paused < horizon then
	return {'paused', paused - now, ''}
end
local interval, early = tonumber(ARGV[1]), (ARGV[2] - 1) * ARGV[1]
if not tat or ARGV[4] == '1' then
	-- Earlier requests are unknown: no burst.
	tat = math.max(tat or 0, now + early)
end
tat = math.max(tat, now)
local turn = math.max(now, tat - early)
if turn - now > tonumber(ARGV[3]) then
	return {'later', turn - now, ''}
end
tat = tat + interval
redis.call('HSET', KEYS[1], 'tat', string.format('%.0f', tat))
redis.call('PEXPIRE', KEYS[1], math.ceil((tat - now) / 1000) + ARGV[5])
return {'turn', turn - now, string.format('%.0f', turn)}
