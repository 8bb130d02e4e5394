-- overdue: some responses of one partition whose lease has run out.
--
-- KEYS  1 lease index (zset)
-- ARGV  1 most ids
-- Returns the ids

local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])
