-- release: give up a lease; the response is overdue at once.
--
-- KEYS  1 meta (hash)   2 lease index (zset)
-- ARGV  1 id   2 worker   3 fence
-- Returns 1, or 0 if another worker has the lease, or the response has ended

local m = redis.call('HMGET', KEYS[1], 'st', 'wk', 'f')
if m[1] ~= 'in_progress' or m[2] ~= ARGV[2] or m[3] ~= ARGV[3] then return 0 end
redis.call('HSET', KEYS[1], 'lx', 0)
redis.call('HINCRBY', KEYS[1], 'rl', 1)
redis.call('ZADD', KEYS[2], 0, ARGV[1])
redis.call('PEXPIRE', KEYS[2], 3600000, 'NX') -- only a new index has no expiry: the old one was lost
return 1
