-- GCRA, the generic cell rate algorithm. All times are microseconds of the server's clock.
-- KEYS[1]: a hash with tat, the theoretical arrival time of the next request.
-- ARGV: interval between requests, burst, longest acceptable wait, expiry of the hash in milliseconds, 1 for no burst.
-- Returns 1, the turn and the wait until then; or 0, 0 and the wait if it is too long.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval, burst, longest = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local early = (burst - 1) * interval
local tat = tonumber(redis.call('HGET', KEYS[1], 'tat'))
if not tat or ARGV[5] == '1' then
	-- Earlier requests are unknown: pace the next ones, without a burst.
	tat = math.max(tat or 0, now + early)
end
tat = math.max(tat, now)
local turn = math.max(now, tat - early)
if turn - now > longest then
	return {0, '0', turn - now}
end
redis.call('HSET', KEYS[1], 'tat', string.format('%.0f', tat + interval))
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return {1, string.format('%.0f', turn), turn - now}
